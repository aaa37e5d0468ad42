"""The tables of ARCHITECTURE.md: each module of a package with the first sentence of its docstring."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from docgen.sources import table

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "resilience",
    "resilience/eventlog",
    "resilience/policy",
    "resilience/quiz",
    "resilience/protocol",
    "resilience/protocol/client",
    "resilience/protocol/server",
    "resilience/experiment",
    "resilience/experiment/faults",
    "resilience/wire",
    "resilience/server",
    "resilience/client",
    "resilience/lab",
    "chaos",
    "chaos/doctor",
    "chaos/drivers",
    "chaos/drivers/chromium",
    "chaos/drivers/examples",
    "chaos/reference",
    "chaos/systems",
    "chaos/targets",
    "chaos/toxiproxy",
    "sim",
    "sim/virtual",
    "sim/model",
    "sim/exploration",
    "sim/replay",
    "sim/population",
    "sim/profiles",
    "sim/calibration",
    "sim/planning",
    "reports",
    "reports/checks",
)
"""Every package of the product and its laboratories, by folder, in the order of ARCHITECTURE.md."""

_SENTENCE = re.compile(r"(.+?\.)(?:\s|$)", re.DOTALL)


def modules(package: str) -> str:
    """The table of one package, given by its folder; ``__init__`` and generated files have no row."""
    rows = [[f"`{path.stem}`", first_sentence(path)] for path in module_files(package)]
    return table(["module", "what lives there"], rows)


def module_files(package: str) -> list[Path]:
    """The modules directly in a package, by name."""
    return [path for path in sorted((ROOT / package).glob("*.py")) if not path.stem.startswith("__")]


def first_sentence(path: Path) -> str:
    """The first sentence of a module's docstring, without markup of references."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    found = _SENTENCE.match(" ".join(docstring.split()))
    text = found.group(1) if found else docstring
    return re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text.replace("``", "`")).replace("|", "\\|")
