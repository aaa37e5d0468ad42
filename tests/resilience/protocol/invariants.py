"""What must hold after every run of a pair, whatever went wrong in it. Each check returns the violations it found.

All but :func:`stuck` read the log alone, so they can be shown to fail on a forged one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from resilience.eventlog.vocabulary import LogEvent, LogEventKind, Role
from resilience.protocol.states import ClientState, ConnectionState
from tests.resilience.protocol.machine_pair import MachinePair, Peer

_ENTERED = (LogEventKind.SESSION_JOINED, LogEventKind.SESSION_RESTORED)
_ATTACHED = (LogEventKind.SESSION_CREATED, LogEventKind.SESSION_RESUMED)
_ENDED = (
    LogEventKind.SESSION_FENCED,
    LogEventKind.TRANSPORT_LOST,
    LogEventKind.SESSION_DETACHED,
    LogEventKind.SESSION_LEFT,
)


def broken(pair: MachinePair) -> list[str]:
    """Every violation in a run that has been healed and left in peace."""
    log = pair.log
    return [
        *stream_gaps(log),
        *lost_acks(log),
        *double_verdicts(log),
        *double_commits(log),
        *two_live(log),
        *lost_identities(log),
        *wrong_restores(log),
        *wrong_scores(pair),
        *stuck(pair),
        *early_secrets(pair),
    ]


def stream_gaps(log: Iterable[LogEvent]) -> Iterator[str]:
    """Per connection each sequenced message has the number after its predecessor's, from the snapshot's on."""
    at: dict[str, int] = {}
    for event in log:
        if event.role is Role.CLIENT and event.kind in _ENTERED:
            at[event.actor] = _seq(event)
        elif event.kind is LogEventKind.STREAM_DELIVERED:
            if _seq(event) != at.get(event.actor, -1) + 1:
                yield f"{event.actor} went from seq {at.get(event.actor)} to {event.seq} at {event.t:.3f}"
            at[event.actor] = _seq(event)
        elif event.kind is LogEventKind.TRANSPORT_LOST and event.cause == "stream_gap":
            yield f"{event.actor} saw a gap after seq {at.get(event.actor)} at {event.t:.3f}"


def lost_acks(log: Iterable[LogEvent]) -> Iterator[str]:
    """Every answer acknowledged as accepted was committed before."""
    committed: set[str | None] = set()
    for event in log:
        if event.kind is LogEventKind.ANSWER_COMMITTED:
            committed.add(event.ref)
        elif event.kind is LogEventKind.ANSWER_ACKED and event.outcome == "accepted" and event.ref not in committed:
            yield f"{event.ref} of {event.actor} was acknowledged at {event.t:.3f} but not committed"


def double_verdicts(log: Iterable[LogEvent]) -> Iterator[str]:
    """Each submitted key got at most one verdict."""
    acked = Counter((event.actor, event.ref) for event in log if event.kind is LogEventKind.ANSWER_ACKED)
    yield from (f"{ref} of {actor} got {times} verdicts" for (actor, ref), times in acked.items() if times > 1)


def double_commits(log: Iterable[LogEvent]) -> Iterator[str]:
    """No participant has two committed answers to one question."""
    rows = Counter(
        (event.session_id, str(event.ref).split("/")[0]) for event in log if event.kind is LogEventKind.ANSWER_COMMITTED
    )
    yield from (f"{who} has {times} answers to {question}" for (who, question), times in rows.items() if times > 1)


def two_live(log: Iterable[LogEvent]) -> Iterator[str]:
    """No connection of a participant is let in before the one before it has ended or been cut off."""
    live: defaultdict[str | None, set[int | None]] = defaultdict(set)
    for event in log:
        if event.role is not Role.SERVER:
            continue
        mine = live[event.session_id]
        if event.kind in _ATTACHED:
            if mine:
                yield f"{event.session_id} has connections {sorted(map(str, mine))} and {event.connection_no}"
            mine.add(event.connection_no)
        elif event.kind in _ENDED:
            mine.discard(event.connection_no)


def lost_identities(log: Iterable[LogEvent]) -> Iterator[str]:
    """Nobody comes back as somebody new, is refused, or is announced twice."""
    log = list(log)
    joined = Counter(event.actor for event in log if event.kind is LogEventKind.SESSION_JOINED)
    yield from (f"{actor} joined {times} times" for actor, times in joined.items() if times > 1)
    shown = Counter(event.session_id for event in log if event.kind is LogEventKind.PARTICIPANT_ANNOUNCED)
    yield from (f"{who} was announced {times} times" for who, times in shown.items() if times > 1)
    for event in log:
        if event.kind is LogEventKind.SESSION_REJECTED:
            yield f"the session of {event.actor} was refused at {event.t:.3f}: {event.cause}"
        if event.kind is LogEventKind.SESSION_SUPERSEDED:
            yield f"{event.actor} was superseded at {event.t:.3f} though it is alone"


def wrong_restores(log: Iterable[LogEvent]) -> Iterator[str]:
    """What a client holds after a restore is what the server recomputed from its answer log at that moment."""
    truth: dict[tuple[str | None, int | None], str | None] = {}
    for event in log:
        if event.kind in _ATTACHED:
            truth[event.session_id, event.connection_no] = event.detail
        elif event.kind in _ENTERED:
            expected = truth.get((event.session_id, event.connection_no))
            if event.detail != expected:
                yield f"{event.actor} holds {event.detail}, the server's truth is {expected}"


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
    """Once all is healed everybody is open at both ends, has heard the whole stream and waits for no verdict."""
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


def _seq(event: LogEvent) -> int:
    return -1 if event.seq is None else event.seq
