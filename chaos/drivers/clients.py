"""What a driver says of one client, translated to the records that our own clients write. Pure.

The table :data:`TABLE` says what may follow what. A report that may not is a :class:`~.messages.BrokenLineError`. A
client that is this project's own machine reports its records as they are; :data:`STATE_AFTER` says where it is then.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.effects import Record
from resilience.units import Instant

from . import messages as m


class DriverClientState(StrEnum):
    """Where one client is, by what its driver has said."""

    IDLE = "idle"
    """Opened by the laboratory; nothing has been heard of it."""
    DIALING = "dialing"
    CONNECTED = "connected"
    SESSION = "in session"
    DOWN = "down"
    GAVE_UP = "given up"


S = DriverClientState

TABLE: Mapping[type[m.ClientReport], Mapping[S, S]] = {
    m.Attempt: {S.IDLE: S.DIALING, S.DOWN: S.DIALING, S.DIALING: S.DIALING},
    m.Failed: {S.DIALING: S.DOWN},
    m.Opened: {S.DIALING: S.CONNECTED},
    m.Restored: {S.CONNECTED: S.SESSION},
    m.Lost: {S.CONNECTED: S.DOWN, S.SESSION: S.DOWN},
    m.GaveUp: {S.IDLE: S.GAVE_UP, S.DIALING: S.GAVE_UP, S.DOWN: S.GAVE_UP},
    m.Acknowledged: {S.SESSION: S.SESSION},
    m.Observed: {S.SESSION: S.SESSION},
}
"""By report: the states in which it may come, and the state that follows."""

K = LogEventKind

STATE_AFTER: Mapping[LogEventKind, S] = {
    K.TRANSPORT_OPENING: S.DIALING,
    K.TRANSPORT_OPENED: S.CONNECTED,
    K.TRANSPORT_FAILED: S.DOWN,
    K.SESSION_JOINED: S.SESSION,
    K.SESSION_RESTORED: S.SESSION,
    K.TRANSPORT_LOST: S.DOWN,
    K.PEER_DEAD: S.DOWN,
    K.GAVE_UP: S.GAVE_UP,
    K.CLIENT_LEFT: S.GAVE_UP,
    K.CLIENT_DISMISSED: S.GAVE_UP,
    K.SESSION_SUPERSEDED: S.GAVE_UP,
}
"""By the kind of a record that changes it: the state that follows."""

_SAME = (K.SESSION_REJECTED, K.PEER_SUSPECTED, K.BACKOFF_SCHEDULED, K.STREAM_DELIVERED, K.ANSWER_SUBMITTED)
CLIENT_KINDS = frozenset((*STATE_AFTER, *_SAME, K.ANSWER_ACKED, K.PONG_SENT, K.CLIENT_SHOWN))
"""The kinds of records that a client of this project writes."""

NEXT_ATTEMPT = "unknown: the driver made another attempt"
"""The cause of a failed attempt of which only the next one tells."""


_CLIENT_KINDS = {kind.value: kind for kind in CLIENT_KINDS}
_KEPT = tuple(name for name in Record.__struct_fields__ if name not in ("kind", "t"))


class DriverClient:
    """One client. ``must_resume``: a fresh session after a loss is a lost identity, not a return."""

    def __init__(self, name: str, *, must_resume: bool = False) -> None:
        self.name, self.state = name, S.IDLE
        self._must_resume = must_resume
        self._has_joined = False
        self._dials = self._attempt = self._acts = 0
        self._lost_at: Instant | None = None

    @property
    def in_session(self) -> bool:
        """Whether it takes part now."""
        return self.state is S.SESSION

    def next_key(self) -> str:
        """The key of its next piece of work."""
        self._acts += 1
        return f"{self.name}/{self._acts}"

    def receive(self, report: m.ClientReport, now: Instant) -> list[Record]:
        """Its records for a report about what happened at ``now``; BrokenLineError when the report may not come.

        A message that it received or sent is none of them: :class:`~.observed.DriverObserver` keeps it.
        """
        if isinstance(report, m.Recorded):
            return [self._keep(report, now)]
        if isinstance(report, m.ExchangeReport):
            return []
        nexts = TABLE[type(report)]
        if self.state not in nexts:
            states = " or ".join(nexts)
            name = report.__struct_config__.tag
            raise m.BrokenLineError(f"{name} of {self.name}, which is {self.state}; it may follow only while {states}")
        records = self._records(report, now)
        self.state = nexts[self.state]
        return records

    def _records(self, report: m.ClientReport, now: Instant) -> list[Record]:
        match report:
            case m.Attempt():
                records = self._dial(now)
            case m.Failed(cause=cause):
                records = [self._failed(cause, now)]
            case m.Opened():
                records = [self._record(LogEventKind.TRANSPORT_OPENED, now, attempt=self._attempt)]
            case m.Restored():
                records = [self._arrive(report, now)]
            case m.Lost(cause=cause):
                records = [self._lose(cause, now)]
            case m.GaveUp(cause=cause):
                records = self._give_up(cause, now)
            case m.Acknowledged(key=key):
                records = [self._acknowledge(key, now)]
            case m.Observed(position=position, digest=digest):
                records = [Record(LogEventKind.CLIENT_OBSERVED, now, seq=position, detail=digest)]
        return records

    def _keep(self, report: m.Recorded, now: Instant) -> Record:
        kind = _CLIENT_KINDS.get(report.kind)
        if kind is None:
            raise m.BrokenLineError(f"{report.kind!r} of {self.name}: no kind of record that a client writes")
        self.state = STATE_AFTER.get(kind, self.state)
        if kind is K.TRANSPORT_OPENING:
            self._dials += 1
        known = msgspec.structs.asdict(report)
        return Record(kind, now, **{name: known[name] for name in _KEPT})

    def _dial(self, now: Instant) -> list[Record]:
        before = [self._failed(NEXT_ATTEMPT, now)] if self.state is S.DIALING else []
        self._dials += 1
        self._attempt += 1
        return [*before, self._record(LogEventKind.TRANSPORT_OPENING, now, attempt=self._attempt)]

    def _arrive(self, report: m.Restored, now: Instant) -> Record:
        is_new = not self._has_joined or (self._must_resume and report.how is m.Restoration.FRESH)
        kind = LogEventKind.SESSION_JOINED if is_new else LogEventKind.SESSION_RESTORED
        self._has_joined, self._lost_at = True, None
        return self._record(kind, now, seq=report.position, outcome=report.how.value)

    def _lose(self, cause: str, now: Instant) -> Record:
        self._lost_at, self._attempt = now, 0
        kind = LogEventKind.PEER_DEAD if cause == m.SILENCE else LogEventKind.TRANSPORT_LOST
        return self._record(kind, now, cause=cause)

    def _give_up(self, cause: str, now: Instant) -> list[Record]:
        before = [self._failed(cause, now)] if self.state is S.DIALING else []
        since = None if self._lost_at is None else now - self._lost_at
        return [*before, Record(LogEventKind.GAVE_UP, now, attempt=self._attempt, cause=cause or None, value=since)]

    def _acknowledge(self, key: str, now: Instant) -> Record:
        client, _, number = key.rpartition("/")
        if client != self.name or not number.isdecimal() or not 1 <= int(number) <= self._acts:
            raise m.BrokenLineError(f"acknowledged {key!r}, which {self.name} was never told to do")
        return Record(LogEventKind.CLIENT_ACKNOWLEDGED, now, ref=key)

    def _failed(self, cause: str, now: Instant) -> Record:
        return self._record(LogEventKind.TRANSPORT_FAILED, now, attempt=self._attempt, cause=cause or None)

    def _record(  # noqa: PLR0913 - the fields of the log
        self,
        kind: LogEventKind,
        now: Instant,
        *,
        seq: int | None = None,
        attempt: int | None = None,
        outcome: str | None = None,
        cause: str | None = None,
    ) -> Record:
        return Record(kind, now, connection_no=self._dials, seq=seq, attempt=attempt, outcome=outcome, cause=cause)
