"""The invariants: each a small pure function that searches a run's log for one counterexample. Computes no statistic.

What a check's result means is described in ``checking``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from resilience.eventlog.vocabulary import DetachCause, LogEvent, LogEventKind, Role

from .checking import Check, CheckResult, check_one
from .frames import RunHistory
from .summary import Invariant
from .windows import windows_frame

TOLERANCE_S = 0.5
"""Seconds by which the records of two tasks of one server may be out of order."""

CLEANUP_SLACK_S = 2.0
"""Seconds the server may take beyond ``cleanup_interval`` to sweep an absent participant."""

_RECOVERED = "recovered"
_KEPT = ("accepted", "duplicate")
_ACCEPTED = "accepted"
_GAP = "stream_gap"


def run_checks(log: RunHistory) -> tuple[Invariant, ...]:
    """Every invariant on this run, in a fixed order."""
    return tuple(check_one(name, rule, check, log) for name, (rule, check) in CHECKS.items())


def _question(event: LogEvent) -> str:
    return (event.ref or "").partition("/")[0]


def _first(findings: Iterable[str | None]) -> tuple[int, str | None]:
    """The number of findings, and the first that is not None."""
    seen = list(findings)
    return len(seen), next((finding for finding in seen if finding), None)


# --- answers and scores -----------------------------------------------------------------------------------------------


def _commits(log: RunHistory) -> list[LogEvent]:
    return [event for event in log.of(LogEventKind.ANSWER_COMMITTED, Role.SERVER) if event.outcome == _ACCEPTED]


def _durable(log: RunHistory) -> list[LogEvent]:
    """The server's records of durable answers: its commits, and what a restarted server found stored."""
    found = _commits(log) + log.of(LogEventKind.ANSWER_RECOVERED, Role.SERVER)
    return sorted(found, key=lambda event: event.t)


def acknowledged_answers_kept(log: RunHistory) -> CheckResult:
    """Every answer acknowledged as accepted or duplicate was committed for the same participant and question."""
    committed = {(event.session_id, _question(event)) for event in _durable(log)}

    def lost(ack: LogEvent) -> str | None:
        if (ack.session_id, _question(ack)) in committed:
            return None
        return (
            f"{ack.actor} ({ack.session_id}) at {ack.t:.3f} s: {ack.ref} acknowledged as {ack.outcome}, never committed"
        )

    acks = (event for event in log.of(LogEventKind.ANSWER_ACKED, Role.CLIENT) if event.outcome in _KEPT)
    return CheckResult(*_first(lost(ack) for ack in acks))


def answers_scored_once(log: RunHistory) -> CheckResult:
    """At most one accepted commit per participant and question, and a restarted server finds it unchanged."""
    seen: dict[tuple[str | None, str], LogEvent] = {}

    def again(event: LogEvent) -> str | None:
        before = seen.setdefault((event.session_id, _question(event)), event)
        is_same = (before.ref, before.value) == (event.ref, event.value)
        if before is event or (event.kind is LogEventKind.ANSWER_RECOVERED and is_same):
            return None
        where = f"{event.session_id}: question {_question(event)} scored at {before.t:.3f} s"
        if event.kind is LogEventKind.ANSWER_RECOVERED:
            return (
                f"{where} as {before.ref} with {before.value}, found at {event.t:.3f} s as {event.ref}, {event.value}"
            )
        return f"{where} and again at {event.t:.3f} s"

    return CheckResult(*_first(again(event) for event in _durable(log)))


def scores_add_up(log: RunHistory) -> CheckResult:
    """Each final score of a server equals the sum of the points of the answers that were durable by then."""
    scored: dict[str | None, dict[str, float]] = defaultdict(dict)

    def take(event: LogEvent) -> str | None:
        mine = scored[event.session_id]
        if event.kind is not LogEventKind.SCORE_FINAL:
            before = mine.get(_question(event), 0.0) if event.kind is LogEventKind.ANSWER_COMMITTED else 0.0
            mine[_question(event)] = before + (event.value or 0.0)
            return None
        stored, summed = event.value, math.fsum(mine.values())
        if stored is not None and math.isclose(stored, summed, abs_tol=1e-6):
            return None
        return f"{event.session_id} at {event.t:.3f} s: stored score {stored}, the committed answers sum to {summed:g}"

    finals = log.of(LogEventKind.SCORE_FINAL, Role.SERVER)
    _, broken = _first(take(event) for event in sorted(_durable(log) + finals, key=lambda event: event.t))
    return CheckResult(len(finals), broken)


# --- connections ------------------------------------------------------------------------------------------------------


@dataclass
class _ConnectionHistory:
    """Replays one participant's connections on the server. ``current``: the newest number that was attached."""

    who: str
    losses: dict[int, float] = field(default_factory=dict)
    current: int = 0
    live: set[int] = field(default_factory=set)

    def take(self, event: LogEvent) -> str | None:
        """The rule that this event breaks, in words, or None."""
        number = event.connection_no or 0
        if event.kind in (LogEventKind.SESSION_CREATED, LogEventKind.SESSION_RESUMED):
            return self._attach(number, event)
        if event.kind is LogEventKind.SESSION_DETACHED:
            return self._detach(number, event)
        self.live.discard(number)
        return None

    def restart(self, losses: dict[int, float]) -> None:
        """The server restarted: no connection to the earlier one is left."""
        self.live.clear()
        self.losses = losses

    def _attach(self, number: int, event: LogEvent) -> str | None:
        if number <= self.current:
            return self._say(event, f"attached as connection {number} after connection {self.current}")
        others = sorted(other for other in self.live if self._lives(other, event.t))
        self.current, self.live = number, {number}
        if others:
            return self._say(event, f"connection {number} attached while {others[0]} was live and not fenced")
        return None

    def _detach(self, number: int, event: LogEvent) -> str | None:
        self.live.discard(number)
        if event.cause in tuple(DetachCause):
            return None
        if number < self.current:
            return self._say(event, f"detached by connection {number}, which {self.current} had replaced")
        if self.losses.get(number, math.inf) > event.t + TOLERANCE_S:
            return self._say(event, f"connection {number} was detached ({event.cause}) though it had not been lost")
        return None

    def _lives(self, number: int, t: float) -> bool:
        return self.losses.get(number, math.inf) > t + TOLERANCE_S

    def _say(self, event: LogEvent, what: str) -> str:
        return f"{self.who} at {event.t:.3f} s: {what}"


_FENCING = (
    LogEventKind.SESSION_CREATED,
    LogEventKind.SESSION_RESUMED,
    LogEventKind.SESSION_FENCED,
    LogEventKind.SESSION_DETACHED,
    LogEventKind.SESSION_LEFT,
    LogEventKind.SESSION_EXPIRED,
    LogEventKind.TRANSPORT_LOST,
)


def one_live_connection(log: RunHistory) -> CheckResult:
    """One live connection per participant; numbers only grow; only the loss of the current one detaches."""
    history = [event for event in log.events if event.role is Role.SERVER and _is_of_connections(event)]
    lives = _split_by_server(history)
    fences: dict[str, _ConnectionHistory] = {}
    findings: list[str | None] = []
    for life in lives:
        losses = _losses(life)
        for who, fence in fences.items():
            fence.restart(losses[who])
        for event in life:
            who = event.session_id or "?"
            findings.append(fences.setdefault(who, _ConnectionHistory(who, losses[who])).take(event))
    return CheckResult(*_first(findings))


def _is_of_connections(event: LogEvent) -> bool:
    return _is_recovery(event) or (event.kind in _FENCING and event.session_id is not None)


def _is_recovery(event: LogEvent) -> bool:
    return event.kind is LogEventKind.SERVER_STARTED and event.outcome == _RECOVERED


def _split_by_server(history: Iterable[LogEvent]) -> list[list[LogEvent]]:
    """The events of each server of the run, one server after the other."""
    lives: list[list[LogEvent]] = [[]]
    for event in history:
        if _is_recovery(event):
            lives.append([])
        else:
            lives[-1].append(event)
    return lives


def _losses(life: Iterable[LogEvent]) -> dict[str, dict[int, float]]:
    """When each connection was first seen to be lost, by participant and number."""
    losses: dict[str, dict[int, float]] = defaultdict(dict)
    for event in life:
        if event.kind is LogEventKind.TRANSPORT_LOST:
            losses[event.session_id or "?"].setdefault(event.connection_no or 0, event.t)
    return losses


def nobody_stuck(log: RunHistory) -> CheckResult:
    """Every absence ends in a resume, clean-up or leave within ``cleanup_interval`` + 2 s, or the run ends first.

    A restarted server records at its start which participants are away, and gives each the whole clean-up time.
    """
    limit = log.experiment.server.cleanup_interval + CLEANUP_SLACK_S
    absent: dict[str, LogEvent] = {}
    known: set[str] = set()
    broken: list[str] = []
    checked = 0
    for event in log.events:
        if event.role is not Role.SERVER:
            continue
        who = event.session_id
        if who is None:
            if _is_recovery(event):
                absent.clear()
            continue
        if event.kind is LogEventKind.SESSION_DETACHED or _is_found_away(event):
            checked += 1
            _note_overdue(absent, who, event.t, limit, broken)
            # a join whose reply never reached its client leaves no participant
            if who in known or event.cause == DetachCause.RESTART:
                absent[who] = event
        elif event.kind in _ENDS_ABSENCE:
            known.add(who)
            _note_overdue(absent, who, event.t, limit, broken)
    for who in list(absent):
        _note_overdue(absent, who, log.end, limit, broken)
    stuck = broken or _stuck_at_end(log, absent)
    return CheckResult(checked, stuck[0] if stuck else None)


def _is_found_away(event: LogEvent) -> bool:
    return event.kind is LogEventKind.SESSION_STATE and event.cause == DetachCause.RESTART


_ENDS_ABSENCE = (
    LogEventKind.SESSION_CREATED,
    LogEventKind.SESSION_RESUMED,
    LogEventKind.SESSION_FENCED,
    LogEventKind.SESSION_EXPIRED,
    LogEventKind.SESSION_LEFT,
)


def _note_overdue(absent: dict[str, LogEvent], who: str, now: float, limit: float, broken: list[str]) -> None:
    """End ``who``'s absence, if there is one, and note it if it lasted longer than ``limit`` seconds."""
    since = absent.pop(who, None)
    if since is not None and now - since.t > limit:
        broken.append(
            f"{who}: temporarily_disconnected from {since.t:.3f} s for {now - since.t:.1f} s, allowed {limit:g} s"
        )


def _stuck_at_end(log: RunHistory, absent: dict[str, LogEvent]) -> list[str]:
    """Participants whose last state is temporary absence though the server logged no unfinished absence."""
    states = log.of(LogEventKind.SESSION_STATE, Role.SERVER)
    reasons = log.of(LogEventKind.SESSION_DETACHED, Role.SERVER) + [event for event in states if _is_found_away(event)]
    last = {event.session_id or "?" for event in reasons}
    waiting = [
        event for event in states if event.outcome == "temporarily_disconnected" and event.session_id not in absent
    ]
    return [
        f"{event.session_id}: temporarily_disconnected at the end without a detachment on record"
        for event in waiting
        if (event.session_id or "?") not in last
    ]


def announced_once(log: RunHistory) -> CheckResult:
    """Each identity is announced to the room once; a reconnection is silent."""
    seen: dict[str | None, LogEvent] = {}

    def again(event: LogEvent) -> str | None:
        before = seen.setdefault(event.session_id, event)
        return (
            None
            if before is event
            else f"{event.session_id}: announced at {before.t:.3f} s and again at {event.t:.3f} s"
        )

    return CheckResult(*_first(again(event) for event in log.of(LogEventKind.PARTICIPANT_ANNOUNCED)))


# --- state ------------------------------------------------------------------------------------------------------------


def stream_without_gap(log: RunHistory) -> CheckResult:
    """After joining at position s a client takes s+1, s+2 and so on, of one epoch, until its next session event.

    A client that leaves a connection because of a gap has seen one.
    """
    place: dict[str, int | None] = {}
    epoch: dict[str, str | None] = {}
    entered = (LogEventKind.SESSION_JOINED, LogEventKind.SESSION_RESTORED)

    def take(event: LogEvent) -> str | None:
        who = event.actor
        if event.kind is LogEventKind.TRANSPORT_LOST:
            return f"{who} at {event.t:.3f} s: saw a gap after position {place.get(who)}"
        if event.kind is not LogEventKind.STREAM_DELIVERED:
            place[who], epoch[who] = event.seq, None
            return None
        last, of = place.get(who), epoch.get(who) or event.detail
        place[who], epoch[who] = event.seq, event.detail
        if last is None or event.seq != last + 1:
            return f"{who} at {event.t:.3f} s: took position {event.seq} after {last}"
        return None if event.detail == of else f"{who} at {event.t:.3f} s: epoch {event.detail} after {of}"

    mine = [event for event in log.events if event.role is Role.CLIENT and _is_of_stream(event, entered)]
    _, broken = _first(take(event) for event in mine)
    return CheckResult(sum(event.kind is LogEventKind.STREAM_DELIVERED for event in mine), broken)


def _is_of_stream(event: LogEvent, entered: tuple[LogEventKind, ...]) -> bool:
    is_gap = event.kind is LogEventKind.TRANSPORT_LOST and event.cause == _GAP
    return is_gap or event.kind is LogEventKind.STREAM_DELIVERED or event.kind in entered


def restored_state_true(log: RunHistory) -> CheckResult:
    """What a client holds after a restore equals what the server recomputes for that session and connection."""
    server_digest = {
        (e.session_id, e.connection_no): e.detail for e in log.of(LogEventKind.SESSION_RESUMED, Role.SERVER)
    }

    def wrong(event: LogEvent) -> str | None:
        key = (event.session_id, event.connection_no)
        where = f"{event.actor} ({event.session_id}, connection {event.connection_no}) at {event.t:.3f} s"
        if key not in server_digest:
            return f"{where}: restored, but the server has no record of this resume"
        if event.detail is None or event.detail != server_digest[key]:
            return f"{where}: holds {event.detail}, the server recomputed {server_digest[key]}"
        return None

    return CheckResult(*_first(wrong(event) for event in log.of(LogEventKind.SESSION_RESTORED, Role.CLIENT)))


# --- the harness ------------------------------------------------------------------------------------------------------


def faults_confirmed(log: RunHistory) -> CheckResult:
    """The canary saw every planned fault begin and end. Concerns the laboratory only, so it is never a failure."""
    windows = windows_frame(log)
    problems = [f"{event.ref or 'the run'}: {event.cause}" for event in log.of(LogEventKind.HARNESS_FAILED)]
    checks = (
        (windows["invalid"].notna(), "invalid"),
        (windows["fault_at"].isna(), "planned but not injected"),
        (windows["confirmed_at"].isna(), "no canary saw it begin"),
        (windows["cleared_at"].isna(), "no canary saw the link usable again"),
    )
    for bad, why in checks:
        problems += [f"{fault_id}: {why}" for fault_id in windows.loc[bad, "fault_id"]]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return CheckResult(len(windows), unknown=f"{problems[0]}{more}" if problems else None)


CHECKS: dict[str, tuple[str, Check]] = {
    "acknowledged_answers_kept": ("no acknowledged answer is lost", acknowledged_answers_kept),
    "answers_scored_once": ("no answer is scored twice", answers_scored_once),
    "scores_add_up": ("the final score is the sum of the committed answers", scores_add_up),
    "one_live_connection": (
        "each participant has one live connection, and only its loss detaches",
        one_live_connection,
    ),
    "stream_without_gap": ("the stream of room messages has no gap", stream_without_gap),
    "restored_state_true": ("the restored state equals the server's recomputed state", restored_state_true),
    "announced_once": ("no participant is announced to the room twice", announced_once),
    "nobody_stuck": ("no participant stays temporarily disconnected", nobody_stuck),
    "faults_confirmed": ("a canary saw every fault begin and end (harness)", faults_confirmed),
}
"""Name -> the rule in words and the function; the order is that of every output."""
