"""Which words of a command are experiments and which are systems. A file with cohorts is an experiment."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path

from resilience.errors import UsageError
from resilience.experiment.loader import catalogue, load
from resilience.experiment.spec import Experiment
from resilience.text_files import read_text

from .system import NamedSystem, bundled_systems, load_system

_USAGE = "name experiments and then systems, such as: tunnel quiz socketio"


def tell_apart(names: Sequence[str], scale: float) -> tuple[list[Experiment], list[NamedSystem]]:
    """The experiments, with a scale on their cohorts' sizes, and the systems, each in the order given.

    Raises :class:`~resilience.errors.UsageError` for a name that is neither, and when there is none of a sort.
    """
    systems = [load_system(name) for name in names if _is_system(name)]
    experiments = [load(_known(name), (), scale) for name in names if not _is_system(name)]
    if not experiments:
        raise UsageError(f"no experiment among {', '.join(names)}: {_USAGE}")
    if not systems:
        raise UsageError(f"no system among {', '.join(names)}: {_USAGE}; there are {', '.join(bundled_systems())}")
    for sort, found in (("experiment", [each.name for each in experiments]), ("system", [s.name for s in systems])):
        twice = next((name for name in found if found.count(name) > 1), None)
        if twice is not None:
            raise UsageError(
                f"the {sort} {twice} is there twice: give each its own name, which its runs are kept under"
            )
    return experiments, systems


def _is_system(name: str) -> bool:
    if not name.endswith(".toml"):
        return name in bundled_systems()
    try:
        return "cohorts" not in tomllib.loads(read_text(Path(name)))
    except (OSError, ValueError):  # the loader of experiments says what is wrong with it
        return False


def _known(name: str) -> str:
    """A name or a file of an experiment; what looks like neither is compared with both sorts of names."""
    there = catalogue()
    if name in there or name.endswith(".toml") or Path(name).is_file():
        return name
    near = difflib.get_close_matches(name, [*there, *bundled_systems()], n=1)
    hint = f"did you mean {near[0]}?" if near else f"systems: {', '.join(bundled_systems())}; see also: chaos list"
    raise UsageError(f"{name}: no such experiment, system or file; {hint}")
