"""Links of the virtual network, which break as Toxiproxy breaks them. Owns no time and no bytes.

A link stands for one Toxiproxy process between a cohort and its server, and copies it: a dial is accepted before the
upstream is dialled, so that it succeeds in a hole, in a freeze and without a listener behind it; a close passes through
a hole; a hole that ends closes every connection of the link, since bytes are missing; what an end aborts, and what a
crash leaves behind, reaches the other end as a plain FIN. Every switch may be thrown twice.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from resilience.random_streams import uniform
from resilience.units import Seconds

from .pipe import ControlSignal, DelaySource, LatencySource, Obstruction, Pipe
from .shaping import Shaping

if TYPE_CHECKING:
    from .network import VirtualConnection, VirtualNetwork


class VirtualLink:
    """One cohort's way to its server: dials to ``port`` are forwarded to ``upstream``.

    ``resets_cross``: whether an abort reaches the other end as a reset; Toxiproxy makes a FIN of it.
    ``accept_delay_s``: what a connect takes beyond its round trip.
    """

    def __init__(  # noqa: PLR0913 - all that a link is
        self,
        network: VirtualNetwork,
        name: str,
        port: int,
        upstream: tuple[str, int],
        *,
        latency_s: LatencySource,
        resets_cross: bool,
    ) -> None:
        self.name, self.port, self.upstream, self.resets_cross = name, port, upstream, resets_cross
        self.accept_delay_s: Seconds = 0.0
        self.is_refusing = False
        self._network, self.draw = network, partial(uniform, network.seed, name)
        self._latencies = (latency_s, latency_s)
        self._delay: DelaySource | None = None
        self._shaping: Shaping | None = None
        self._close_delays = (0.0, 0.0)
        self._limits: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._blocks = (Obstruction(0), Obstruction(0))
        self._live: dict[int, VirtualConnection] = {}
        self._unanswered: list[VirtualConnection] = []

    @property
    def connections(self) -> list[VirtualConnection]:
        """The live ones, oldest first."""
        return [self._live[number] for number in sorted(self._live)]

    @property
    def latencies(self) -> tuple[LatencySource, LatencySource]:
        """Up and down, one way each."""
        return self._latencies

    @property
    def latency_s(self) -> LatencySource:
        """One way, client to server; setting it sets both directions, for packets sent from now on."""
        return self._latencies[0]

    @latency_s.setter
    def latency_s(self, latency: LatencySource) -> None:
        self.set_latency(up=latency, down=latency)

    def set_latency(self, *, up: LatencySource, down: LatencySource) -> None:
        """Set each direction; packets under way keep theirs, and nothing overtakes."""
        self._latencies = (up, down)
        for connection in self._live.values():
            connection.up.latency, connection.down.latency = up, down

    # Faults. Each is seen by the ends one latency later.

    def cut(self) -> None:
        """Close every connection once: both ends see a FIN, what is under way is lost."""
        for connection in self.connections:
            connection.sever(ControlSignal.FIN)

    def reset(self) -> None:
        """Reset every connection once: both ends lose it with ``ConnectionResetError``."""
        for connection in self.connections:
            connection.sever(ControlSignal.RST)

    def refuse(self, on: bool) -> None:  # noqa: FBT001 - a switch
        """Close every connection and refuse new ones, until switched off."""
        if on and not self.is_refusing:
            self.cut()
        self.is_refusing = on

    def blackhole(self, *, up: bool, down: bool) -> None:
        """Throw bytes away in these directions, those under way too. Closes pass; a direction healed is a cut."""
        was_up, was_down = (bool(blocks & Obstruction.HOLE) for blocks in self._blocks)
        if (was_up and not up) or (was_down and not down):
            self.cut()
        self._switch(Obstruction.HOLE, up=up, down=down)

    def stall(self, *, up: bool, down: bool) -> None:
        """Hold bytes in these directions, and a close behind them; all arrive in order when switched off."""
        self._switch(Obstruction.STALLED, up=up, down=down)

    def freeze(self, on: bool) -> None:  # noqa: FBT001 - a switch
        """Hold everything both ways; dials are accepted, as by the system of a stopped proxy, and go no further.

        Switched off, the held dials reach the server, oldest first, and all that was held arrives in order.
        """
        self._switch(Obstruction.FROZEN, up=on, down=on)
        if not on:
            unanswered, self._unanswered = self._unanswered, []
            for connection in unanswered:
                self._network.establish(connection, self.upstream)

    def delay(self, source: DelaySource | None) -> None:
        """Delay bytes by so many seconds more, each packet by its own number; ``None``: no more.

        What was held back arrives when the delay is changed.
        """
        self._delay = source
        for connection in self.connections:
            for pipe in (connection.up, connection.down):
                pipe.delay = source
                pipe.hasten()

    def shape(self, shaping: Shaping | None) -> None:
        """Let bytes leave the proxy in this way, both ways; what was held back arrives when it is changed."""
        self._shaping = shaping
        for connection in self.connections:
            for pipe in (connection.up, connection.down):
                pipe.shaping = shaping
                pipe.hasten()

    def hold_closes(self, *, up: Seconds, down: Seconds) -> None:
        """Pass a close on so many seconds later, of either end; a close that is held passes when this is changed."""
        self._close_delays = (up, down)
        for connection in self.connections:
            for pipe, delay in zip((connection.up, connection.down), self._close_delays, strict=True):
                pipe.close_delay = delay
                pipe.hasten()

    def limit(self, *, up: dict[int, int], down: dict[int, int]) -> None:
        """Close each connection once a direction has passed so many bytes; each limit has a number.

        A connection counts from when the limit was set, or from its own start.
        """
        self._limits = (up, down)
        for connection in self.connections:
            pipes = (connection.up, connection.down)
            for i, pipe in enumerate(pipes):
                left = {number: pipe.limits.get(number, size) for number, size in self._limits[i].items()}
                self._limit(pipe, pipes[1 - i], left)

    @staticmethod
    def _limit(pipe: Pipe, back: Pipe, left: dict[int, int]) -> None:
        """Let so many bytes pass, for each limit by its number; then the connection's other direction ends too."""
        pipe.limits, pipe.on_limit = left, partial(back.sever, ControlSignal.FIN)

    def heal(self) -> None:
        """Switch every fault off; latencies and the accept delay stay."""
        self.delay(None)
        self.shape(None)
        self.hold_closes(up=0.0, down=0.0)
        self.limit(up={}, down={})
        self.refuse(False)  # noqa: FBT003 - a switch
        self.stall(up=False, down=False)
        self.blackhole(up=False, down=False)
        self.freeze(False)  # noqa: FBT003 - a switch

    def _switch(self, why: Obstruction, *, up: bool, down: bool) -> None:
        was_up, was_down = self._blocks
        self._blocks = (was_up | why if up else was_up & ~why, was_down | why if down else was_down & ~why)
        for connection in self.connections:
            throw(connection.up, why, on=up)
            throw(connection.down, why, on=down)

    # What the network tells it.

    def on_accepted(self, connection: VirtualConnection) -> bool:
        """A dial was accepted; whether it may continue to the server at once."""
        self._live[connection.number] = connection
        pipes = (connection.up, connection.down)
        for i, pipe in enumerate(pipes):
            if self._blocks[i]:
                for why in self._blocks[i]:
                    pipe.block(why)
            pipe.delay, pipe.shaping, pipe.close_delay = self._delay, self._shaping, self._close_delays[i]
            if self._limits[i]:
                self._limit(pipe, pipes[1 - i], dict(self._limits[i]))
        is_frozen = Obstruction.FROZEN in self._blocks[0]
        if is_frozen:
            self._unanswered.append(connection)
        return not is_frozen

    def left(self, number: int) -> None:
        """A connection is over."""
        self._live.pop(number, None)


def throw(pipe: Pipe, why: Obstruction, *, on: bool) -> None:
    """Add an obstruction, or remove it."""
    if on:
        pipe.block(why)
    else:
        pipe.unblock(why)
