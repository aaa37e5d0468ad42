"""Lives of a room on a real store, rich in answers, with commits that fail and servers that are killed.

Whatever was acknowledged or announced before a kill holds after it: answers with their choice and key, points counted
once, and no phase that the quiz had left.
"""

from __future__ import annotations

import random

import pytest

from resilience.config import QuizConfig, ServerConfig
from resilience.protocol.effects import Broadcast, Persist, SendToClient, SessionRow
from resilience.protocol.messages import (
    Answer,
    AnswerResult,
    HostAction,
    HostCommand,
    HostResult,
    Join,
    Joined,
    Resume,
    StateRestored,
)
from resilience.protocol.server.room import Room
from resilience.quiz.game import Game
from resilience.quiz.phases import Phase
from resilience.quiz.plan import Pace, QuizPlan
from resilience.quiz.verdicts import AnswerVerdict
from resilience.server.store import RunLease, SqlStore
from tests.support.counted_names import counted
from tests.support.virtual_server import empty_store

QUIZ = QuizConfig(questions=8, question_time=6)
SERVER = ServerConfig(late_window=2.0)
PACES = (Pace(3.0, 1.0, 1.0), Pace(3.0), Pace(0.0, 0.5, 0.0), Pace())
STEPS, LIVES, CROWD = 200, 7, 12
NEXT_ACTION = {
    Phase.LOBBY: HostAction.START,
    Phase.QUESTION: HostAction.REVEAL,
    Phase.REVEAL: HostAction.NEXT,
    Phase.LEADERBOARD: HostAction.NEXT,
    Phase.FINISHED: HostAction.FINISH,
}


class Life:
    """One event from its creation on: server after server on one store, and what its peers received."""

    def __init__(self, seed: int, store: SqlStore, failing: float) -> None:
        self.draw, self.store, self.failing = random.Random(seed), store, failing
        self.plan = QuizPlan(QUIZ.plan(seed).questions, pace=self.draw.choice(PACES))
        self.lease = RunLease(f"quiz#{seed}", 1)
        store.create_event(self.lease, "quiz", self.plan, 0.0)
        self.now, self.keys = 0.0, iter(range(1, 100_000))
        self._new_id, self._new_token = counted(), counted("token-")
        self.accepted: dict[tuple[str, str], str] = {}
        self.announced_step = 0
        self.kills = 0
        self._begin(Game(self.plan.questions, self.plan.pace, SERVER.late_window))
        for _ in range(CROWD):
            self.join()

    def _begin(self, game: Game, sessions: tuple[SessionRow, ...] = ()) -> None:
        self.room = Room(
            game,
            SERVER.room,
            epoch=str(self.lease.incarnation),
            new_id=self._new_id,
            new_token=self._new_token,
            draw=lambda _purpose, _incident, _attempt: 0.5,
        )
        if sessions:
            self.room.restore(sessions, self.now)
        self.waiting: list[Persist] = []
        self.participants: dict[int, str] = {}
        self.tokens: dict[str, str] = getattr(self, "tokens", {})
        self.host = next(self.keys)
        self.room.host(self.host, self.now)
        for token in self.tokens.values():
            self.room.receive(Resume(event="quiz", token=token), next(self.keys), self.now)

    # what happens -----------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One thing that peers, the store, the clock or an operator do."""
        happens = self.draw.choices(
            (self.join, self.resume, self.answer, self.command, self.commit, self.sleep, self.kill),
            (1, 2, 10, 3, 10, 4, 0.5),
        )[0]
        happens()
        self.collect()

    def join(self) -> None:
        connection = next(self.keys)
        self.room.receive(Join(event="quiz", name="A", instance=f"i{connection}"), connection, self.now)

    def resume(self) -> None:
        if self.tokens:
            token = self.draw.choice(sorted(self.tokens.values()))
            self.room.receive(Resume(event="quiz", token=token), next(self.keys), self.now)

    def answer(self) -> None:
        """Some who are here answer what is asked, or answer again."""
        question = self.room.game.question
        for connection in self.draw.sample(sorted(self.participants), min(len(self.participants), 4)):
            if question is not None:
                answer = Answer(question.id, self.draw.randrange(-1, 5), f"k{self.draw.randrange(2)}")
                self.room.receive(answer, connection, self.now)

    def command(self) -> None:
        game = self.room.game
        if game.phase is Phase.QUESTION and self.draw.random() < 0.7:
            return
        action = HostAction.FINISH if self.draw.random() < 0.02 else NEXT_ACTION[game.phase]
        self.room.receive(HostCommand(action, game.progress.step), self.host, self.now)

    def commit(self) -> None:
        """Some of what waits is committed together, in order, or none of it is."""
        size = self.draw.randint((len(self.waiting) + 1) // 2, len(self.waiting))
        batch, self.waiting = self.waiting[:size], self.waiting[size:]
        works = self.draw.random() >= self.failing
        if works:
            self.store.commit([(self.lease, row) for order in batch for row in order.rows], 0.0)
        for order in batch:
            (self.room.committed if works else self.room.commit_failed)(order.ticket, self.now)

    def sleep(self) -> None:
        self.now += self.draw.choice((0.01, 0.3, 1.0, 3.0))
        self.room.handle_timeout(self.now)

    def kill(self) -> None:
        """The process ends, perhaps with its last commit on the disk and unreported; another one recovers the run."""
        if self.waiting and self.draw.random() < 0.5:
            self.store.commit([(self.lease, row) for order in self.waiting for row in order.rows], 0.0)
        self.kills += 1
        self.lease = self.store.acquire_lease(self.lease.key)
        stored = self.store.latest("quiz", 0.0)
        assert stored is not None
        game = Game(self.plan.questions, self.plan.pace, SERVER.late_window)
        game.restore(stored.progress, stored.answers)
        self._begin(game, stored.sessions)
        self.room.handle_timeout(self.now)
        assert self.room.game.progress.step >= self.announced_step, "a phase was taken back"

    # what peers receive -----------------------------------------------------------------------------------------------

    def collect(self) -> None:
        while effects := self.room.effects():
            for effect in effects:
                if isinstance(effect, Persist):
                    self.waiting.append(effect)
                elif isinstance(effect, SendToClient):
                    self._sent(effect)
                elif isinstance(effect, Broadcast) and effect.message.__class__.__name__ != "PresenceChanged":
                    self.announced_step = self.room.game.progress.step

    def _sent(self, effect: SendToClient) -> None:
        message, connection = effect.message, effect.connection
        if isinstance(message, Joined | StateRestored):
            who = message.credentials.participant
            self.participants = {key: other for key, other in self.participants.items() if other != who}
            self.participants[connection] = who
            self.tokens[who] = message.credentials.token
        elif isinstance(message, AnswerResult) and message.verdict == AnswerVerdict.ACCEPTED:
            who = self.room._attendance._by_connection[connection][0].participant
            first = self.accepted.setdefault((who, message.question), message.key)
            assert first == message.key, "two answers of one participant to one question were accepted"
        elif isinstance(message, HostResult) and message.verdict == "done":
            self.announced_step = max(self.announced_step, message.step)

    def check(self) -> None:
        """What is stored agrees with what was acknowledged, and with itself."""
        stored = self.store.latest("quiz", 0.0)
        assert stored is not None
        kept = {(answer.participant, answer.question): answer.key for answer in stored.answers}
        assert self.accepted.items() <= kept.items(), "an acknowledged answer is lost"
        totals = dict.fromkeys((session.participant for session in stored.sessions), 0)
        for found in stored.answers:
            totals[found.participant] += found.points
        assert self.store.scores(self.lease.key) == totals


@pytest.mark.parametrize("failing", [0.0, 0.1])
def test_what_was_acknowledged_or_announced_survives_every_kill(failing: float) -> None:
    accepted, kills, store = 0, 0, empty_store()
    for seed in range(LIVES):
        life = Life(seed, store, failing)
        for _ in range(STEPS):
            life.step()
        life.kill()
        life.check()
        accepted, kills = accepted + len(life.accepted), kills + life.kills
    assert accepted > 200
    assert kills > 10
