"""What was seen of the dials of a run, and of its connections' ends: the input of the joint fit. Estimates nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.frames import RunHistory
from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.lab.participants import participants_of, person_of
from resilience.units import Seconds

from ..client_processes import deal
from .stages import JOIN, RESUME, Dials, Ends, Floats, Numbers, SeenRun, Surroundings

_KINDS = {LogEventKind.SESSION_CREATED.value: JOIN, LogEventKind.SESSION_RESUMED.value: RESUME}
_WORKER = "worker"


class SharedMachine(NamedTuple):
    """The machine of a run: processors that all share, and processes of clients; 0 where each has one of its own."""

    shared_processors: int
    client_processes: int


def laboratory_of(history: RunHistory, processors: int) -> SharedMachine:
    """That of a run: of the model lane as its costs say, of the real lane on a machine with so many ``processors``."""
    if history.info.costs is not None:
        return SharedMachine(history.info.costs.shared_processors, history.info.costs.client_processes)
    workers = sum(each.role == _WORKER for each in history.lab_health.processes)
    alone = len(history.experiment.isolated_links(history.info.seed))
    return SharedMachine(processors, max(workers - alone, 1))


def _served(history: RunHistory) -> pd.DataFrame:
    """When the server had served each join and resume, before its commit: ``actor``, ``taken``, ``kind``; by time."""
    mine = history.rows(LogEventKind.SESSION_JOINED, LogEventKind.SESSION_RESTORED, role=Role.CLIENT)
    mine = mine[["session_id", "actor"]].dropna().astype(object).drop_duplicates("session_id")
    served = history.rows(LogEventKind.SESSION_CREATED, LogEventKind.SESSION_RESUMED, role=Role.SERVER)
    served = served[["t", "value", "kind", "session_id"]].astype({"session_id": object, "kind": object})
    found = served.merge(mine, on="session_id").dropna(subset=["value"])
    found = found.assign(taken=found["t"] - found["value"], kind=found["kind"].map(_KINDS))
    return found[["actor", "taken", "kind"]].sort_values("taken", ignore_index=True)


def processes_of(history: RunHistory, laboratory: SharedMachine) -> dict[str, int]:
    """The number of each participant's process, by its name."""
    participants = participants_of(history.experiment, history.info.seed)
    isolated = history.experiment.isolated_links(history.info.seed)
    numbers = deal(participants, isolated, laboratory.client_processes)
    return {each.actor: number for each, number in zip(participants, numbers, strict=True)}


def seen_run(
    history: RunHistory, dials: pd.DataFrame, quiet: NDArray[np.bool_], laboratory: SharedMachine, machine: Surroundings
) -> SeenRun:
    """What was seen of one run; only its ``quiet`` dials say anything. ``dials``: as of the measured stages.

    Dials that a proxy accepted and closed, since no server was there, are left out: they are spread over an outage, and
    say nothing.
    """
    wanted = (dials["opened"] | (dials["cause"] != "closed")).to_numpy(dtype=bool)
    dials, quiet = dials[wanted].reset_index(drop=True), quiet[wanted]
    processes = processes_of(history, laboratory)
    links = {each.actor: each.link for each in participants_of(history.experiment, history.info.seed)}
    person = dials["actor"].map(person_of)
    served, back, kind = _first_messages(history, dials)
    end, opened = _numbers(dials["end"]), dials["opened"].to_numpy(dtype=bool)
    refused = (dials["cause"] == "refused").to_numpy(dtype=bool)
    seen = Dials(
        began=_numbers(dials["begin"]),
        process=np.asarray(person.map(processes), dtype=np.int64),
        link=pd.factorize(person.map(links))[0].astype(np.int64),
        refused=np.where(refused, end, np.nan),
        opened=np.where(opened, end, np.nan),
        served=served,
        back=back,
        kind=kind,
    )
    others = np.concatenate([_answers(history, machine.latency), _steps(history)])
    return SeenRun(seen, _ends(history, processes), others, machine, quiet | refused)


def _first_messages(history: RunHistory, dials: pd.DataFrame) -> tuple[Floats, Floats, Numbers]:
    """Of each dial's first message: when it was served, when its reply arrived, and its kind."""
    opened = dials[dials["opened"]].assign(number=lambda rows: rows.index).sort_values("end")
    opened = opened[["end", "actor", "number"]]
    taken = _served(history)
    arrived = history.rows(LogEventKind.SESSION_JOINED, LogEventKind.SESSION_RESTORED, role=Role.CLIENT)
    arrived = arrived[["t", "actor"]].astype({"actor": object})
    asked = _first_of_each(pd.merge_asof(taken, opened, left_on="taken", right_on="end", by="actor"))
    came = _first_of_each(pd.merge_asof(arrived, opened, left_on="t", right_on="end", by="actor"))
    served, back = np.full(len(dials), np.nan), np.full(len(dials), np.nan)
    kind = np.full(len(dials), -1, np.int64)
    number = asked["number"].to_numpy(dtype=np.int64)
    served[number], kind[number] = asked["taken"], asked["kind"]
    back[came["number"].to_numpy(dtype=np.int64)] = came["t"]
    return served, np.where(back > served, back, np.nan), kind


def _first_of_each(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.dropna(subset=["number"]).drop_duplicates("number")


def _answers(history: RunHistory, latency: Seconds) -> Floats:
    """When answers came to the server, which commits them too."""
    sent = history.rows(LogEventKind.ANSWER_SUBMITTED, role=Role.CLIENT)
    return _numbers(sent["t"]) + latency


def _steps(history: RunHistory) -> Floats:
    """When the quiz entered another phase, which is committed too. Nothing is logged when a reveal ends."""
    opened = history.rows(LogEventKind.QUESTION_OPENED, role=Role.SERVER)
    closed = _numbers(history.rows(LogEventKind.QUESTION_CLOSED, role=Role.SERVER)["t"])
    revealed = closed + history.experiment.quiz.reveal_time
    return np.concatenate([_numbers(opened["t"]), closed, revealed[revealed < history.experiment.duration]])


def _ends(history: RunHistory, processes: dict[str, int]) -> Ends:
    """When clients noticed that their connection ended, and when the server did."""
    lost = history.rows(LogEventKind.TRANSPORT_LOST, role=Role.CLIENT)
    detached = history.rows(LogEventKind.SESSION_DETACHED, role=Role.SERVER)
    detached = detached[detached["cause"] == "closed"]
    at = np.concatenate([_numbers(lost["t"]), _numbers(detached["t"])])
    mine = lost["actor"].astype(object).map(person_of).map(processes).to_numpy(dtype=np.int64)
    process = np.concatenate([mine, np.full(len(detached), -1, np.int64)])
    order = np.argsort(at, kind="stable")
    return Ends(at[order], process[order])


def _numbers(column: pd.Series) -> Floats:
    return column.to_numpy(dtype=np.float64)
