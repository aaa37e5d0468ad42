"""The quiz at one moment: for a participant, for its hosts, recomputed from the answer log. Pure; only reads.

What attendance adds to it (the roster, the number of participants by state) is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from resilience.protocol.messages import HostStatus, Snapshot, state_digest
from resilience.protocol.server.game_messages import GameMessages
from resilience.protocol.states import ConnectionState
from resilience.quiz.game import Game
from resilience.units import Instant


class SnapshotBuilder:
    """Reads one game; ``epoch`` names its stream."""

    def __init__(self, event: str, title: str, epoch: str, game: Game, messages: GameMessages) -> None:
        self.event, self.title, self.epoch = event, title, epoch
        self._game, self._game_messages = game, messages

    def snapshot(self, participant: str, seq: int, roster: msgspec.Raw, now: Instant) -> Snapshot:
        """Everything a client needs to continue from position ``seq`` of the stream."""
        question = self._game.question
        answer = self._game.answer_of(participant, question.id) if question else None
        return Snapshot(
            epoch=self.epoch,
            seq=seq,
            phase=self._game.phase,
            score=self._game.visible_score(participant),
            server_time_ms=round(now * 1000),
            roster=roster,
            question=self._game_messages.question_at(now) if question else None,
            answer=answer.choice if answer else None,
        )

    def recomputed_digest(self, participant: str, seq: int) -> str:
        """The participant's state recomputed from the answer log, without anything that is cached or was sent."""
        question = self._game.question
        answer = self._game.answer_of(participant, question.id) if question else None
        return state_digest(
            self._game.phase,
            question.id if question else "-",
            self._game.recomputed_visible_score(participant),
            answer.choice if answer else None,
            self.epoch,
            seq,
        )

    def host_status(self, states: Mapping[str, int], now: Instant) -> HostStatus:
        """The event as its hosts see it; ``states`` counts participants by connection state."""
        game, progress = self._game, self._game.progress
        question = self._game_messages.question_at(now) if game.question else None
        return HostStatus(
            self.event,
            self.title,
            progress.step,
            progress.phase,
            progress.index + 1,
            len(game.questions),
            question.text if question else "",
            None if progress.ends_at is None else round(max(progress.ends_at - now, 0.0) * 1000),
            states.get(ConnectionState.CONNECTED, 0),
            states.get(ConnectionState.TEMPORARILY_DISCONNECTED, 0),
            states.get(ConnectionState.DISCONNECTED, 0),
            game.answered,
            self._game_messages.leaders(),
            question.choices if question else (),
            question.correct if question else None,
            question.time_ms if question else None,
        )
