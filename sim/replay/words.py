"""What each kind of log event says about a participant, in words. Pure; knows no run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from resilience.eventlog.vocabulary import LogEvent
from resilience.eventlog.vocabulary import LogEventKind as K


class Wording(NamedTuple):
    """The words of one kind, and how its ``value`` is called, with ``{}`` in its place."""

    words: str
    value: str = "{:g}"


WORDINGS: Mapping[K, Wording] = {
    K.RUN_STARTED: Wording("the run begins", "{:g} s long"),
    K.RUN_STEADY: Wording("steady state is checked", "{:.0%} joined"),
    K.RUN_ENDED: Wording("the run ends"),
    K.SERVER_STARTED: Wording("the server starts", "{:g} sessions recovered"),
    K.SERVER_DRAINING: Wording("the server drains", "over {:g} s"),
    K.SERVER_FAILED: Wording("the server ended or stood still by itself"),
    K.SERVER_SILENT: Wording("the server does not answer the laboratory"),
    K.SERVER_ANSWERS: Wording("the server answers the laboratory again", "after {:.3f} s"),
    K.FAULT_STARTED: Wording("the fault begins", "planned for {:g} s"),
    K.FAULT_CONFIRMED: Wording("a canary has seen the fault begin", "{:.3f} s after it"),
    K.FAULT_ENDED: Wording("the fault ends", "planned for {:g} s"),
    K.FAULT_CLEARED: Wording("a canary has seen the place healthy again", "{:.3f} s after the end"),
    K.FAULT_INVALID: Wording("the fault is not proven"),
    K.TRANSPORT_OPENING: Wording("dials"),
    K.TRANSPORT_OPENED: Wording("the connection is open"),
    K.TRANSPORT_FAILED: Wording("the dial failed"),
    K.TRANSPORT_LOST: Wording("the connection ended"),
    K.SESSION_JOINED: Wording("joined, as a new identity"),
    K.SESSION_RESTORED: Wording("restored"),
    K.SESSION_REJECTED: Wording("its session was rejected"),
    K.SESSION_SUPERSEDED: Wording("replaced by a newer connection; stays closed"),
    K.PEER_SUSPECTED: Wording("hears nothing and sends a probe", "after {:.3f} s of silence"),
    K.PEER_DEAD: Wording("got no answer to its probe and drops the connection", "after {:.3f} s of silence"),
    K.BACKOFF_SCHEDULED: Wording("waits before it dials again", "for {:.3f} s"),
    K.GAVE_UP: Wording("gives up", "{:.3f} s after the loss"),
    K.CLIENT_LEFT: Wording("leaves on purpose"),
    K.CLIENT_DISMISSED: Wording("was rejected for good"),
    K.STREAM_DELIVERED: Wording("applies a message of the room"),
    K.ANSWER_SUBMITTED: Wording("answers"),
    K.ANSWER_ACKED: Wording("learns the verdict on its answer"),
    K.PONG_SENT: Wording("answers a ping"),
    K.CLIENT_SHOWN: Wording("shows its person another state of the connection"),
    K.SESSION_CREATED: Wording("creates its session", "{:.3f} s after the request"),
    K.SESSION_RESUMED: Wording("attaches it again", "{:.3f} s after the request"),
    K.RESUME_REFUSED: Wording("refuses to resume it"),
    K.SESSION_FENCED: Wording("closes its older connection"),
    K.SESSION_DETACHED: Wording("notices that its connection is gone"),
    K.SESSION_EXPIRED: Wording("cleans its session up: disconnected"),
    K.SESSION_LEFT: Wording("takes note of its leave"),
    K.SESSION_FORGOTTEN: Wording("deletes it"),
    K.SESSION_STATE: Wording("has it in this state"),
    K.PARTICIPANT_ANNOUNCED: Wording("announces it to the room"),
    K.HEARTBEAT_SENT: Wording("sends a ping"),
    K.HEARTBEAT_ACKED: Wording("gets its pong", "round trip {:.4f} s"),
    K.ANSWER_COMMITTED: Wording("has committed its answer", "{:g} points"),
    K.ANSWER_RECOVERED: Wording("finds its answer stored", "{:g} points"),
    K.ANSWER_REPLIED: Wording("answers it without a commit"),
    K.SCORE_FINAL: Wording("has its final score", "{:g} points"),
}
"""Kinds that are not here are said by their names."""

ROUTINE = frozenset({K.HEARTBEAT_SENT, K.HEARTBEAT_ACKED, K.PONG_SENT, K.STREAM_DELIVERED})
"""What happens all the time; left out unless everything is asked for."""


def describe(event: LogEvent) -> str:
    """The event in words: what happened, then its fields that say more."""
    wording = WORDINGS.get(event.kind, Wording(event.kind.value))
    said = [] if event.value is None or event.value != event.value else [wording.value.format(event.value)]
    named = (
        ("connection", event.connection_no),
        ("attempt", event.attempt),
        ("seq", event.seq),
        ("", event.ref),
        ("", event.outcome),
        ("cause", event.cause),
        ("", event.detail),
    )
    said += [f"{name} {value}".strip() for name, value in named if value is not None]
    return f"{wording.words}: {', '.join(said)}" if said else wording.words
