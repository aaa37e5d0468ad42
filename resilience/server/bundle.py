"""Bundles JavaScript modules into one script, so that a page needs one request for all of them. Pure.

Each module becomes a function that runs once, after those of the modules that it imports, and returns what the module
exports. Only the forms of import and export that the pages use are known: those at the start of a line, and a list of
exports at the end of a module, as minified ones have it. What is imported by name must be exported in a known form.
Comments that stand alone are left out, licences (``/* ... */``) are not.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from resilience.errors import ResilienceError

_NAME = r"[\w$]+"
_IMPORT = re.compile(rf'^import (\{{[^{{}}]*\}}|\* as {_NAME}) from "(\.[^"]*)";\n', re.MULTILINE)
_DECLARATION = re.compile(rf"^export (?=(?:async function|function|class|const) ({_NAME}))", re.MULTILINE)
_LIST = re.compile(r"\bexport ?\{([^{}]*)\};\s*\Z")
_UNKNOWN = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*(?:/\*\*(?:(?!\*/).)*\*/[ \t]*|//[^\n]*)\n", re.MULTILINE | re.DOTALL)


class BundleError(ResilienceError):
    """The modules cannot be bundled; the text names the module and what is wrong with it."""


def bundle(entry: str, sources: Mapping[str, str]) -> str:
    """The script that runs the module ``entry``; ``sources`` are the modules' texts by their paths.

    Raises :class:`BundleError` for a module that is missing, imports itself by way of others, imports a name that no
    module exports, or has an import or an export of an unknown form.
    """
    order: dict[str, str] = {}
    _visit(entry, sources, order, ())
    exports = {name: _exports_of(sources[name]) for name in order}
    for name in order:
        _require_exports(name, sources[name], exports)
    return "".join(_function(name, sources[name], order, exports[name]) for name in order)


def _imports_of(name: str, source: str) -> list[tuple[str, str]]:
    """What a module imports, as it says it, with the path of the module that has it."""
    folder = posixpath.dirname(name)
    return [(what, posixpath.normpath(posixpath.join(folder, path))) for what, path in _IMPORT.findall(source)]


def _exports_of(source: str) -> dict[str, str]:
    """The names that a module exports, with those that it has for them itself; of known forms only."""
    text = _COMMENT.sub("", source)
    listed = _LIST.search(text)
    return {name: name for name in _DECLARATION.findall(text)} | (_names(listed[1]) if listed else {})


def _names(listed: str) -> dict[str, str]:
    """The names of a list such as ``a, b as c``: those after ``as``, with those before it."""
    pairs = [part.split(" as ") for part in map(str.strip, listed.split(",")) if part]
    return {pair[-1]: pair[0] for pair in pairs}


def _visit(name: str, sources: Mapping[str, str], order: dict[str, str], importers: tuple[str, ...]) -> None:
    """Give a variable to the module and, before it, to all that it imports."""
    if name in order:
        return
    if name in importers:
        raise BundleError(f"{name}: imports itself by way of {', '.join(importers[importers.index(name) + 1 :])}")
    if name not in sources:
        raise BundleError(f"{importers[-1] if importers else 'bundle'}: imports {name}, which does not exist")
    for _, imported in _imports_of(name, sources[name]):
        _visit(imported, sources, order, (*importers, name))
    order[name] = f"$module{len(order)}"


def _require_exports(name: str, source: str, exports: Mapping[str, Mapping[str, str]]) -> None:
    """Raise :class:`BundleError` unless all that the module imports by name is exported."""
    for what, imported in _imports_of(name, source):
        for wanted in _names(what.strip("{}")).values() if what.startswith("{") else ():
            if wanted not in exports[imported]:
                raise BundleError(f"{name}: imports {wanted}, which {imported} does not export in a known form")


def _function(name: str, source: str, variables: Mapping[str, str], exports: Mapping[str, str]) -> str:
    def imported(found: re.Match[str]) -> str:
        ((what, path),) = _imports_of(name, found[0])
        return f"const {what.removeprefix('* as ').replace(' as ', ': ')} = {variables[path]};\n"

    text = _COMMENT.sub("", source)
    for pattern, replacement in ((_IMPORT, imported), (_DECLARATION, ""), (_LIST, "")):
        text = pattern.sub(replacement, text)
    unknown = _UNKNOWN.search(text)
    if unknown is not None:
        raise BundleError(f"{name}: {unknown[0]!r} is of no known form")
    returned = ", ".join(outer if outer == inner else f"{outer}: {inner}" for outer, inner in exports.items())
    return f"// {name}\nconst {variables[name]} = (() => {{\n{text}\nreturn {{ {returned} }};\n}})();\n"
