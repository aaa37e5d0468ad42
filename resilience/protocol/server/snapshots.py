"""How a room looks at one moment: to a participant, to its hosts, recomputed from its answer log. Pure; only reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from resilience.policy.failure_detectors import HeartbeatTimeouts
from resilience.policy.return_window import ReturnWindow
from resilience.protocol.messages import HostStatus, Snapshot, Timing, state_digest
from resilience.protocol.server.game_messages import GameMessages
from resilience.protocol.server.presence import PresenceTracker
from resilience.protocol.server.session import ServerSession
from resilience.protocol.states import ConnectionState
from resilience.quiz.game import Game
from resilience.units import Instant


class SnapshotBuilder:
    """Reads one room's game, stage and board; ``epoch`` names its stream."""

    def __init__(  # noqa: PLR0913, PLR0917 - what there is to see
        self, event: str, title: str, epoch: str, game: Game, game_messages: GameMessages, presence: PresenceTracker
    ) -> None:
        self.event, self.title, self.epoch = event, title, epoch
        self._game, self._game_messages, self._presence = game, game_messages, presence

    def snapshot(self, participant: str, seq: int, now: Instant, *, pack: bool = False) -> Snapshot:
        """All that a client needs to go on from this position of the stream."""
        question = self._game.question
        answer = self._game.answer_of(participant, question.id) if question else None
        return Snapshot(
            epoch=self.epoch,
            seq=seq,
            phase=self._game.phase,
            score=self._game.visible_score(participant),
            server_time_ms=round(now * 1000),
            roster=self._presence.roster(self._game_messages.leaders, pack=pack),
            question=self._game_messages.question_at(now) if question else None,
            answer=answer.choice if answer else None,
        )

    def recomputed_digest(self, participant: str, seq: int) -> str:
        """The participant's state recomputed from the answer log, apart from everything that is cached or sent."""
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

    def host_status(self, sessions: Mapping[str, ServerSession], now: Instant) -> HostStatus:
        """The event as its hosts see it."""
        states = count_states(sessions.values())
        game, progress = self._game, self._game.progress
        question = game.question
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
        )


def timing_message(rules: HeartbeatTimeouts, window: ReturnWindow) -> Timing:
    """The effective settings as clients are told them."""
    seconds = (rules.interval, rules.grace, rules.cleanup, window.spread_s, window.step_s, window.cap_s)
    return Timing(*(round(value * 1000) for value in seconds))


def count_states(sessions: Iterable[ServerSession]) -> dict[str, int]:
    """How many participants are in each connection state; those that nobody knows of yet do not count."""
    found = Counter(session.state for session in sessions if session.welcomed)
    return {state.value: found[state] for state in ConnectionState}
