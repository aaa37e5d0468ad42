"""Collects what a stored run says about one participant: network, client, server, episodes, checks. Judges nothing.

A participant is named as in the log (``alpha-0001``) or by its public id. Its tabs belong to it. Of a run of the
population lane, which stores no events, the story has the outages, drawn again from the seed, and the episodes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from reports.episodes import episodes_frame
from reports.frames import RunHistory, load_history
from reports.invariants import run_checks
from resilience.errors import UsageError
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role, Verdict
from resilience.experiment.faults import ServerKillFault
from resilience.experiment.schedule import SERVER
from resilience.lab.participants import client_names, participants_of, person_of

from ..profiles.timelines import OutageKind
from .words import ROUTINE, describe

NEAR_NAMES = 5
RUN_KINDS = frozenset(
    {
        LogEventKind.RUN_STARTED,
        LogEventKind.RUN_STEADY,
        LogEventKind.RUN_ENDED,
        LogEventKind.SERVER_STARTED,
        LogEventKind.SERVER_DRAINING,
        LogEventKind.SERVER_FAILED,
    }
)
"""What concerns every participant."""

_OUTAGES = {
    OutageKind.SILENT: ("network", "the link goes silent", "the link works again"),
    OutageKind.REFUSED: ("network", "the link breaks; dials are refused", "the link works again"),
    OutageKind.DEPLOY: ("server", "the server closes the connection in order; dials are refused", "a server listens"),
    OutageKind.TORN: ("network", "the link loses all bytes", "the link works again; its connections end"),
    OutageKind.SUSPENDED: ("client", "the client stands still", "the client continues"),
    OutageKind.FROZEN: ("server", "the server stands still", "the server continues"),
}
"""Of each kind of outage: whose it is, its begin, its end."""

_KILLED = ("server", "the server is killed: the link breaks; dials are refused", "a server listens")
"""The same of a refused outage that the end of the server's process causes, and not the link."""

WITHOUT_EVENTS = (
    "This lane stores no events: between an outage and its end each dial depends on the server's queue, which every "
    "client of the server shares, so one client's dials cannot be carried out again alone. The outages are drawn again "
    "from the seed; the episodes are those that were stored."
)


class StoryEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened at ``t`` seconds of the run; ``who``: network, client, server or run."""

    t: float
    who: str
    what: str
    kind: str
    routine: bool = False
    event: LogEvent | None = None


class EpisodeStory(msgspec.Struct, frozen=True):
    """One episode: its faults, its outcome, its times in seconds; what is not known is None."""

    fault_id: str
    last_fault_id: str
    outcome: str
    came_back_by: str | None
    attempts: int | None
    fault_at: float | None
    detected_at: float | None
    detected_by: str | None
    healed_at: float | None
    restored_at: float | None
    downtime_s: float | None
    excess_s: float | None


class Story(msgspec.Struct, frozen=True):
    """Everything of one participant. ``broken``: rules of the run whose counterexample names it, with the text."""

    run: str
    experiment: str
    lane: Lane
    seed: int
    participant: str
    cohort: str
    ids: tuple[str, ...]
    entries: tuple[StoryEntry, ...]
    episodes: tuple[EpisodeStory, ...]
    broken: dict[str, str]
    note: str | None = None


def story_of(run_dir: Path, named: str) -> Story:
    """The story of a participant of a stored run.

    Raises :class:`~resilience.errors.UsageError` for a name that the run does not have, with near ones, and for what is
    no run directory; :class:`~resilience.errors.EvidenceError` when a file of the run cannot be read.
    """
    history = load_history(run_dir)
    names = client_names(history.experiment)
    has_events = history.recorded_episodes is None
    participant = _participant(history, names, named)
    ids = _ids(history, participant) if has_events else ()
    episodes = episodes_frame(history)
    entries = _from_events(history, participant, ids) if has_events else _from_outages(history, names, participant)
    return Story(
        run=str(run_dir),
        experiment=history.experiment.name,
        lane=history.info.lane,
        seed=history.info.seed,
        participant=participant,
        cohort=participant.rpartition("-")[0],
        ids=ids,
        entries=tuple(entries),
        episodes=tuple(_episodes(episodes[episodes["participant"] == participant])),
        broken=_broken(history, participant, ids),
        note=None if has_events else WITHOUT_EVENTS,
    )


def _participant(history: RunHistory, names: list[str], named: str) -> str:
    """The name of a participant that is given by a name, a tab's name or a public id."""
    person = person_of(named)
    if person in set(names):
        return person
    frame = history.frame
    of_clients = frame[(frame["session_id"] == named) & (frame["role"] == Role.CLIENT.value)]
    if len(of_clients):
        return person_of(str(of_clients["actor"].iloc[0]))
    near = difflib.get_close_matches(person, names, NEAR_NAMES, cutoff=0.5) or names[:NEAR_NAMES]
    raise UsageError(
        f"{named}: the run has no such participant; near: {', '.join(near)}; it has {len(names):,}, named like "
        f"{names[0]} to {names[-1]}"
    )


def _ids(history: RunHistory, participant: str) -> tuple[str, ...]:
    """The public ids that the participant's clients had, in order."""
    frame = history.frame
    mine = frame["actor"].map(person_of) == participant
    found = frame.loc[mine & (frame["role"] == Role.CLIENT.value), "session_id"].dropna()
    return tuple(dict.fromkeys(found.astype(str)))


def _from_events(history: RunHistory, participant: str, ids: tuple[str, ...]) -> Iterator[StoryEntry]:
    """The participant's own events, the server's about it, its faults, and what concerns everyone."""
    faults = _faults_of(history, participant)
    frame = history.frame
    kinds = frame["kind"].isin([kind.value for kind in RUN_KINDS])
    clients = (frame["role"] == Role.CLIENT.value) & (frame["actor"].map(person_of) == participant)
    servers = (frame["role"] == Role.SERVER.value) & frame["session_id"].isin(ids)
    struck = (frame["role"] == Role.INJECTOR.value) & frame["ref"].isin(faults)
    for place in np.flatnonzero(kinds | clients | servers | struck):
        yield _entry(history.events[int(place)], participant)


def _faults_of(history: RunHistory, participant: str) -> list[str]:
    """The ids of the windows that act on the participant's link, on its clients or on the server."""
    experiment, seed = history.experiment, history.info.seed
    link = next(each.link for each in participants_of(experiment, seed) if each.actor == participant)
    return [window.fault_id for window in experiment.windows(seed) if window.place == SERVER or link in window.links]


def _entry(event: LogEvent, participant: str) -> StoryEntry:
    who = {Role.CLIENT: "client", Role.SERVER: "server", Role.INJECTOR: "network", Role.RUNNER: "run"}[event.role]
    if event.role is Role.CLIENT and event.actor != participant:
        who = event.actor.removeprefix(f"{participant}.")
    return StoryEntry(event.t, who, describe(event), event.kind.value, event.kind in ROUTINE, event)


def _from_outages(history: RunHistory, names: list[str], participant: str) -> Iterator[StoryEntry]:
    """The outages of a participant of the population lane, drawn again from the run's seed."""
    from ..population.run import PopulationRun  # noqa: PLC0415 - the arrays are needed by this lane alone

    experiment, seed, place = history.experiment, history.info.seed, names.index(participant)
    population = PopulationRun(experiment, seed).population
    timelines = population.timelines
    kills = {window.fault_id for window in experiment.windows(seed) if isinstance(window.fault, ServerKillFault)}
    for row, outage in enumerate(timelines.of_participant(place), int(timelines.ptr[place])):
        killed = timelines.cause is not None and population.causes[timelines.cause[row]] in kills
        who, begins, ends = _KILLED if killed else _OUTAGES[outage.kind]
        yield StoryEntry(outage.start, who, f"{begins}: {outage.end - outage.start:.3f} s", "outage.started")
        yield StoryEntry(outage.end, who, ends, "outage.ended")


def _episodes(mine: pd.DataFrame) -> Iterator[EpisodeStory]:
    for row in mine.sort_values("fault_at").to_dict("records"):
        yield EpisodeStory(**{name: _known(row[name]) for name in EpisodeStory.__struct_fields__})


def _known(value: Any) -> Any:  # noqa: ANN401 - a cell of a frame
    """A plain value; None for what is missing."""
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _broken(history: RunHistory, participant: str, ids: tuple[str, ...]) -> dict[str, str]:
    words = (participant, *ids)
    failed = [item for item in run_checks(history) if item.verdict is Verdict.FAIL]
    return {item.name: item.detail for item in failed if any(word in item.detail for word in words)}
