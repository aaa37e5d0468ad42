"""What pages showed their people of an outage, and the outcome of what they called saved.

Computed for the clients of drivers with ``quiz_records``, which record each change of it as ``client.shown``.
A time ends when the page's document changes, a frame before a person can see it. An episode in which no banner appeared
has no time: the page hides an outage of less than a second, as people would only see it flash.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from resilience.eventlog.vocabulary import LogEvent, LogEventKind, Role
from resilience.experiment.drivers import StdioDriver
from resilience.lab.stored_run import StoredRun
from resilience.quiz.verdicts import AnswerVerdict

from .checking import named_rows
from .frames import RunHistory
from .page_summary import PageResults, ShownDelay, ShownStates

AMBER, RED, LIVE = "amber", "red", "live"
PLACE_SAVED = "progress saved"
"""The detail of a record while the page says that the participant's place is saved."""

_ARRIVALS = (LogEventKind.SESSION_JOINED, LogEventKind.SESSION_RESTORED)


def page_results(history: RunHistory, episodes: pd.DataFrame) -> PageResults | None:
    """What the pages of a run showed; ``None`` where no page took part. ``episodes``: the episode frame."""
    drivers = history.experiment.drivers_by_cohort
    cohorts = [name for name, each in drivers.items() if isinstance(each, StdioDriver) and each.quiz_records]
    if not cohorts or history.recorded_episodes is not None:
        return None
    events = _by_page(history, cohorts)
    affected = episodes[episodes["affected"] & episodes["cohort"].isin(cohorts)]
    kinds = dict.fromkeys(affected["kind"].astype(str))
    return PageResults(
        cohorts=tuple(cohorts),
        pages=len(events),
        by_fault=tuple(_states_of(kind, affected[affected["kind"] == kind], events) for kind in kinds),
        **_answers(events, history.stored),
        **_promises(events, history.stored),
    )


def _by_page(history: RunHistory, cohorts: Sequence[str]) -> dict[str, list[LogEvent]]:
    """The records of each page that matter here, in order."""
    kinds = (LogEventKind.CLIENT_SHOWN, LogEventKind.ANSWER_SUBMITTED, LogEventKind.ANSWER_ACKED, *_ARRIVALS)
    found: defaultdict[str, list[LogEvent]] = defaultdict(list)
    for kind in kinds:
        for event in history.of(kind, Role.CLIENT):
            if event.cohort in cohorts and event.t <= history.end:
                found[event.actor].append(event)
    return {actor: sorted(own, key=lambda event: event.t) for actor, own in found.items()}


# states ---------------------------------------------------------------------------------------------------------------


def _states_of(kind: str, rows: pd.DataFrame, events: Mapping[str, list[LogEvent]]) -> ShownStates:
    amber, red, live = list[float](), list[float](), list[float]()
    for row in named_rows(rows[["participant", "fault_at", "healed_at", "ended_at"]]):
        shown = [event for event in events.get(row.participant, ()) if event.kind is LogEventKind.CLIENT_SHOWN]
        _add_times(row, shown, (amber, red, live))
    times = {"to_amber_s": amber, "to_red_s": red, "to_live_s": live}
    return ShownStates(fault=kind, episodes=len(rows), **{name: _delay(found) for name, found in times.items()})


def _add_times(row: Any, shown: Sequence[LogEvent], times: tuple[list[float], ...]) -> None:  # noqa: ANN401 - a row
    """Add the times of one episode, where there are such: to the banner, to the red one, and to the end of both."""
    amber, red, live = times
    began = next(
        (event.t for event in shown if row.fault_at <= event.t <= row.ended_at and event.outcome != LIVE), None
    )
    if began is None:
        return
    amber.append(began - row.fault_at)
    given_up = next((event.t for event in shown if began <= event.t <= row.ended_at and event.outcome == RED), None)
    if given_up is not None:
        red.append(given_up - row.fault_at)
    gone = next((event.t for event in shown if event.t > began and event.outcome == LIVE), None)
    if gone is not None and row.healed_at is not None:
        live.append(max(gone - row.healed_at, 0.0))


def _delay(times: Sequence[float]) -> ShownDelay:
    if not times:
        return ShownDelay(n=0)
    low, middle, high = (float(np.quantile(times, level)) for level in (0.0, 0.5, 1.0))
    return ShownDelay(n=len(times), least=low, median=middle, most=high)


# answers and promises -------------------------------------------------------------------------------------------------


def _answers(events: Mapping[str, list[LogEvent]], stored: StoredRun | None) -> dict[str, Any]:
    """How many answers were accepted, how many the database lacks, and how many count twice."""
    accepted = [
        (str(event.session_id), str(event.ref))
        for own in events.values()
        for event in own
        if event.kind is LogEventKind.ANSWER_ACKED and event.outcome == AnswerVerdict.ACCEPTED
    ]
    kept = None if stored is None else _stored_refs(stored)
    return {
        "answers": len(accepted),
        "lost": None if kept is None else sum(answer not in kept for answer in accepted),
        "counted_twice": _counted_twice(accepted),
    }


def _counted_twice(accepted: Sequence[tuple[str, str]]) -> int:
    """For how many questions of one participant answers of different keys were accepted; one key is one answer."""
    keys: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for participant, ref in accepted:
        question, _, key = ref.partition("/")
        keys[participant, question].add(key)
    return sum(len(each) > 1 for each in keys.values())


def _stored_refs(stored: StoredRun) -> set[tuple[str, str]]:
    return {(row.participant, row.ref) for row in stored.answers}


def _promises(events: Mapping[str, list[LogEvent]], stored: StoredRun | None) -> dict[str, int]:
    """How often pages called an answer or a place saved, and how often it was gone.

    An answer is gone that has no verdict and is not in the database, though its page was back later; a place, where the
    next arrival of its page was as a new participant. A page that did not come back proves neither, nor does an answer
    without a verdict where no database was kept.
    """
    kept = None if stored is None else _stored_refs(stored)
    said = false = 0
    for own in events.values():
        for promised in _promised(own):
            back = next((event for event in own if event.t > promised.t and event.kind in _ARRIVALS), None)
            if back is None:
                continue
            gone = _is_gone(promised, back, own, kept)
            said += gone is not None
            false += gone is True
    return {"said_saved": said, "falsely_saved": false}


def _is_gone(
    promised: LogEvent, back: LogEvent, own: Sequence[LogEvent], kept: set[tuple[str, str]] | None
) -> bool | None:
    """Whether what was called saved is gone after the arrival ``back``; None where nothing tells."""
    if promised.ref is None:
        return back.kind is LogEventKind.SESSION_JOINED
    if any(event.kind is LogEventKind.ANSWER_ACKED and event.ref == promised.ref for event in own):
        return False
    return None if kept is None else (str(back.session_id), promised.ref) not in kept


def _promised(own: Sequence[LogEvent]) -> list[LogEvent]:
    """The first record of each promise: one a time and answer, one an outage and place; of an answer it has the ref."""
    found: list[LogEvent] = []
    answers, place = set[str](), False
    for event in own:
        if event.kind in _ARRIVALS:
            place = False
        elif event.kind is LogEventKind.CLIENT_SHOWN:
            if event.ref is not None and event.ref not in answers:
                answers.add(event.ref)
                found.append(event)
            elif event.ref is None and event.detail == PLACE_SAVED and not place:
                place = True
                found.append(event)
    return found
