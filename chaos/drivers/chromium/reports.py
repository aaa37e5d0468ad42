"""What the documents of one client's tab say, as reports on the driver's clock. Pure.

A tab loads one document after another, each with a clock of its own that begins at 0. What a document says is held
back until that clock is measured. A document that replaces one whose connection was open has lost it: no document
reports its own end.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_args

import msgspec

from resilience.units import Instant

from .. import messages as m
from ..clients import STATE_AFTER, DriverClientState
from ..clock import DriverClock

DOCUMENT, ORDERS = "document", "orders"
"""What a document says besides reports: that it begins, and that it takes orders."""

LEFT = "the page was left"
"""The cause of a loss that the next document tells."""

_NAMES = tuple(str(kind.__struct_config__.tag) for kind in (*get_args(m.ClientReport), m.Problem))
_CONNECTS, _DISCONNECTS = (m.Opened, m.Restored), (m.Attempt, m.Failed, m.Lost, m.GaveUp)
_CONNECTED = (DriverClientState.CONNECTED, DriverClientState.SESSION)


class PageMessage(msgspec.Struct, frozen=True):
    """One message of a document, named by its time origin; ``t`` is on its own clock, seconds."""

    document: float
    type: str
    t: float
    fields: dict[str, Any] = msgspec.field(default_factory=dict)


class _UndatedMessage(NamedTuple):
    message: PageMessage
    received: Instant


_DECODER = msgspec.json.Decoder(PageMessage)


def read_message(payload: str) -> PageMessage:
    """The message in what a document sent. Raises :class:`~chaos.drivers.messages.BrokenLineError`."""
    try:
        return _DECODER.decode(payload)
    except msgspec.DecodeError as error:
        example = 'resilience.report("attempt") or resilience.report("lost", {cause: "..."})'
        raise m.BrokenLineError(f"a report cannot be read: {error}; write {example}") from None


class TabReports:
    """The documents of one client, one after another. All instants are of the driver's monotonic clock."""

    def __init__(self, client: str) -> None:
        self.client = client
        self.document: float | None = None
        """The present document; ``None`` before the first."""
        self._clock: DriverClock | None = None
        self._held: list[_UndatedMessage] = []
        self._is_connected = False
        self._latest: Instant = float("-inf")

    def begin(self, document: float) -> None:
        """A document begins; what it says is held until :meth:`measured`."""
        self.document, self._clock, self._held = document, None, []

    def measured(self, clock: DriverClock) -> list[m.ClientReport]:
        """The document's clock is known: what was held. Raises BrokenLineError for what is no report."""
        self._clock = clock
        left: list[m.ClientReport] = []
        if self._is_connected:
            self._is_connected, self._latest = False, max(self._latest, clock.offset)
            left = [m.Lost(self._latest, self.client, LEFT)]
        held, self._held = self._held, []
        return [*left, *(report for item in held for report in self.receive(*item))]

    def receive(self, message: PageMessage, received: Instant) -> list[m.ClientReport]:
        """The reports that may be written now. Raises BrokenLineError for what is no report."""
        if message.document != self.document:
            return []
        if self._clock is None:
            self._held.append(_UndatedMessage(message, received))
            return []
        report = self._report(message)
        self._latest = max(self._latest, self._clock.instant(self.client, message.t, received))
        self._is_connected = _is_connected(report, before=self._is_connected)
        return [msgspec.structs.replace(report, t=self._latest)]

    def _report(self, message: PageMessage) -> m.ClientReport:
        if message.type not in _NAMES:
            raise m.BrokenLineError(f"unknown report {message.type!r}; a page may report: {', '.join(_NAMES)}")
        own = {"type": message.type, "t": message.t, "client": self.client}
        report = m.decode(msgspec.json.encode({**message.fields, **own}))
        if isinstance(report, m.Problem):
            raise m.BrokenLineError(report.message)
        if not isinstance(report, m.ClientReport):
            raise TypeError(report)
        return report


def _is_connected(report: m.ClientReport, *, before: bool) -> bool:
    """Whether the connection of a client is open after a report."""
    if isinstance(report, m.Recorded):
        after = {kind.value: state for kind, state in STATE_AFTER.items()}.get(report.kind)
        return before if after is None else after in _CONNECTED
    return isinstance(report, _CONNECTS) or (before and not isinstance(report, _DISCONNECTS))
