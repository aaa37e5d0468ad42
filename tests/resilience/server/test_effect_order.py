"""The order in which a server carries out one batch of effects: records first, then the rest in order."""

from __future__ import annotations

from typing import Any, cast

from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.effects import Disconnect, Record, SendToClient, ServerEffect
from resilience.protocol.messages import ProbeReply, ServerMessage
from resilience.runtime import RunClock
from resilience.server.hub import Hub
from resilience.server.store import RunLease

BATCH: list[ServerEffect] = [
    SendToClient(1, ProbeReply(1)),
    Record(LogEventKind.HEARTBEAT_SENT, 0.0),
    Disconnect(1, 1000, "over"),
    Record(LogEventKind.HEARTBEAT_ACKED, 0.0),
]


class BatchRoom:
    """A room that asks for one batch, whatever happens."""

    def __init__(self) -> None:
        self._effects = list(BATCH)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any event of a room
        return lambda *_, **__: None

    def effects(self) -> list[ServerEffect]:
        effects, self._effects = self._effects, []
        return effects


class RecordingPeer:
    """A socket that writes down what it is asked to do."""

    def __init__(self, done: list[str]) -> None:
        self._done = done

    def send(self, frame: bytes) -> None:
        self._done.append("send")

    def message_sent(self, message: ServerMessage) -> None:
        self._done.append("sent")

    def close(self, code: int, reason: str) -> None:
        self._done.append("close")


def hub_of(done: list[str]) -> Hub:
    """A hub whose room asks for the batch at the next event."""
    return Hub(
        cast("Any", BatchRoom()),
        RunLease("quiz#1", 1),
        clock=RunClock(0.0, lambda: 0.0),
        log=lambda record: done.append(record.kind.value),
        submit=lambda _: None,
        flush=lambda: done.append("flush"),
    )


async def test_records_reach_the_log_before_any_message_of_their_batch() -> None:
    done: list[str] = []
    hub_of(done).received(cast("Any", None), 1, RecordingPeer(done))
    assert done == ["heartbeat.sent", "heartbeat.acked", "send", "sent", "close"]


async def test_after_a_commit_the_log_is_flushed_before_any_message() -> None:
    done: list[str] = []
    hub = hub_of(done)
    hub._peers[1] = RecordingPeer(done)
    hub.on_commit([], None)
    assert done == ["heartbeat.sent", "heartbeat.acked", "flush", "send", "sent", "close"]


async def test_what_arises_while_effects_are_carried_out_follows_them() -> None:
    """A peer whose close makes another event happen in the room does not get in between."""
    done: list[str] = []
    hub = hub_of(done)

    class TalkativePeer(RecordingPeer):
        def send(self, frame: bytes) -> None:
            super().send(frame)
            if done.count("send") == 1:
                cast("Any", hub.room)._effects = list(BATCH)
                hub.lost(2, "closed")

    hub.received(cast("Any", None), 1, TalkativePeer(done))
    assert done == ["heartbeat.sent", "heartbeat.acked", "send", "sent", "close"] * 2
