"""Toxics as checked values. Pure: nothing here knows of HTTP, processes or time.

Toxiproxy checks nothing (a misspelt attribute is dropped, a negative rate crashes the server), so every rule is here.
The direction is always spelt out, since the server's own default is only one of the two. Toxicity is never between 0
and 1, since the server draws it again whenever any toxic of the proxy changes: a schedule chooses the victims.

What each does to connections that are open when it comes and goes:

``latency``      delays bytes, keeps their order, does not delay a bare close; removal lets held bytes go at once.
``bandwidth``    paces each connection; rate 0 holds everything (bytes flow again on removal).
``slow_close``   delays only the passing-on of a close.
``timeout``      throws bytes away; closes after so long without traffic that way, 0 = never; **removal closes too**.
``reset_peer``   waits for the next bytes, then the delay, then closes: RST on connections made after it came, FIN
                 on those that were open. At toxicity 0 it only decides, when a connection is made, that whatever
                 closes this connection later closes it with RST.
``slicer``       splits writes into small ones.
``limit_data``   passes so many bytes, then closes; open connections count from when it came.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal, get_args

Stream = Literal["upstream", "downstream"]
"""``upstream``: bytes from client to server. ``downstream``: bytes from server to client."""

MAX_MS = 24 * 60 * 60 * 1000
"""A day: the longest delay accepted, in milliseconds."""

MAX_BYTES = 1 << 40
"""The largest size accepted, in bytes."""

MAX_KB_S = 10_000_000
"""The highest rate accepted, in kilobytes a second."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def _wire(name: str) -> int:
    """Declare a required whole number that the server knows as ``name``."""
    declared: int = field(metadata={"wire": name})
    return declared


def check_name(what: str, name: str) -> str:
    """Return ``name`` if it can stand in a path of the control API; raise ValueError naming ``what`` if not."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{what} = {name!r}: letters, digits, '.', '_' and '-' only, beginning with a letter or digit")
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Toxic:
    """What all toxics share: the ``stream`` they act on and their ``name`` (``"<type>_<stream>"`` unless given)."""

    kind: ClassVar[str] = ""
    toxicity: ClassVar[float] = 1.0
    stream: Stream
    name: str = ""

    def __post_init__(self) -> None:
        if not self.kind:
            raise TypeError("Toxic is the common base: use one of the toxics")
        if self.stream not in get_args(Stream):
            raise ValueError(f"stream = {self.stream!r}: must be 'upstream' or 'downstream'")
        if not self.name:
            object.__setattr__(self, "name", f"{self.kind}_{self.stream}")
        check_name("name", self.name)
        self._check()

    def _check(self) -> None:
        """Raise ValueError naming the attribute that breaks its rule."""

    def _whole(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"{name} = {value!r}: must be a whole number from {low} to {high}")

    @property
    def attributes(self) -> dict[str, int]:
        """The toxic's own settings by the names the server knows them by."""
        common = {"stream", "name"}
        return {f.metadata["wire"]: getattr(self, f.name) for f in fields(self) if f.name not in common}

    def body(self) -> dict[str, object]:
        """The toxic as the control API takes it."""
        return {
            "name": self.name,
            "type": self.kind,
            "stream": self.stream,
            "toxicity": self.toxicity,
            "attributes": self.attributes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency(Toxic):
    """Delay bytes by ``latency_ms``, give or take up to ``jitter_ms`` (uniform), milliseconds."""

    kind: ClassVar[str] = "latency"
    latency_ms: int = _wire("latency")
    jitter_ms: int = _wire("jitter")

    def _check(self) -> None:
        self._whole("latency_ms", 0, MAX_MS)
        self._whole("jitter_ms", 0, self.latency_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth(Toxic):
    """Pass ``rate_kb_s`` kilobytes a second on each connection; 0 holds everything."""

    kind: ClassVar[str] = "bandwidth"
    rate_kb_s: int = _wire("rate")

    def _check(self) -> None:
        self._whole("rate_kb_s", 0, MAX_KB_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowClose(Toxic):
    """Pass a close on only ``delay_ms`` milliseconds later."""

    kind: ClassVar[str] = "slow_close"
    delay_ms: int = _wire("delay")

    def _check(self) -> None:
        self._whole("delay_ms", 0, MAX_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout(Toxic):
    """Throw bytes away; close after ``timeout_ms`` milliseconds without traffic that way, 0 = never."""

    kind: ClassVar[str] = "timeout"
    timeout_ms: int = _wire("timeout")

    def _check(self) -> None:
        self._whole("timeout_ms", 0, MAX_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetPeer(Toxic):
    """Close hard ``timeout_ms`` milliseconds after the next bytes."""

    kind: ClassVar[str] = "reset_peer"
    timeout_ms: int = _wire("timeout")

    def _check(self) -> None:
        self._whole("timeout_ms", 0, MAX_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetOnClose(Toxic):
    """Make every later close of a new connection a reset; passes everything else. Needed on both streams."""

    kind: ClassVar[str] = "reset_peer"
    toxicity: ClassVar[float] = 0.0

    @property
    def attributes(self) -> dict[str, int]:
        """No delay."""
        return {"timeout": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slicer(Toxic):
    """Split into writes of ``average_size`` bytes, give or take ``size_variation``, ``delay_us`` microseconds apart.

    All three are needed: the server crashes at the first bytes without a size, and may when the variation reaches it.
    """

    kind: ClassVar[str] = "slicer"
    average_size: int = _wire("average_size")
    size_variation: int = _wire("size_variation")
    delay_us: int = _wire("delay")

    def _check(self) -> None:
        self._whole("average_size", 1, MAX_BYTES)
        self._whole("size_variation", 0, self.average_size - 1)
        self._whole("delay_us", 0, MAX_MS * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitData(Toxic):
    """Pass ``limit_bytes`` bytes on each connection, then close it."""

    kind: ClassVar[str] = "limit_data"
    limit_bytes: int = _wire("bytes")

    def _check(self) -> None:
        self._whole("limit_bytes", 0, MAX_BYTES)
