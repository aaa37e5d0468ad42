"""Toxiproxy's control API, asynchronous and typed: returns times and checked values, raises ToxiproxyError on failure.

Each :class:`ToxiproxyApi` talks to one server through one thread of its own, one request at a time and each with a
deadline, so a hung server blocks neither the event loop nor requests to another server. Requests that can deadlock or
crash a live server are rejected unless the caller insists. Nothing here knows of processes, cohorts or experiments, and
no type or exception of the library leaves this module.
"""

from __future__ import annotations

import asyncio
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from resilience.errors import PortInUseError, ToxiproxyError
from resilience.lab.system import CallTimes

from .consumer import HttpApi, NotToxiproxyError, ToxiproxyHungError, ToxiproxyRefusedError
from .toxics import (
    Bandwidth,
    Latency,
    LimitData,
    ResetOnClose,
    ResetPeer,
    Slicer,
    SlowClose,
    Stream,
    Timeout,
    Toxic,
    check_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilience.units import Instant, Seconds

__all__ = [
    "Bandwidth",
    "CallTimes",
    "Latency",
    "LimitData",
    "NotToxiproxyError",
    "Proxy",
    "ResetOnClose",
    "ResetPeer",
    "Slicer",
    "SlowClose",
    "Stream",
    "Timeout",
    "Toxic",
    "ToxicState",
    "ToxiproxyApi",
    "ToxiproxyHungError",
    "ToxiproxyRefusedError",
]

T = TypeVar("T")

_VERSION = re.compile(rb'"version":\s*"([\w.+-]+)"')

UNSAFE_TO_CHANGE_LIVE = frozenset({Latency.kind, Bandwidth.kind, Slicer.kind})
"""Removing or changing these under traffic can hang the control API permanently (Toxiproxy issues 412 and 558)."""


class ToxicState(msgspec.Struct, frozen=True):
    """A toxic as the server reports it; ``attributes`` by the server's names."""

    name: str
    type: str
    stream: str
    toxicity: float
    attributes: dict[str, int]


class _ProxyBody(msgspec.Struct):
    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: tuple[ToxicState, ...] = ()


class _VersionBody(msgspec.Struct):
    version: str


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy as the server reported it at ``times``. ``listen`` is its real address, ``host:port``."""

    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: tuple[ToxicState, ...]
    times: CallTimes

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port it listens on, read back from the server, so never 0."""
        return int(self.listen.rpartition(":")[2])

    def toxic(self, name: str) -> ToxicState | None:
        """The toxic of that name, if the proxy has it."""
        return next((toxic for toxic in self.toxics if toxic.name == name), None)


class ToxiproxyApi:
    """The control API of one server. Its methods may be called from one event loop; requests wait for one another.

    ``timeout_s`` limits each request from the moment its turn comes. After a timeout this instance is ``hung``: the
    effect of the request is unknown, and every later request is rejected at once; kill the process and create a new
    instance. A suspended process hangs in this sense too. A cancelled request may still take effect. The effect of a
    request happened between the times that it returns, which are read from ``clock``. Every method raises
    ToxiproxyError, which names the call, the proxy and the remedy.
    """

    def __init__(
        self, host: str, port: int, timeout_s: Seconds = 5.0, *, clock: Callable[[], Instant] = time.monotonic
    ) -> None:
        self.host, self.port, self.timeout_s = host, port, timeout_s
        self._clock = clock
        self._wire = HttpApi(host, port, timeout_s)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"toxiproxy-{port}")
        self._turn = asyncio.Lock()
        self._closed = False

    @property
    def hung(self) -> bool:
        """Whether a request has timed out; stays true."""
        return self._wire.hung

    def close(self) -> None:
        """Reject further requests; one in progress ends within ``timeout_s``. May be called twice."""
        self._closed = True
        self._worker.shutdown(wait=False)

    async def version(self) -> str:
        """Return the server's own version ("git" if the Go tool built it)."""
        return await self._order("version", self._version)

    async def list_proxies(self) -> dict[str, Proxy]:
        """Return every proxy by name, with its toxics."""
        return await self._order("list proxies", self._list)

    async def create_proxy(self, name: str, listen: str, upstream: str) -> Proxy:
        """Open a proxy from ``listen`` to ``upstream`` (both ``host:port``); with port 0 the kernel chooses.

        Raises PortInUseError if ``listen`` is taken, ValueError for a name that cannot be part of a path.
        """
        check_name("name", name)
        return await self._order(f"create proxy {name!r}", lambda: self._create(name, listen, upstream))

    async def delete_proxy(self, name: str) -> CallTimes:
        """Delete the proxy and close all its connections."""
        check_name("name", name)
        doing = f"delete proxy {name!r}"
        return await self._order(doing, lambda: self._timed("delete", f"/proxies/{name}", doing=doing))

    async def set_enabled(self, name: str, enabled: bool) -> CallTimes:  # noqa: FBT001  # the value is the order
        """Disable (listener and connections close; toxics and port are kept) or enable the proxy.

        Raises PortInUseError if another process took the port meanwhile.
        """
        check_name("name", name)
        return await self._order(_switching(name, enabled), lambda: self._switch(self._show(name), enabled))

    async def add_toxic(self, proxy: str, toxic: Toxic) -> CallTimes:
        """Add ``toxic``; when the call returns, every open connection of the proxy has it."""
        check_name("proxy", proxy)
        doing = f"add toxic {toxic.name!r} to proxy {proxy!r}"
        return await self._order(
            doing, lambda: self._timed("post", f"/proxies/{proxy}/toxics", toxic.body(), doing=doing)
        )

    async def add_inert_toxic(self, proxy: str, toxic: Toxic) -> CallTimes:
        """Add ``toxic`` so that it passes everything until :meth:`arm_toxic`."""
        check_name("proxy", proxy)
        doing = f"add inert toxic {toxic.name!r} to proxy {proxy!r}"
        body = toxic.body() | {"toxicity": 0.0}
        return await self._order(doing, lambda: self._timed("post", f"/proxies/{proxy}/toxics", body, doing=doing))

    async def arm_toxic(self, proxy: str, toxic: Toxic) -> CallTimes:
        """Have the inert toxic of this name act, with these settings, on every open connection from the return on."""
        return await self._turn_toxic("arm", proxy, toxic, toxic.toxicity)

    async def disarm_toxic(self, proxy: str, toxic: Toxic) -> CallTimes:
        """Make the toxic of this name inert: what it holds is passed on, and everything after that."""
        return await self._turn_toxic("disarm", proxy, toxic, 0.0)

    async def _turn_toxic(self, verb: str, proxy: str, toxic: Toxic, toxicity: float) -> CallTimes:
        check_name("proxy", proxy)
        doing = f"{verb} toxic {toxic.name!r} of proxy {proxy!r}"
        body = {"toxicity": toxicity, "attributes": toxic.attributes}
        path = f"/proxies/{proxy}/toxics/{toxic.name}"
        return await self._order(doing, lambda: self._timed("patch", path, body, doing=doing))

    async def update_toxic(self, proxy: str, toxic: Toxic, *, live: bool = False) -> CallTimes:
        """Change the settings of the toxic that has ``toxic``'s name, type and stream.

        On an enabled proxy a toxic that holds bytes back is changed only with ``live=True``, because that can hang the
        server under traffic; raising a bandwidth from 0 is never allowed, because it crashes the server.
        """
        check_name("proxy", proxy)
        doing = f"update toxic {toxic.name!r} of proxy {proxy!r}"
        return await self._order(doing, lambda: self._update(proxy, toxic, doing, live=live))

    async def remove_toxic(self, proxy: str, name: str, *, live: bool = False) -> CallTimes:
        """Remove a toxic. From an enabled proxy a toxic that holds bytes back is removed only with ``live=True``.

        Removing a ``timeout`` toxic closes the connections it acted on.
        """
        check_name("proxy", proxy)
        check_name("name", name)
        doing = f"remove toxic {name!r} from proxy {proxy!r}"
        return await self._order(doing, lambda: self._remove(proxy, name, doing, live=live))

    async def remove_all_toxics(self) -> CallTimes:
        """Remove every toxic of every proxy at once, and enable every proxy: no connection is made in between."""
        doing = "remove all toxics"
        return await self._order(doing, lambda: self._timed("post", "/reset", doing=doing))

    async def _order(self, doing: str, job: Callable[[], T]) -> T:
        """Run ``job`` on the worker thread in its turn, with the deadline."""
        async with self._turn:
            if self._closed:
                raise ToxiproxyError(f"{self._wire.where}: {doing}: this client is closed; create a new one")
            try:
                async with asyncio.timeout(self.timeout_s):
                    return await asyncio.get_running_loop().run_in_executor(self._worker, job)
            except TimeoutError as late:
                raise self._wire.hung_error(doing) from late

    def _timed(
        self, verb: Literal["post", "patch", "delete"], path: str, body: object = None, *, doing: str
    ) -> CallTimes:
        before = self._clock()
        self._wire.send(verb, path, body, doing=doing)
        return CallTimes(before, self._clock())

    def _version(self) -> str:
        doing = "version"
        answer = self._wire.send("get", "/version", doing=doing)
        found = _VERSION.search(answer)  # not decoded: what Toxiproxy 2.6.0 sends is no JSON
        return found[1].decode() if found else self._decoded(answer, _VersionBody, doing).version

    def _list(self) -> dict[str, Proxy]:
        doing, before = "list proxies", self._clock()
        answer = self._wire.send("get", "/proxies", doing=doing)
        times = CallTimes(before, self._clock())
        bodies = self._decoded(answer, dict[str, _ProxyBody], doing)
        return {name: _proxy(body, times) for name, body in bodies.items()}

    def _show(self, name: str) -> Proxy:
        return self._read("get", f"/proxies/{name}", None, f"read proxy {name!r}")

    def _create(self, name: str, listen: str, upstream: str) -> Proxy:
        body = {"name": name, "listen": listen, "upstream": upstream, "enabled": True}
        try:
            return self._read("post", "/proxies", body, f"create proxy {name!r}")
        except ToxiproxyRefusedError as refused:
            _raise_if_port_taken(refused, listen)
            raise

    def _read(self, verb: Literal["get", "post"], path: str, body: object, doing: str) -> Proxy:
        before = self._clock()
        answer = self._wire.send(verb, path, body, doing=doing)
        times = CallTimes(before, self._clock())
        return _proxy(self._decoded(answer, _ProxyBody, doing), times)

    def _switch(self, proxy: Proxy, enabled: bool) -> CallTimes:  # noqa: FBT001  # the value is the order
        doing = _switching(proxy.name, enabled)
        try:
            return self._timed("patch", f"/proxies/{proxy.name}", {"enabled": enabled}, doing=doing)
        except ToxiproxyRefusedError as refused:
            _raise_if_port_taken(refused, proxy.listen)
            raise

    def _update(self, proxy: str, toxic: Toxic, doing: str, *, live: bool) -> CallTimes:
        state = self._show(proxy)
        present = self._present(state, toxic.name, doing)
        if (present.type, present.stream) != (toxic.kind, toxic.stream):
            raise ToxiproxyError(
                f"{self._wire.where}: {doing}: it is a {present.type} toxic on the {present.stream}; "
                "an update keeps type and stream: remove it and add the new one"
            )
        if state.enabled and _raises_from_zero(present, toxic):
            raise ToxiproxyError(
                f"{self._wire.where}: {doing}: raising a live rate from 0 crashes the server; {_SAFELY}"
            )
        self._guard(state, present, doing, live=live)
        body = {"toxicity": toxic.toxicity, "attributes": toxic.attributes}
        return self._timed("patch", f"/proxies/{proxy}/toxics/{toxic.name}", body, doing=doing)

    def _remove(self, proxy: str, name: str, doing: str, *, live: bool) -> CallTimes:
        state = self._show(proxy)
        self._guard(state, self._present(state, name, doing), doing, live=live)
        return self._timed("delete", f"/proxies/{proxy}/toxics/{name}", doing=doing)

    def _present(self, proxy: Proxy, name: str, doing: str) -> ToxicState:
        toxic = proxy.toxic(name)
        if toxic is None:
            there = ", ".join(repr(toxic.name) for toxic in proxy.toxics) or "none"
            raise ToxiproxyError(f"{self._wire.where}: {doing}: no such toxic; the proxy has {there}")
        return toxic

    def _guard(self, proxy: Proxy, toxic: ToxicState, doing: str, *, live: bool) -> None:
        """Raise for a change that can hang the server, unless the caller insists."""
        if toxic.type in UNSAFE_TO_CHANGE_LIVE and proxy.enabled and not live:
            raise ToxiproxyError(
                f"{self._wire.where}: {doing}: doing this to a {toxic.type} toxic under traffic can hang the "
                f"server permanently; {_SAFELY}, or pass live=True and be ready to respawn it"
            )

    def _decoded(self, answer: bytes, shape: type[T], doing: str) -> T:
        try:
            return msgspec.json.decode(answer, type=shape)
        except msgspec.MsgspecError as error:
            raise self._wire.foreign_error(doing, error) from error


_SAFELY = "disable the proxy first, or disarm the toxic (ToxicChain does so)"


def _switching(name: str, enabled: bool) -> str:  # noqa: FBT001  # the value is the order
    return f"{'enable' if enabled else 'disable'} proxy {name!r}"


def _proxy(body: _ProxyBody, times: CallTimes) -> Proxy:
    return Proxy(body.name, body.listen, body.upstream, body.enabled, body.toxics, times)


def _raises_from_zero(present: ToxicState, wanted: Toxic) -> bool:
    return isinstance(wanted, Bandwidth) and present.attributes.get("rate", 0) == 0 and wanted.rate_kb_s > 0


def _raise_if_port_taken(refused: ToxiproxyRefusedError, listen: str) -> None:
    if "address already in use" in refused.said:
        host, _, port = listen.rpartition(":")
        raise PortInUseError(host, int(port)) from refused
