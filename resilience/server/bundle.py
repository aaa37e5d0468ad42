"""Bundles JavaScript modules into one script, so that a page needs one request for all of them. Pure.

Each module becomes a function that runs once, after those of the modules that it imports, and returns what the module
exports. Only the forms of import and export that the pages use are known, each at the start of a line; comments that
stand alone are left out, licences (``/* ... */``) are not.
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
_RENAMED = re.compile(rf"({_NAME}) as ({_NAME})")


class BundleError(ResilienceError):
    """The modules cannot be bundled; the text names the module and what is wrong with it."""


def bundle(entry: str, sources: Mapping[str, str]) -> str:
    """The script that runs the module ``entry``; ``sources`` are the modules' texts by their paths.

    Raises :class:`BundleError` for a module that is missing, imports itself by way of others, or has an import or an
    export of an unknown form.
    """
    order: dict[str, str] = {}
    _visit(entry, sources, order, ())
    return "".join(_function(name, sources[name], order) for name in order)


def imports_of(name: str, source: str) -> list[str]:
    """The paths of the modules that this one imports."""
    folder = posixpath.dirname(name)
    return [posixpath.normpath(posixpath.join(folder, path)) for _, path in _IMPORT.findall(source)]


def _visit(name: str, sources: Mapping[str, str], order: dict[str, str], importers: tuple[str, ...]) -> None:
    """Give a variable to the module and, before it, to all that it imports."""
    if name in order:
        return
    if name in importers:
        raise BundleError(f"{name}: imports itself by way of {', '.join(importers[importers.index(name) + 1 :])}")
    if name not in sources:
        raise BundleError(f"{importers[-1] if importers else 'bundle'}: imports {name}, which does not exist")
    for imported in imports_of(name, sources[name]):
        _visit(imported, sources, order, (*importers, name))
    order[name] = f"$module{len(order)}"


def _function(name: str, source: str, variables: Mapping[str, str]) -> str:
    exports: list[str] = []

    def imported(found: re.Match[str]) -> str:
        (path,) = imports_of(name, found[0])
        names = _RENAMED.sub(r"\1: \2", found[1].removeprefix("* as "))
        return f"const {names} = {variables[path]};\n"

    def listed(found: re.Match[str]) -> str:
        exports.append(_RENAMED.sub(r"\2: \1", found[1]))
        return ""

    def declared(found: re.Match[str]) -> str:
        exports.append(found[1])
        return ""

    text = _COMMENT.sub("", source)
    for pattern, replacement in ((_IMPORT, imported), (_DECLARATION, declared), (_LIST, listed)):
        text = pattern.sub(replacement, text)
    unknown = _UNKNOWN.search(text)
    if unknown is not None:
        raise BundleError(f"{name}: {unknown[0]!r} is of no known form")
    return f"// {name}\nconst {variables[name]} = (() => {{\n{text}\nreturn {{ {', '.join(exports)} }};\n}})();\n"
