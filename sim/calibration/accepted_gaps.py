"""The accepted gaps: where the model is known to differ from real runs, by how much, and why.

A TOML file of ``[[gap]]`` tables. A goal that is missed by no more than an accepted gap does not fail a validation, and
the page names the gap; one that is missed by more does. The shipped list is ``accepted_gaps.toml`` of this package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import msgspec

from resilience.errors import UsageError
from resilience.text_files import bundled_texts, read_text

from .goals import GoalKind


class AcceptedGap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One accepted gap. ``at_most``: how far the goal's figure may be from where it should be, in the goal's own unit.

    ``experiment`` names the one whose runs it is about, ``goal`` the goal; ``cause`` why the model differs, and
    ``check`` what would show that it does so no more.
    """

    experiment: str
    goal: GoalKind
    at_most: float
    cause: str
    check: str


class _GapFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    gap: tuple[AcceptedGap, ...] = ()


def read_accepted_gaps(path: Path | None = None) -> tuple[AcceptedGap, ...]:
    """The gaps of a file of them, or of the shipped one; UsageError in one line for a file that is none."""
    where = "the shipped list of accepted gaps" if path is None else str(path)
    try:
        text = bundled_texts(files(__package__))["accepted_gaps"] if path is None else read_text(path)
        gaps = msgspec.toml.decode(text, type=_GapFile).gap
    except OSError as error:
        raise UsageError(f"{where}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{where}: not a list of accepted gaps: {error}") from error
    for i, gap in enumerate(gaps):
        _check(gap, f"{where}: gap[{i}]")
    return gaps


def _check(gap: AcceptedGap, where: str) -> None:
    if not (math.isfinite(gap.at_most) and gap.at_most > 0):
        raise UsageError(f"{where}.at_most = {gap.at_most}: must be a positive, finite number")
    for key in ("experiment", "cause", "check"):
        if not getattr(gap, key).strip():
            raise UsageError(f"{where}.{key}: must not be empty: a gap is accepted for a reason that can be tested")


def accepted(gaps: Sequence[AcceptedGap], experiment: str, goal: GoalKind, gap: float) -> AcceptedGap | None:
    """The entry that covers a gap of this size; None if there is none."""
    found = (each for each in gaps if each.experiment == experiment and each.goal is goal and gap <= each.at_most)
    return next(found, None)
