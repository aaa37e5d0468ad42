"""Reads a history that is written as lines of words, as in ``docs/invariants.md``. Holds no assertion.

``<seconds> <who> <kind> [field=value]...``: ``who`` is ``server``, ``runner``, ``injector`` or a client; ``of`` names
the participant that the server speaks about. ``<seconds> <client> shown [field=value]...``: an observation.
``database ...`` and ``run.json cause=...``: what the database held at the end, and the cause of the run's end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from reports.frames import RunHistory
from resilience.eventlog.vocabulary import Lane, LogEvent, Role
from resilience.lab.observation import Observation
from resilience.lab.stored_run import StoredRun
from resilience.quiz.game import QuizState, StoredAnswer
from resilience.quiz.phases import Phase
from resilience.quiz.plan import Pace, QuizPlan
from resilience.quiz.questions import Question

from .log_builder import LogBuilder, experiment

ROLES = {"server": Role.SERVER, "runner": Role.RUNNER, "injector": Role.INJECTOR}
Fields = dict[str, str]
T = TypeVar("T")


@dataclass
class WrittenHistory:
    """A history while its lines are read."""

    lane: Lane = Lane.MODEL
    events: list[LogEvent] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    cause: str | None = None
    database: list[Fields] = field(default_factory=list)

    def read(self, line: str) -> None:
        """One line."""
        first, *words = line.split()
        if first == "database":
            self.database.append(_fields(words))
        elif first == "run.json":
            self.cause = _fields(words)["cause"].replace("_", " ")
        elif words[1] == "shown":
            told: Fields = {"t": first, "actor": words[0], "participant": f"p-{words[0]}", "question": "null"}
            self.observations.append(_typed(told | _fields(words[2:]), Observation))
        else:
            self.events.append(self._event(first, *words))

    def _event(self, t: str, who: str, kind: str, *words: str) -> LogEvent:
        given: Fields = {"t": t, "lane": self.lane.value, "actor": who, "kind": kind, **_fields(words)}
        about = given.pop("of", None)
        if who in ROLES:
            given |= {"role": ROLES[who].value} | ({"session_id": f"p-{about}"} if about else {})
        else:
            given = {"role": Role.CLIENT.value, "cohort": "alpha", "session_id": f"p-{who}"} | given
        return _typed(given, LogEvent)

    def history(self) -> RunHistory:
        """The run as the reports read it."""
        built = LogBuilder(experiment(), self.lane)
        events = sorted(self.events, key=lambda event: event.t)
        info = msgspec.structs.replace(built.info, cause=self.cause)
        return RunHistory(info, built.experiment, events, self.observations, self._stored())

    def _stored(self) -> StoredRun | None:
        if not self.database:
            return None
        opening = next((line for line in self.database if "question" in line), None)
        opens, closes = (float(opening["opens"]), float(opening["closes"])) if opening else (0.0, 10.0)
        questions = tuple(Question(name, "?", ("right", "wrong"), 0, closes - opens) for name in ("q1", "q2"))
        plan = QuizPlan(questions, pace=Pace(0.0, 1.0, 1.0)) if opening else QuizPlan(questions)
        state = QuizState(Phase.QUESTION, 0, 1, opened_at=opens, closes_at=closes)
        scores = {f"p-{line['participant']}": int(line["score"]) for line in self.database if "participant" in line}
        answers = tuple(_answer(line) for line in self.database if "answer" in line)
        servers = next((int(line["servers"]) for line in self.database if "servers" in line), 1)
        return StoredRun(plan, state, scores, answers, servers)


def read_history(text: str, lane: Lane = Lane.MODEL) -> RunHistory:
    """The history that these lines tell."""
    written = WrittenHistory(lane)
    for line in filter(None, text.splitlines()):
        written.read(line)
    return written.history()


def _fields(words: tuple[str, ...] | list[str]) -> Fields:
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def _typed(given: Fields, kind: type[T]) -> T:
    told = {name: None if value == "null" else value for name, value in given.items()}
    return msgspec.convert(told, kind, strict=False)


def _answer(line: Fields) -> StoredAnswer:
    question, _, key = line["answer"].partition("/")
    choice, received_at = int(line.get("choice", "0")), float(line.get("received_at", "1"))
    return StoredAnswer(f"p-{line['of']}", question, key, choice, received_at, int(line["points"]))
