"""Which toxics make a condition of a link hold. Pure: builds checked values, orders nothing.

``Drop``       ``timeout`` of 0 ms: bytes vanish, a close passes; removing it closes the connection.
``Hold``       ``bandwidth`` of rate 0: bytes wait, and a close behind them.
``Delay``      ``latency``, whose jitter is the spread.
``Throttle``   ``bandwidth``; Toxiproxy counts in kilobytes (1,000 bytes) a second.
``Slice``      ``slicer`` without variation, which halves what it gets until the pieces are small enough.
``CutAfter``   ``limit_data``.
``HoldClose``  ``slow_close``.

``Refuse`` and ``Freeze`` are no toxics: the one disables the proxy, the other stops its process.
"""

from __future__ import annotations

from collections.abc import Callable

from resilience.experiment.primitives import (
    Condition,
    CutAfter,
    Delay,
    Direction,
    Drop,
    Hold,
    HoldClose,
    Slice,
    Throttle,
)
from resilience.units import Seconds

from .toxiproxy.toxics import Bandwidth, Latency, LimitData, Slicer, SlowClose, Stream, Timeout, Toxic

STREAMS: dict[Direction, Stream] = {Direction.UP: "upstream", Direction.DOWN: "downstream"}


def toxics_of(condition: Condition, number: int) -> list[Toxic]:
    """The toxics of this condition, their names made unique by ``number``; none for ``Refuse`` and ``Freeze``."""
    make = _maker(condition)
    direction = getattr(condition, "direction", Direction.BOTH)
    kind = str(condition.__struct_config__.tag)
    return [] if make is None else [make(STREAMS[way], f"{kind}-{number}-{STREAMS[way]}") for way in direction.ways]


def _maker(condition: Condition) -> Callable[[Stream, str], Toxic] | None:  # noqa: PLR0911 - one for each condition
    match condition:
        case Drop():
            return lambda stream, name: Timeout(stream=stream, timeout_ms=0, name=name)
        case Hold():
            return lambda stream, name: Bandwidth(stream=stream, rate_kb_s=0, name=name)
        case Delay(delay=delay, spread=spread):
            return lambda stream, name: Latency(stream=stream, latency_ms=_ms(delay), jitter_ms=_ms(spread), name=name)
        case Throttle(rate=rate):
            return lambda stream, name: Bandwidth(stream=stream, rate_kb_s=rate // 1000, name=name)
        case Slice(size=size, delay=delay):
            return lambda stream, name: Slicer(
                stream=stream, average_size=size, size_variation=0, delay_us=round(delay * 1e6), name=name
            )
        case CutAfter(size=size):
            return lambda stream, name: LimitData(stream=stream, limit_bytes=size, name=name)
        case HoldClose(delay=delay):
            return lambda stream, name: SlowClose(stream=stream, delay_ms=_ms(delay), name=name)
    return None


def _ms(seconds: Seconds) -> int:
    return round(seconds * 1000)
