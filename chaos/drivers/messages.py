"""The lines between the laboratory and a client driver: JSON objects told apart by ``type``, each on one line. Pure.

Unknown fields are ignored in both directions, so that either side may be newer. What the fields mean:

- ``client``: the client's name; no two clients of a run share one.
- ``t``: seconds on the driver's own monotonic clock, from any origin, when it happened.
- ``cause``: why, in a few words.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec

from resilience.validation import one_line, violation_of

VERSION = 1
"""Of the protocol; it changes only when an existing driver would be misunderstood."""

MAX_QUOTED_CHARACTERS = 200

Text = Annotated[str, msgspec.Meta(max_length=1000)]


SILENCE = "silence"
"""The cause of a loss that nothing but silence announced."""


class Restoration(StrEnum):
    """How a client came to its session."""

    FRESH = "fresh"
    """A session that began now: nothing of an earlier one is left."""
    RESUMED = "resumed"
    """The session that it had before the loss, with its state."""


# to the driver --------------------------------------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """Answer at once with :class:`DriverReady`. It comes several times at the start and then four times a second.

    The first answers measure the driver's clock; the later ones show that it lives and how late it runs.
    """

    version: int
    """Of the protocol that the laboratory speaks."""
    n: int
    """The number of this greeting, from 1."""


class Open(msgspec.Struct, frozen=True, tag="open"):
    """Begin a client: connect it, keep it connected, and report what happens to it."""

    client: str
    url: str
    """Where it connects, now and whenever it connects again: the address of a proxy, which is faulted."""
    seed: int
    """For the client's random numbers, from 0 to 2^53 - 1: the same in every run of one seed."""
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    """As the experiment's table ``[driver.options]`` has them."""


class Close(msgspec.Struct, frozen=True, tag="close"):
    """End a client for good: close its connection. Report nothing more of it."""

    client: str


class Act(msgspec.Struct, frozen=True, tag="act"):
    """Let a client do one piece of its work, such as sending a message.

    When the server has confirmed it, report :class:`Acknowledged` with this key. What a client does with an act that
    comes while it has no session is its own affair.
    """

    client: str
    key: str
    """Names this piece of work; no two are the same."""


class StopDriver(msgspec.Struct, frozen=True, tag="stop"):
    """End all clients at once, report :class:`DriverEnded`, and exit with 0. The end of the input means the same."""


# from the driver ------------------------------------------------------------------------------------------------------


class DriverReady(msgspec.Struct, frozen=True, tag="ready"):
    """The answer to :class:`Hello`: written as soon as it was read, with the time of writing."""

    t: float
    version: int
    """Of the protocol that the driver speaks."""
    n: int
    """The number of the greeting that this answers."""
    name: Text = ""
    """What the driver is, for the run's list of versions, such as ``"socket.io-client 4.8.1"``."""


class Attempt(msgspec.Struct, frozen=True, tag="attempt"):
    """A client begins to open a connection."""

    t: float
    client: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The attempt failed. May be left out: the next attempt says so too."""

    t: float
    client: str
    cause: Text = ""


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """The attempt succeeded: the connection is open."""

    t: float
    client: str


class Restored(msgspec.Struct, frozen=True, tag="restored"):
    """The client has a usable session over this connection, for the first time or again."""

    t: float
    client: str
    how: Restoration
    """``fresh`` where the session begins now, ``resumed`` where it continues the one before the loss."""
    position: int | None = None
    """Up to where in the stream the client is informed, if the system numbers it."""


class Lost(msgspec.Struct, frozen=True, tag="lost"):
    """The client noticed that its open connection is over."""

    t: float
    client: str
    cause: Text
    """Why; ``silence`` where nothing but missing signs of life announced it."""


class GaveUp(msgspec.Struct, frozen=True, tag="gave_up"):
    """The client tries no more. Nothing of it may follow."""

    t: float
    client: str
    cause: Text = ""


class Acknowledged(msgspec.Struct, frozen=True, tag="acknowledged"):
    """The server confirmed a piece of work."""

    t: float
    client: str
    key: str
    """As in :class:`Act`."""


class Observed(msgspec.Struct, frozen=True, tag="observed"):
    """Something arrived from the server: a sign of life, and what the client then knew."""

    t: float
    client: str
    position: int | None = None
    """The position in the stream that it is at now."""
    digest: Text | None = None
    """A short text that is equal where two clients know the same."""


class Recorded(msgspec.Struct, frozen=True, omit_defaults=True, tag="recorded"):
    """A client that is this project's own machine in another program, such as the quiz's page, wrote a log record.

    It stands in place of all other reports about such a client but :class:`Received` and :class:`Sent`;
    ``quiz_records`` of the experiment's driver says that every record is reported.
    """

    t: float
    client: str
    kind: Text
    """Of the record, as in the event log."""
    session_id: Text | None = None
    """The participant's id, once there is one."""
    connection_no: int | None = None
    """Of the dial, or as the server counts the connections of a participant: the kind says which."""
    seq: int | None = None
    """The position in the stream."""
    attempt: int | None = None
    """The number of the attempt within its incident."""
    outcome: Text | None = None
    """What came of it."""
    cause: Text | None = None
    value: float | None = None
    """The quantity that the kind names, such as seconds of silence."""
    ref: Text | None = None
    """What it is about, such as an answer."""
    detail: Text | None = None
    """What else the kind has, such as the digest of the client's state."""


class Received(msgspec.Struct, frozen=True, omit_defaults=True, tag="received"):
    """A client of a driver with ``quiz_records`` received a message of the quiz server, which it has not acted on yet.

    What clients were shown is judged by these reports and those of :class:`Sent`; a driver makes both or neither. Of a
    connection that the client has closed none may come.
    """

    t: float
    client: str
    text: str
    """The message as it came, JSON."""
    newer: int = 0
    """How many connections the client has opened since it opened the one over which the message came."""


class Sent(msgspec.Struct, frozen=True, tag="sent"):
    """A client of a driver with ``quiz_records`` sent an answer, for the first time or again.

    A driver that reports :class:`Received` reports each of them before its verdict.
    """

    t: float
    client: str
    text: str
    """The message as it was sent, JSON."""


class Problem(msgspec.Struct, frozen=True, tag="error"):
    """The driver cannot carry out an order: the run ends, with these words."""

    message: Text


class DriverEnded(msgspec.Struct, frozen=True, tag="ended"):
    """All clients are gone; the last line of a driver."""

    t: float


Order = Hello | Open | Close | Act | StopDriver
"""Every line to a driver."""

ExchangeReport = Received | Sent
"""Every line about a message between a client and the quiz server."""

ClientReport = (
    Attempt | Failed | Opened | Restored | Lost | GaveUp | Acknowledged | Observed | Recorded | ExchangeReport
)
"""Every line about one client."""

Report = DriverReady | ClientReport | Problem | DriverEnded
"""Every line from a driver."""

REPORT_NAMES: tuple[str, ...] = (
    *("ready", "attempt", "failed", "opened", "restored", "lost", "gave_up", "acknowledged", "observed"),
    *("recorded", "received", "sent", "error", "ended"),
)

_DECODER: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)
_TYPE = msgspec.json.Decoder(dict[str, Any])


class BrokenLineError(Exception):
    """A line breaks the protocol; ``str()`` of it says how, and what would be right."""


def encode(order: Order) -> bytes:
    """The line of an order, newline included."""
    return msgspec.json.encode(order) + b"\n"


def decode(line: bytes) -> Report:
    """The report in a line. Raises :class:`BrokenLineError`."""
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenLineError(_complaint(line, error)) from None


def quoted(line: bytes) -> str:
    """A line for a message: as text, in one line, cut where it is long."""
    text = one_line(line.decode(errors="replace").rstrip("\r\n"))
    return text if len(text) <= MAX_QUOTED_CHARACTERS else f"{text[:MAX_QUOTED_CHARACTERS]}…"


def _complaint(line: bytes, error: Exception) -> str:
    try:
        kind = _TYPE.decode(line).get("type")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "no JSON object; standard output is for messages only, words for people belong to standard error"
    if kind not in REPORT_NAMES:
        return f"unknown message type {kind!r}; there are: {', '.join(REPORT_NAMES)}"
    violation = violation_of(error)
    return f"{kind}.{violation.path}: {violation.clause}" if violation.path else f"{kind}: {violation.clause}"
