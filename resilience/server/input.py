"""Feeds a connection's bytes to its parser, no faster than its meter allows, and pauses the transport meanwhile.

How much may be parsed, and when the rest, is decided by :class:`~resilience.policy.rate_limits.InputMeter`.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from resilience.policy.rate_limits import InputMeter
from resilience.runtime import TICK_S, RunClock
from resilience.units import Instant, Seconds


class MeteredConnection(Protocol):
    """What a metered input belongs to."""

    @property
    def transport(self) -> asyncio.Transport:
        """Where its bytes come from."""

    def feed(self, data: bytes) -> int:
        """Parse bytes; returns how many frames ended in them."""

    def input_wait(self, now: Instant) -> Seconds:
        """Return, and record, how long the next byte has to wait."""


class MeteredInput:
    """The bytes of one connection between its transport and its parser.

    Bytes of one read that may not be parsed yet are held, and no others are read before they are parsed: a peer that
    sends too much fills its own socket.
    """

    __slots__ = ("_clock", "_connection", "_held", "_meter", "_next", "_paused", "_timer")

    def __init__(self, connection: MeteredConnection, meter: InputMeter, clock: RunClock) -> None:
        self._connection, self._meter, self._clock = connection, meter, clock
        self._held, self._next = b"", 0
        self._paused = False
        self._timer: asyncio.Handle | None = None

    def receive(self, data: bytes) -> None:
        """Bytes have arrived: parse what may be parsed now, hold the rest."""
        now = self._clock.now()
        size = len(data)
        if not self._held and size <= self._meter.allowance(now):
            self._meter.charge(self._connection.feed(data), size, now)
            return
        self._held = self._held[self._next :] + data
        self._next = 0
        self._parse_held()

    def stop(self) -> None:
        """The transport is gone: parse nothing more."""
        self._held = b""
        if self._timer is not None:
            self._timer.cancel()

    def _parse_held(self) -> None:
        while self._held and self._timer is None:
            now = self._clock.now()
            size = self._meter.allowance(now)
            if not size:
                self._parse_later(self._connection.input_wait(now))
                break
            piece = self._held[self._next : self._next + size]
            self._next += len(piece)
            if self._next >= len(self._held):
                self._held, self._next = b"", 0
            self._meter.charge(self._connection.feed(piece), len(piece), now)
        self._set_reading()

    def _parse_later(self, wait: Seconds) -> None:
        """Parse on after ``wait`` seconds, and not before the other connections had their turn."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(wait, TICK_S), self._wake) if wait else loop.call_soon(self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._meter.begin_turn()
        self._parse_held()

    def _set_reading(self) -> None:
        paused = bool(self._held)
        if paused is self._paused:
            return
        self._paused = paused
        if paused:
            self._connection.transport.pause_reading()
        else:
            self._connection.transport.resume_reading()
