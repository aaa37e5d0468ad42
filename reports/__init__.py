"""Analyses any run directory: how many participants came back, how fast and in which state, with intervals.

Reading order: ``frames`` (the log as a table), ``episodes`` (the unit of analysis), ``stats`` and ``survival`` (every
formula, each with its source), ``invariants``, ``summary`` (the result as values), ``expectations`` and ``metrics``
(how it is computed), ``plots`` and ``render`` (how it is shown), ``build`` (all of it for one directory), ``paired``
and ``compare`` (two or more side by side), ``trend``, ``capacity``, ``cli``. The product does not import this package,
and this package does not import the laboratories.

:func:`load_run` is the way in for other people's programs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .frames import RunHistory

__all__ = ["load_run"]


def load_run(run_dir: Path | str) -> RunHistory:
    """The history of a run directory: ``frame`` (events), ``observed`` (what clients were shown), ``problems``.

    The columns are listed in :mod:`reports.frames`; :func:`reports.episodes.episodes_frame` makes its episodes. Raises
    :class:`~resilience.errors.UsageError` when ``run_dir`` is no run directory, and
    :class:`~resilience.errors.EvidenceError` when a file of the run cannot be read.
    """
    from .frames import load_history  # noqa: PLC0415 - the command line stays quick

    return load_history(Path(run_dir))
