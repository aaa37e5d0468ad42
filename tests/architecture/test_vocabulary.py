"""One language: no banned word in a name or in prose, and no class name for two classes of the product."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ..docs.markdown import prose as without_blocks
from .banned_words import NAMES, NOT_YET, PROSE

PRODUCT = ("chaos", "reports", "resilience", "sim")

# The lists themselves, and the history of what was renamed.
EXEMPT = ("tests/architecture/banned_words.py", "tests/architecture/test_vocabulary.py", "CHANGELOG.md")

_CAPITALS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_PROSE = {re.compile(rf"(?<![\w`])(?:{pattern})(?!\w)", re.IGNORECASE): advice for pattern, advice in PROSE.items()}
_CODE = re.compile(r"``[^`]*``|`[^`\n]*`|:\w+:`[^`]*`|\]\([^)\s]*\)")
_COMMENT = re.compile(r"(?:^|\s)#+ (.*)$", re.MULTILINE)


class Text(NamedTuple):
    """A piece of a file: where it is, and either a name or prose."""

    line: int
    text: str
    is_name: bool


def words_of(name: str) -> str:
    """The words of an identifier or a file name, in lower case: ``_HandshakeDoor`` -> ``handshake door``."""
    parts = re.split(r"[\W_]+", _CAPITALS.sub(" ", name))
    return " ".join(part.lower() for part in parts if part)


def banned_in_name(name: str) -> list[str]:
    """What is wrong with a name, with the replacement."""
    spoken = f" {words_of(name)} "
    return [f"{name}: write {advice!r} for {word!r}" for word, advice in NAMES.items() if f" {word} " in spoken]


def banned_in_prose(text: str) -> list[str]:
    """What is wrong with prose, with the replacement; code in backticks and targets of links do not count."""
    plain = " ".join(_CODE.sub(" ", text).split())
    return [f"write {advice!r} for {found[0]!r}" for word, advice in _PROSE.items() for found in word.finditer(plain)]


def texts_of_module(source: str) -> Iterator[Text]:
    """The names that a module defines, its docstrings, comments and messages, and the sentences of its tests."""
    for node in ast.walk(ast.parse(source)):
        yield from _names(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value.split()) > 1:
            yield Text(node.lineno, node.value, is_name=False)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Text(token.start[0], token.string, is_name=False)


def _names(node: ast.AST) -> Iterator[Text]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield Text(node.lineno, node.name, is_name=True)
        if node.name.startswith("test_"):
            yield Text(node.lineno, words_of(node.name), is_name=False)
    elif isinstance(node, ast.arg):
        yield Text(node.lineno, node.arg, is_name=True)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield Text(node.lineno, node.id, is_name=True)
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        yield Text(node.lineno, node.attr, is_name=True)


def texts_of(path: str, content: str) -> Iterator[Text]:
    """Everything in a file that follows the vocabulary, its own path included."""
    yield Text(0, path, is_name=True)
    if path.endswith(".py"):
        yield from texts_of_module(content)
    elif path.endswith(".md"):
        for paragraph in re.split(r"\n\s*\n|(?<=\|)\n|\n(?=- )", without_blocks(content)):
            yield Text(_line_of(content, paragraph), paragraph, is_name=False)
    elif path.endswith((".toml", "Makefile", ".yml")):
        for found in _COMMENT.finditer(content):
            yield Text(content[: found.start()].count("\n") + 1, found[1], is_name=False)
    elif path.endswith(".j2"):
        yield Text(1, re.sub(r"{[%{].*?[%}]}|<[^>]*>", " ", content, flags=re.DOTALL), is_name=False)


def _line_of(content: str, part: str) -> int:
    return content[: max(content.find(part), 0)].count("\n") + 1


def offences(path: str, content: str) -> list[str]:
    """One line for each banned word in a file."""
    return [
        f"{path}:{piece.line}: {wrong}"
        for piece in texts_of(path, content)
        for wrong in (banned_in_name if piece.is_name else banned_in_prose)(piece.text)
    ]


def shared_class_names(modules: dict[str, str]) -> dict[str, list[str]]:
    """Names of more than one class, with the files of each."""
    found: dict[str, list[str]] = defaultdict(list)
    for path, source in modules.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(path)
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def is_checked(path: str) -> bool:
    """Whether the vocabulary holds in this file already."""
    return path not in EXEMPT and not any(path == entry or path.startswith(f"{entry}/") for entry in NOT_YET)


def test_names_and_prose_keep_to_the_vocabulary(root: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: what is committed is not known")
    kinds = (".py", ".md", ".toml", ".yml", ".j2", "Makefile")
    paths = [name for name in listed.stdout.split("\0") if name.endswith(kinds) and is_checked(name)]
    found = [
        line for name in paths if (root / name).is_file() for line in offences(name, (root / name).read_text("utf-8"))
    ]
    assert not found, "\n".join(["see docs/vocabulary.md:", *found])


def test_a_class_name_names_one_class(root: Path) -> None:
    modules = {
        path.relative_to(root).as_posix(): path.read_text("utf-8")
        for package in PRODUCT
        for path in sorted((root / package).rglob("*.py"))
    }
    assert shared_class_names(modules) == {}


@pytest.mark.parametrize(
    "path, content, wrong",
    [
        ("chaos/crew.py", "", "chaos/crew.py:0: chaos/crew.py: write 'workers or participants' for 'crew'"),
        ("a.py", "class HostPodium: ...", "a.py:1: HostPodium: write 'host console' for 'podium'"),
        ("a.py", "x = 1\ndef f(the_seat): ...", "a.py:2: the_seat: write 'client' for 'seat'"),
        ("a.py", "def take_up(): ...", "a.py:1: take_up: write 'restore or recover' for 'take up'"),
        ("a.py", "self.patience = 1", "a.py:1: patience: write 'timeout' for 'patience'"),
        ("a.py", '"""Begins\n\nanew."""', "a.py:1: write 'again' for 'anew'"),
        ("a.py", "x = 1  # held against the plan", "a.py:1: write 'compared with, charged to' for 'held against'"),
        ("a.py", 'f"it waits for ever: {x}"', "a.py:1: write 'forever, permanently or without a limit' for 'for ever'"),
        ("a.py", "def test_it_begins_anew(): ...", "a.py:1: write 'again' for 'anew'"),
        ("a.md", "# A\n\nIt begins\nanew.\n", "a.md:3: write 'again' for 'anew'"),
        ("a.toml", "[a]\nb = 1  # begins anew\n", "a.toml:2: write 'again' for 'anew'"),
        ("Makefile", "a: ## Begin anew\n", "Makefile:1: write 'again' for 'anew'"),
    ],
)
def test_a_banned_word_is_found_with_its_replacement(path: str, content: str, wrong: str) -> None:
    assert wrong in offences(path, content)


@pytest.mark.parametrize(
    "path, content",
    [
        ("a.py", '"""Renewed; the indoor take-up rate, ``anew``."""'),
        ("a.py", "outdoor = seated = 1"),
        ("a.md", "Write `anew` here.\n\n```sh\nanew\n```\n"),
    ],
)
def test_parts_of_words_and_code_are_free(path: str, content: str) -> None:
    assert offences(path, content) == []


def test_a_class_name_for_two_classes_is_found() -> None:
    one, other = "class A: ...\nclass B: ...", "class C:\n    class B: ..."
    assert shared_class_names({"a.py": one, "b.py": other}) == {"B": ["a.py", "b.py"]}
