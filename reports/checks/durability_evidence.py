"""What a run left behind besides its log: the database at the end, and what clients were shown. Judges nothing."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.lab.stored_run import StoredRun
from resilience.quiz.game import StoredAnswer
from resilience.units import Instant, Seconds

from ..checking import records
from ..frames import RunHistory, once_per_run
from .client_evidence import observations
from .connections import recoveries, resumptions
from .selection import MISSING, joint_codes, pair_keys, select

NO_QUESTION = "no question was opened"

LATE_S: Seconds = 0.75
"""A server that has just started under a crowd may be so late."""

EARLY_S: Seconds = 0.02
"""By how much two clocks of one machine may disagree."""

_DURABLE = (LogEventKind.ANSWER_COMMITTED, LogEventKind.ANSWER_RECOVERED)


@once_per_run
def evidence_of(history: RunHistory) -> DurabilityEvidence | None:
    """The evidence of a run; None where it kept no database."""
    return None if history.stored is None else DurabilityEvidence(history, history.stored)


@dataclass(frozen=True)
class DurabilityEvidence:
    """What a run left behind: its history (log and observations) and the run as its database held it at the end."""

    history: RunHistory
    stored: StoredRun

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Position of each question, from 0."""
        return {question.id: i for i, question in enumerate(self.stored.plan.questions)}

    @cached_property
    def observed(self) -> pd.DataFrame:
        """What clients were shown, one row per observation, columns as in ``client_evidence``; later ones too."""
        return observations(self.history)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The stored answers; columns as the fields of :class:`StoredAnswer`."""
        types = dict.fromkeys(("participant", "question", "key"), "object")
        types |= dict.fromkeys(("received_at", "points"), "float64")
        columns = {
            name: pd.Series([getattr(row, name) for row in self.stored.answers], dtype=types.get(name, "int64"))
            for name in StoredAnswer.__struct_fields__
        }
        return pd.DataFrame(columns)

    @cached_property
    def was_asked(self) -> bool:
        """Whether a question was ever opened, by the word of the database, the server's log or any client."""
        logged = select(self.history, LogEventKind.QUESTION_OPENED, role=Role.SERVER)
        return self.stored.state.index >= 0 or bool(len(logged)) or bool(self.observed["question"].notna().any())

    @cached_property
    def why_no_times(self) -> str | None:
        """Why nothing but the server's word says when a question was open; None where more does."""
        pace = self.stored.plan.pace
        if None in (pace.lobby, pace.reveal, pace.leaderboard) or self._host_moved:
            return "a host moves the quiz: nothing but the server's word says when a question was open"
        return NO_QUESTION if self.stored.state.index < 0 else None

    @cached_property
    def times(self) -> dict[str, tuple[Instant, Instant]]:
        """When each question was to open and to close: with a fixed pace one opening determines all.

        Empty where :attr:`why_no_times` says so.
        """
        if self.why_no_times is not None:
            return {}
        plan, state = self.stored.plan, self.stored.state
        offsets, at = [], 0.0
        for question in plan.questions:
            offsets.append(at)
            at += question.time_s + (plan.pace.reveal or 0.0) + (plan.pace.leaderboard or 0.0)
        first = state.opened_at - offsets[state.index]
        return {
            question.id: (first + offset, first + offset + question.time_s)
            for question, offset in zip(plan.questions, offsets, strict=True)
        }

    @cached_property
    def _host_moved(self) -> bool:
        commands = select(self.history, LogEventKind.HOST_ORDERED, role=Role.SERVER, columns=("outcome", "ref"))
        return bool((commands["outcome"].isin(["done"]) & ~commands["ref"].isin(["create"])).any())

    @cached_property
    def answers_of(self) -> dict[str, list[StoredAnswer]]:
        """The stored answers of each participant."""
        found: dict[str, list[StoredAnswer]] = defaultdict(list)
        for answer in self.stored.answers:
            found[answer.participant].append(answer)
        return found

    def points_until(self, participants: pd.Series, last: NDArray[np.int64]) -> NDArray[np.float64]:
        """The points of each participant's stored answers up to question number ``last``."""
        wanted, known = joint_codes(participants, self.rows["participant"])
        numbers = np.array([self.numbers[name] for name in self.rows["question"]], dtype=np.int64)
        none = np.full(len(wanted), MISSING)
        first, asked, stored = pair_keys((wanted, wanted, known), (none, last, numbers))
        order = np.argsort(stored, kind="stable")
        summed = np.append(0.0, np.cumsum(self.rows["points"].to_numpy()[order]))
        since, until = (np.searchsorted(stored[order], keys, side="right") for keys in (first, asked))
        return np.asarray(summed[until] - summed[since], dtype=np.float64)

    @cached_property
    def tolerance(self) -> Seconds:
        """How late a healthy server may be, plus how late the clients' own loops ran."""
        return LATE_S + self.history.lab_lag

    @cached_property
    def _durable_since(self) -> dict[tuple[str, str], Instant]:
        durable = select(self.history, *_DURABLE, role=Role.SERVER, columns=("session_id", "ref"))
        found: dict[tuple[str, str], Instant] = {}
        for row in records(durable):
            found.setdefault((row.session_id, row.ref), row.t)
        return found

    def known_since(self, answer: StoredAnswer) -> Instant:
        """When the server first knew a stored answer to be durable; infinite where its log does not say."""
        known = self._durable_since.get((answer.participant, answer.ref), np.inf)
        return float(known)

    def are_on_time(self, t: NDArray[np.float64], planned: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which times are as planned, or right after a server started, or continued, that could not act then."""
        slack = self.tolerance
        on_time = np.abs(t - planned) <= slack
        for up in (*recoveries(self.history)["t"], *resumptions(self.history)):
            on_time |= (planned <= up + slack) & (t >= up - EARLY_S) & (t - up <= slack)
        return on_time
