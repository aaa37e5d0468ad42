"""What must hold after every run of a pair: the invariants of ``reports`` on its log, and what needs the machines.

Each check returns the violations that it found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.states import ClientState, ConnectionState
from tests.resilience.protocol.machine_pair import MachinePair, Peer
from tests.support.history import violations


def broken(pair: MachinePair) -> list[str]:
    """Every violation in a run that has been healed and left in peace."""
    return [*violations(pair.log), *wrong_scores(pair), *stuck(pair), *early_secrets(pair)]


def wrong_scores(pair: MachinePair) -> Iterator[str]:
    """Every score is the sum of the points committed for it."""
    points: Counter[str | None] = Counter()
    for event in pair.log:
        if event.kind is LogEventKind.ANSWER_COMMITTED:
            points[event.session_id] += int(event.value or 0)
    for who, score in pair.room.game.scores.items():
        if not score == pair.room.game.recomputed_score(who) == points[who]:
            yield f"{who} has {score}, its answers give {pair.room.game.recomputed_score(who)}, the log {points[who]}"


def stuck(pair: MachinePair) -> Iterator[str]:
    """What is wrong after the heal: each peer must be open at both ends, with the whole stream and all verdicts."""
    for peer in pair.peers:
        yield from _stuck_peer(peer, pair)
    for who, session in pair.room.sessions.items():
        if session.state is ConnectionState.TEMPORARILY_DISCONNECTED:
            yield f"{who} is still temporarily disconnected"


def _stuck_peer(peer: Peer, pair: MachinePair) -> Iterator[str]:
    machine = peer.machine
    if machine.state is not ClientState.OPEN:
        yield f"{peer.name} is {machine.state}"
        return
    session = pair.room.sessions[str(machine.participant)]
    if session.state is not ConnectionState.CONNECTED or session.connection != peer.connection:
        yield f"{peer.name} is open, but its session is {session.state} on connection {session.connection}"
    if machine.seq != pair.room.seq:
        yield f"{peer.name} is at seq {machine.seq}, the room at {pair.room.seq}"
    if machine.pending:
        yield f"{peer.name} still waits for verdicts on {sorted(machine.pending)}"


def early_secrets(pair: MachinePair) -> Iterator[str]:
    """The right answer is in nothing that was sent before its question was closed."""
    closed_at = {event.ref: event.t for event in pair.log if event.kind is LogEventKind.QUESTION_CLOSED}
    for sent in pair.wire:
        if '"correct"' in sent.text:
            questions = [question.id for question in pair.room.game.questions if f'"{question.id}"' in sent.text]
            if not questions or any(sent.t < closed_at.get(question, float("inf")) for question in questions):
                yield f"a right answer left at {sent.t:.3f}: {sent.text}"
