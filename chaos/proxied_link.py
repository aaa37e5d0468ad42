"""One link: a Toxiproxy, its control client, its one proxy, and the primitive operations. Knows no schedule.

The Toxiproxy is a process of the link's own, or a shared one, in which the link has one proxy and touches no other.

``CloseAll``      a ``timeout`` toxic that is removed at once: FIN at both ends of every connection, while the listener
                  stays open. While another condition holds bytes or closes back, the proxy is disabled and enabled
                  instead, and refuses new connections for some milliseconds.
``ResetAll``      the same on a link that was made with ``resets``: RST at both ends.
``Refuse``        disables the proxy for as long as at least one such condition holds.
``Freeze``        stops the process (SIGSTOP) for as long as at least one such condition holds. Its control API hangs
                  meanwhile, so other operations are carried out, in their order, when the process continues.
others            toxics, as ``condition_toxics`` says.

Toxiproxy decides when a connection is made whether its close will be a reset. So on a link with ``resets`` every close
of every connection is one, whatever causes it: each fault's, and either end's own.

A proxy that hangs or dies is replaced on the same port, and every condition is gone with it. ``on_replaced`` receives
each :class:`Replacement`: it ended every connection of the link, which no fault explains.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from resilience.errors import HarnessError, InjectionError, PortInUseError, ToxiproxyError
from resilience.experiment.primitives import (
    CloseAll,
    Condition,
    Drop,
    Freeze,
    Impose,
    Lift,
    LinkOperation,
    Refuse,
    ResetAll,
)
from resilience.lab.canary import NetworkCanary
from resilience.lab.link_probes import QUIZ_HEALTH, HealthRequests
from resilience.lab.system import CallTimes
from resilience.network_addresses import with_port
from resilience.runtime import RunClock
from resilience.units import Instant, Seconds

from .condition_toxics import STREAMS, toxics_of
from .ports import free_ports
from .supervised import describe_exit
from .toxiproxy.chain import ToxicChain
from .toxiproxy.client import ToxiproxyApi, ToxiproxyHungError
from .toxiproxy.external import ExternalToxiproxy, SharedToxiproxy
from .toxiproxy.process import ToxiproxyProcess
from .toxiproxy.provision import Binary
from .toxiproxy.toxics import ResetOnClose, Timeout, Toxic

HOST = "127.0.0.1"

END_S: Seconds = 1.0
"""How long the end of a process may be reported after its sockets have closed."""

API_DEADLINE_S: Seconds = 3.0
"""How long one order may take before the proxy counts as hung; healthy ones were measured at up to 0.7 s under load."""

_TRIES = 5


class Address(NamedTuple):
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """``host:port``, or ``[host]:port`` for an IPv6 address."""
        return with_port(self.host, self.port)


class Replacement(NamedTuple):
    """A proxy was replaced because of ``cause``: it worked until ``since`` at least, the new one works since ``until``.

    Instants of the run's clock.
    """

    cause: str
    since: Instant
    until: Instant


def _ignore(_: Replacement) -> None:
    """Receive nothing."""


class ProxiedLink:
    """A :class:`~resilience.lab.system.FaultableLink` through a Toxiproxy of its own; make one with :meth:`start`.

    Operations and replacements exclude each other. ``resets``: every close of a connection is a reset.
    """

    def __init__(
        self, name: str, process: ToxiproxyProcess | SharedToxiproxy, clock: RunClock, *, resets: bool
    ) -> None:
        self.name, self.process, self.resets = name, process, resets
        self._proxy = process.proxy_name if isinstance(process, SharedToxiproxy) else name
        self.api: ToxiproxyApi = process.api(API_DEADLINE_S)
        self.address = self._upstream = Address(HOST, 0)
        self._health = QUIZ_HEALTH
        self._clock = clock
        self._held: dict[Condition, list[list[Toxic]]] = {}  # for each that holds, its toxics
        self._chain = ToxicChain(lambda: self.api, self._proxy)
        self._deferred: list[LinkOperation] = []
        self._broken = False
        self._numbers = itertools.count(1)
        self._turn = asyncio.Lock()
        self._alive_at = self._sound_at = clock.now()
        self.on_replaced: Callable[[Replacement], None] = _ignore

    @classmethod
    async def start(cls, name: str, binary: Binary, log: Path, clock: RunClock, *, resets: bool = False) -> ProxiedLink:
        """Start the link's own Toxiproxy; it carries nothing until :meth:`connect`. ``clock`` times its operations."""
        log.parent.mkdir(exist_ok=True)
        process = await ToxiproxyProcess.start(binary, HOST, log_path=log, clock=clock.now)
        return cls(name, process, clock, resets=resets)

    @classmethod
    def share(cls, name: str, toxiproxy: ExternalToxiproxy, clock: RunClock, *, resets: bool = False) -> ProxiedLink:
        """A link through one proxy of a Toxiproxy that is there already; that is deleted by :meth:`close`."""
        return cls(name, SharedToxiproxy(toxiproxy, name, clock.now), clock, resets=resets)

    async def connect(self, upstream: Address, health: HealthRequests = QUIZ_HEALTH) -> None:
        """Open the proxy to ``upstream`` on a free port, and on another one if that is lost meanwhile.

        ``health``: what canaries request of ``upstream``.
        """
        self._upstream, self._health = upstream, health
        for _ in range(_TRIES):
            self.address = self._choose_address()
            try:
                await self._create()
            except PortInUseError:
                continue
            return
        raise HarnessError(f"{self.name}: other programs took {_TRIES} free ports in a row; end other runs")

    async def disconnect(self) -> None:
        """Delete the proxy; connections end, and :meth:`connect` may open another one."""
        async with self._turn:
            await self.api.delete_proxy(self._proxy)
            self._chain = ToxicChain(lambda: self.api, self._proxy)
            self._held.clear()

    def _choose_address(self) -> Address:
        if isinstance(self.process, SharedToxiproxy):
            return Address(self.process.host, self.process.choose_port())
        return Address(HOST, free_ports(1, HOST)[0])

    def canary(self) -> NetworkCanary:
        """A canary that crosses this link."""
        return NetworkCanary(self.address, self._upstream, self._health)

    async def apply(self, operation: LinkOperation) -> CallTimes:
        """Carry out one operation; raises :class:`~resilience.errors.InjectionError` when that fails."""
        async with self._turn:
            try:
                times = await self._apply(operation)
            except ToxiproxyError:
                self._broken = True
                raise
            self._sound_at = times.after
            return times

    async def repair(self) -> None:
        """Replace the proxy if an order to it failed or it died; raises HarnessError when no new one can be had."""
        async with self._turn:
            if self._broken or not self.process.alive:
                await self._replace(self._how_it_ended() or f"toxiproxy of {self.name} did not carry out an order")

    def is_alive(self) -> bool:
        """Whether its process runs. To be asked often: of a process that died it is recorded when it was last alive."""
        if self.process.alive:
            self._alive_at = self._clock.now()
        return self.process.alive

    async def revive(self) -> str | None:
        """Replace the proxy if its process died or its control API hangs; returns what was wrong, ``None`` if nothing.

        Faults that it carried out are gone with it, and their windows end as the laboratory's failure.
        """
        async with self._turn:
            wrong = await self._what_is_wrong()
            if wrong is not None:
                await self._replace(wrong)
            return wrong

    async def _what_is_wrong(self) -> str | None:
        if ended := self._how_it_ended():
            return ended
        if self.process.suspended:
            return None  # as a fault wants it
        try:
            proxies = await self.api.list_proxies()
        except ToxiproxyHungError as error:
            return f"toxiproxy of {self.name} was replaced: {error}"
        except ToxiproxyError as error:
            return await self._end_after(error)
        if self._proxy not in proxies:
            return f"the proxy of {self.name} was deleted by another program"
        self._sound_at = self._clock.now()
        return None

    def _how_it_ended(self) -> str | None:
        if self.process.alive:
            return None
        return f"toxiproxy of {self.name} ended ({describe_exit(self.process.exit_code or 0)})"

    async def _end_after(self, error: ToxiproxyError) -> str:
        """How the process ended that did not answer: its sockets close a moment before the kernel reports its end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                while self.process.alive:  # noqa: ASYNC110 - no event tells of it
                    await asyncio.sleep(END_S / 20)
        return self._how_it_ended() or f"toxiproxy of {self.name} was replaced: {error}"

    async def close(self) -> None:
        """End the proxy and its process."""
        self.api.close()
        await self.process.stop()

    # operations -------------------------------------------------------------------------------------------------------

    async def _apply(self, operation: LinkOperation) -> CallTimes:
        if self._held.get(Freeze()) and operation not in {Impose(Freeze()), Lift(Freeze())}:
            self._deferred.append(operation)
            return self._now()
        match operation:
            case CloseAll():
                return await self._close_all()
            case ResetAll():
                return await self._reset_all()
            case Impose(condition=condition):
                return await self._impose(condition)
            case Lift(condition=condition):
                return await self._lift(condition)

    async def _close_all(self) -> CallTimes:
        if self._held.get(Refuse()):  # there are no connections
            return self._now()
        if any(self._held.values()):
            return await self._close_by_disabling()
        toxic = Timeout(stream="upstream", timeout_ms=0, name=f"close-{next(self._numbers)}")
        try:
            added = await self._chain.add(toxic)
        except BaseException:  # an order that was cancelled may have been carried out, or not
            with contextlib.suppress(ToxiproxyError):
                await self._chain.remove(toxic)
            raise
        removed = await self._remove_surely(toxic)
        return CallTimes(added.before, removed.after)

    async def _remove_surely(self, toxic: Toxic) -> CallTimes:
        """Remove a toxic, again where the order was cancelled: it may not have been carried out."""
        try:
            return await self._chain.remove(toxic)
        except asyncio.CancelledError:
            with contextlib.suppress(ToxiproxyError):
                await self._chain.remove(toxic)
            raise

    async def _close_by_disabling(self, orders: Sequence[Coroutine[Any, Any, CallTimes]] = ()) -> CallTimes:
        """Close every connection, and carry out these orders before the next one is accepted."""
        if self._held.get(Refuse()):
            return _span([await order for order in orders])
        try:
            closed = await self._set_enabled(enabled=False)
            for order in orders:
                await order
        finally:
            opened = await self._set_enabled(enabled=True)
        return CallTimes(closed.before, opened.after)

    async def _reset_all(self) -> CallTimes:
        if not self.resets:
            raise InjectionError(f"the link {self.name} was not made for resets")
        return await self._close_all()

    async def _impose(self, condition: Condition) -> CallTimes:
        """Register the condition first, so that a lift undoes one that was imposed in part."""
        toxics = toxics_of(condition, next(self._numbers))
        held = self._held.setdefault(condition, [])
        held.append(toxics)
        if isinstance(condition, Refuse):
            return await self._set_enabled(enabled=False) if len(held) == 1 else self._now()
        if isinstance(condition, Freeze):
            return self.process.suspend() if len(held) == 1 else self._now()
        return _span([await self._chain.add(toxic) for toxic in toxics])

    async def _lift(self, condition: Condition) -> CallTimes:
        held = self._held.get(condition)
        if not held:
            raise InjectionError(f"{condition} does not hold on the link {self.name}: its proxy was replaced meanwhile")
        toxics = held.pop()
        if isinstance(condition, Refuse):
            return self._now() if held else await self._set_enabled(enabled=True)
        if isinstance(condition, Freeze):
            return self._now() if held else await self._thaw()
        if isinstance(condition, Drop):
            return await self._end_drop(toxics)
        return _span([await self._chain.remove(toxic) for toxic in toxics])

    async def _end_drop(self, toxics: list[Toxic]) -> CallTimes:
        """Close every connection, since bytes are missing.

        A removal closes them; two removals are one order where nothing else acts on the link, else a connection that is
        made in between would be closed by the second. Under other conditions a connection may take its time to end, and
        a removal meanwhile would crash the server: the proxy is disabled, and the toxics stay, inert.
        """
        if any(self._held.values()):
            closed = await self._close_by_disabling([self.api.disarm_toxic(self._proxy, toxic) for toxic in toxics])
            return CallTimes(closed.before, closed.after)
        if len(toxics) > 1 and not (self.resets or self.process.is_shared):
            self._chain = ToxicChain(lambda: self.api, self._proxy)
            return await self.api.remove_all_toxics()
        return _span([await self._chain.remove(toxic) for toxic in toxics])

    async def _thaw(self) -> CallTimes:
        """Let the process continue, and carry out what was ordered meanwhile."""
        times = self.process.resume()
        deferred, self._deferred = self._deferred, []
        for operation in deferred:
            await self._apply(operation)
        return times

    async def _set_enabled(self, *, enabled: bool) -> CallTimes:
        return await self.api.set_enabled(self._proxy, enabled=enabled)

    def _now(self) -> CallTimes:
        now = self._clock.now()
        return CallTimes(now, now)

    # the proxy --------------------------------------------------------------------------------------------------------

    async def _create(self) -> None:
        listen = Address(self.process.listen_host, self.address.port)
        await self.api.create_proxy(self._proxy, str(listen), str(self._upstream))
        for stream in STREAMS.values() if self.resets else ():
            await self.api.add_toxic(self._proxy, ResetOnClose(stream=stream, name=f"reset-on-close-{stream}"))

    async def _replace(self, cause: str) -> None:
        """Kill the process and start a clean one on the same port. Every connection of the link ends."""
        since = self._sound_at if self.process.alive else max(self._sound_at, self._alive_at)
        self.api.close()
        await self.process.respawn()
        self.api = self.process.api(API_DEADLINE_S)
        self._chain = ToxicChain(lambda: self.api, self._proxy)
        self._held.clear()
        self._deferred.clear()
        await self._create()
        self._broken = False
        self.on_replaced(Replacement(cause, since, self._clock.now()))


def _span(calls: list[CallTimes]) -> CallTimes:
    return CallTimes(calls[0].before, calls[-1].after)
