"""The meaning of a class, a field or a member, read from its own docstring in the source.

A field's meaning is the docstring right below it or, for a name that has one meaning everywhere in its module, the
entry of the list in the module's docstring: a line that begins with a dash and the name in double backticks.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import re
import sys
from collections.abc import Mapping

_ENTRY = re.compile(r"^- ((?:``\w+``(?:, )?)+): (.+(?:\n  .+)*)", re.MULTILINE)
_ASIDE = re.compile(r" \(SPEC [^)]*\)")


def meaning(owner: type, field: str) -> str | None:
    """The meaning of this field or member of ``owner``; ``None`` if the source has none."""
    for cls in owner.__mro__:
        if cls.__module__.startswith(("chaos.", "resilience.")) and field in (own := attribute_docs(cls)):
            return own[field][0].upper() + own[field][1:]
    text = glossary(owner.__module__).get(field)
    return text if text is None else text[0].upper() + text[1:]


def summary(owner: type) -> str:
    """The class's docstring: paragraphs a blank line apart, each on one line."""
    paragraphs = re.split(r"\n\s*\n", inspect.getdoc(owner) or "")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


@functools.cache
def attribute_docs(owner: type) -> dict[str, str]:
    """The docstrings below the fields or members of a class, by name."""
    found = (n for n in _tree(owner.__module__).body if isinstance(n, ast.ClassDef) and n.name == owner.__name__)
    node = next(found, None)
    return {} if node is None else _docs_of(node.body)


@functools.cache
def glossary(module: str) -> dict[str, str]:
    """The list in a module's docstring, by name."""
    entries = _ENTRY.findall(inspect.getdoc(sys.modules[module]) or "")
    return {name: " ".join(text.split()) for names, text in entries for name in re.findall(r"\w+", names)}


def markdown(text: str, linked: Mapping[str, str]) -> str:
    """Docstring markup as Markdown; a class in ``linked`` becomes its link."""

    def cross_reference(match: re.Match[str]) -> str:
        return link(match.group(1).rsplit(".", 1)[-1].lstrip("~"), linked)

    text = re.sub(r":(?:class|meth|func|mod|data):`([^`]+)`", cross_reference, _ASIDE.sub("", text))
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def link(name: str, linked: Mapping[str, str]) -> str:
    """A class's link, or its name as code where it has none."""
    return linked.get(name, f"`{name}`")


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table without its empty columns; characters that would end a cell are escaped."""
    used = [i for i in range(len(head)) if any(row[i] for row in rows)]
    rows = [[row[i].replace("|", "\\|") for i in used] for row in rows]
    lines = [[head[i] for i in used], ["---"] * len(used), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(sys.modules[module]))


def _docs_of(body: list[ast.stmt]) -> dict[str, str]:
    docs: dict[str, str] = {}
    for before, after in itertools.pairwise(body):
        text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else None
        if isinstance(text, str):
            targets = before.targets if isinstance(before, ast.Assign) else [getattr(before, "target", None)]
            docs.update((t.id, " ".join(text.split())) for t in targets if isinstance(t, ast.Name))
    return docs
