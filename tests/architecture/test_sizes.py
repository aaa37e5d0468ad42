"""No function over 50 lines (docstring included), no module over 500: what is longer has a seam not found yet."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGES = ("chaos", "reports", "resilience", "sim")
FUNCTION_LINES, MODULE_LINES = 50, 500


def too_long(name: str, text: str) -> list[str]:
    """One line for each function over the limit, and for the module if it is."""
    lines = len(text.splitlines())
    found = [f"{name}: {lines} lines, at most {MODULE_LINES}"] if lines > MODULE_LINES else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size > FUNCTION_LINES:
                found.append(f"{name}:{node.lineno}: {node.name}: {size} lines, at most {FUNCTION_LINES}")
    return found


def test_functions_and_modules_stay_short(root: Path) -> None:
    modules = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    offenders = [line for path in modules for line in too_long(str(path.relative_to(root)), path.read_text("utf-8"))]
    assert not offenders, "\n".join(["too long:", *offenders])


def test_the_limits_can_be_broken() -> None:
    function = "def f():\n" + "    x = 1\n" * FUNCTION_LINES
    assert too_long("m.py", function) == ["m.py:1: f: 51 lines, at most 50"]
    assert too_long("m.py", "async " + function) == ["m.py:1: f: 51 lines, at most 50"]
    assert too_long("m.py", "x = 1\n" * (MODULE_LINES + 1)) == ["m.py: 501 lines, at most 500"]
    assert not too_long("m.py", "x = 1\n" * MODULE_LINES)
