"""How a throttling or slicing proxy lets bytes leave: in pieces, one after the other. Pure.

As Toxiproxy does it: a limited rate lets at most a tenth of a second's bytes leave together, each piece when the
rate allows for its last byte; a slicer halves what it gets until the pieces are small enough, and pauses after each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from resilience.units import Instant, Seconds

BURST_S: Seconds = 0.1
"""A limited rate lets the bytes of so many seconds leave together."""


@dataclass(frozen=True, slots=True)
class Shaping:
    """``rates``: the limits, bytes per second; ``slices``: for each slicer, the largest piece and the pause."""

    rates: tuple[int, ...] = ()
    slices: tuple[tuple[int, Seconds], ...] = ()

    def leave(self, data: bytes, since: Instant) -> Iterator[tuple[Instant, bytes]]:
        """When each piece of ``data`` leaves, if none leaves before ``since``."""
        rate, pieces = min(self.rates, default=0), [data]
        if rate:
            pieces = [part for piece in pieces for part in _parts(piece, max(int(rate * BURST_S), 1))]
        for size, _ in self.slices:
            pieces = [half for piece in pieces for half in _halves(piece, size)]
        pause, now = sum(pause for _, pause in self.slices), since
        for piece in pieces:
            now += len(piece) / rate if rate else 0.0
            yield now, piece
            now += pause


def _parts(data: bytes, size: int) -> Iterable[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def _halves(data: bytes, size: int) -> Iterator[bytes]:
    if len(data) <= size:
        yield data
        return
    middle = len(data) // 2
    yield from _halves(data[:middle], size)
    yield from _halves(data[middle:], size)
