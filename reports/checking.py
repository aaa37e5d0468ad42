"""What a check of a run's history is: its result, its counterexamples, and how both become an invariant of the summary.

Knows no rule. A check searches for counterexamples. A check without a case is inconclusive, never a pass; so is a check
that raises. A check whose input could not break the rule says that it does not apply.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from resilience.eventlog.vocabulary import Verdict

from .frames import RunHistory
from .summary import Counterexample, Invariant

MOST_SHOWN = 20
"""Counterexamples of one check that the summary keeps; the number of broken cases counts them all."""

NOTHING_TO_CHECK = "nothing to check: the log has no such event"


@dataclass(frozen=True)
class CheckResult:
    """The result of a check: ``checked`` cases, of which ``broken_cases`` break the rule.

    ``broken``: the first counterexample in words; ``counterexamples``: the first :data:`MOST_SHOWN`, in order of time.
    ``unknown``: why the check is undecided. ``inapplicable``: why nothing in this run could break the rule. A
    counterexample outranks the other two, and ``inapplicable`` outranks ``unknown``.
    """

    checked: int
    broken: str | None = None
    unknown: str | None = None
    inapplicable: str | None = None
    counterexamples: tuple[Counterexample, ...] = ()
    broken_cases: int = 0


Check = Callable[[RunHistory], CheckResult]


def check_one(name: str, rule: str, check: Check, log: RunHistory) -> Invariant:
    """One invariant; if the check raises, the result is inconclusive with the exception's text."""
    try:
        found = check(log)
    except Exception as error:  # noqa: BLE001 - whatever went wrong, it is not the system's failure
        found = CheckResult(0, unknown=f"the check itself failed: {type(error).__name__}: {error}")
    if found.broken is not None:
        return _broken(name, rule, found.broken, found)
    if found.inapplicable is not None:
        return Invariant(name=name, rule=rule, verdict=Verdict.NOT_APPLICABLE, detail=found.inapplicable, checked=0)
    unknown = found.unknown or (None if found.checked else NOTHING_TO_CHECK)
    verdict = Verdict.INCONCLUSIVE if unknown else Verdict.PASS
    return Invariant(
        name=name, rule=rule, verdict=verdict, detail=unknown or "no counterexample", checked=found.checked
    )


def _broken(name: str, rule: str, text: str, found: CheckResult) -> Invariant:
    shown = found.counterexamples or (Counterexample(actor=None, t=None, text=text),)
    return Invariant(
        name=name,
        rule=rule,
        verdict=Verdict.FAIL,
        detail=text,
        checked=found.checked,
        counterexamples=tuple(map(_plain, shown[:MOST_SHOWN])),
        broken_cases=max(found.broken_cases, len(shown)),
    )


def _plain(case: Counterexample) -> Counterexample:
    """A case whose time is no number of an array, which no report can encode."""
    return case if case.t is None else msgspec.structs.replace(case, t=float(case.t))


def result_of(
    checked: int, cases: Iterable[Counterexample], *, unknown: str | None = None, inapplicable: str | None = None
) -> CheckResult:
    """The result of a check that found these counterexamples, in order of time."""
    found = tuple(cases)
    return CheckResult(checked, found[0].text if found else None, unknown, inapplicable, found[:MOST_SHOWN], len(found))


def result_of_rows(  # noqa: PLR0913 - a result's parts
    cases: pd.DataFrame,
    is_broken: np.typing.NDArray[np.bool_] | pd.Series,
    describe: Callable[[Any], str],
    *,
    checked: int | None = None,
    unknown: str | None = None,
    inapplicable: str | None = None,
) -> CheckResult:
    """The result of a check whose cases are the rows of a table, in order of time, with columns ``actor`` and ``t``.

    ``describe`` puts a broken row (a named tuple, missing values as None) into words; only rows that are shown are.
    """
    count = len(cases) if checked is None else checked
    broken = np.flatnonzero(np.asarray(is_broken, dtype=bool))
    if not len(broken):
        return CheckResult(count, unknown=unknown, inapplicable=inapplicable)
    rows = named_rows(cases.iloc[broken[:MOST_SHOWN]])
    shown = tuple(Counterexample(actor=row.actor, t=row.t, text=describe(row)) for row in rows)
    return CheckResult(count, shown[0].text, unknown, inapplicable, shown, len(broken))


def named_rows(rows: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples, with None where a value is missing."""
    return _as_tuples(rows, _plain_values)


def records(rows: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples, missing values as their columns have them; what a column holds its caller knows."""
    return _as_tuples(rows, pd.Series.tolist)


def _as_tuples(rows: pd.DataFrame, values_of: Callable[[pd.Series], list[Any]]) -> Iterator[Any]:
    if not len(rows):
        return iter(())
    make = _row_type(tuple(map(str, rows.columns)))
    return map(make, *(values_of(column) for _, column in rows.items()))


@lru_cache
def _row_type(names: tuple[str, ...]) -> Callable[..., Any]:
    """Making a class takes longer than all rows of a small table."""
    return namedtuple("Row", names)  # noqa: PYI024 - the names are data


def _plain_values(column: pd.Series) -> list[Any]:
    values = column.to_numpy(dtype=object, copy=True)
    values[column.isna().to_numpy(dtype=bool)] = None
    return values.tolist()
