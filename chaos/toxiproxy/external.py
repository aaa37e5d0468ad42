"""A Toxiproxy server that is there already, named by its URL and shared with others: used, never started or stopped.

A run adds proxies with names of its own and deletes them when it ends. Nothing else of the server is changed, so the
order that removes all toxics of all proxies is never given. A runner that is killed leaves its proxies behind; their
names begin with ``resilience-``.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from resilience.errors import ToxiproxyError, UsageError
from resilience.experiment.primitives import Freeze, Impose
from resilience.lab.system import CallTimes
from resilience.network_addresses import with_port

from ..ports import HIGH, LOW, free_ports
from .client import NotToxiproxyError, ToxiproxyApi, ToxiproxyHungError, ToxiproxyRefusedError
from .versions import require_version, version_note

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilience.experiment.spec import Experiment
    from resilience.units import Instant, Seconds

CONTROL_PORT = 8474
"""Where Toxiproxy's control API listens by default."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_EVERY_INTERFACE = "0.0.0.0"  # noqa: S104 - on the proxy's machine, which this one must reach
_EXAMPLE = f"http://127.0.0.1:{CONTROL_PORT}"


@dataclass(frozen=True, slots=True)
class ExternalToxiproxy:
    """A server at ``host`` whose control API listens on ``port``; ``version`` is its own report."""

    host: str
    port: int
    version: str = ""
    origin: str = "external"

    @property
    def where(self) -> str:
        """Its URL."""
        return f"http://{with_port(self.host, self.port)}"

    @property
    def is_here(self) -> bool:
        """Whether it can reach what listens on this machine's loopback interface only."""
        return self.host in _LOOPBACK


def is_url(text: str) -> bool:
    """Whether a user's word for a Toxiproxy is meant as a URL and not as the path of a binary."""
    return "://" in text


def parse_url(text: str) -> ExternalToxiproxy:
    """The server of this URL, not asked yet; :class:`~resilience.errors.UsageError` for one that names no server."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    has_more = parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None
    if parts.scheme != "http" or not host or has_more:
        raise UsageError(f"--toxiproxy {text!r}: must be http://host:port of a control API, such as {_EXAMPLE}")
    return ExternalToxiproxy(host, port or CONTROL_PORT)


async def ask(found: ExternalToxiproxy, say: Callable[[str], None] = lambda _: None) -> ExternalToxiproxy:
    """The server with its version.

    ``say`` receives what is special about that. Raises ToxiproxyError when it does not answer, or is too old.
    """
    with contextlib.closing(ToxiproxyApi(found.host, found.port)) as api:
        try:
            version = await api.version()
        except (NotToxiproxyError, ToxiproxyHungError, ToxiproxyRefusedError):
            raise
        except ToxiproxyError as error:
            raise ToxiproxyError(f"nothing listens at {found.where}: start it, or leave --toxiproxy out") from error
    require_version(version, found.where)
    note = version_note(version, found.where)
    if note is not None:
        say(note)
    return ExternalToxiproxy(found.host, found.port, version)


def require_external(experiment: Experiment, found: ExternalToxiproxy) -> None:
    """Raise :class:`~resilience.errors.UsageError` for a fault that only a Toxiproxy of the run's own can carry out."""
    for i, fault in enumerate(experiment.faults):
        if Impose(Freeze()) in fault.composition.begin:
            raise UsageError(
                f"{experiment.name}: faults[{i}].kind = {fault.kind!r}: stops the proxy's process, and this runner has "
                f"not started the Toxiproxy at {found.where}: leave --toxiproxy out, or use stall"
            )
    if not found.is_here and experiment.target.kind != "external":
        raise UsageError(
            f"--toxiproxy {found.where}: cannot reach a target that this runner starts on 127.0.0.1: use a Toxiproxy "
            'on this machine, or a target of kind "external" that it can reach'
        )


class SharedToxiproxy:
    """What one link uses of such a server: one proxy, ``proxy_name``.

    Has the same methods as :class:`~chaos.toxiproxy.process.ToxiproxyProcess`, without a process.
    """

    alive = True
    suspended = False
    is_shared = True
    exit_code: int | None = None
    pid: int | None = None

    def __init__(self, found: ExternalToxiproxy, link: str, clock: Callable[[], Instant] = time.monotonic) -> None:
        self.host = found.host
        self.proxy_name = f"resilience-{secrets.token_hex(4)}-{link}"
        self._found, self._clock = found, clock

    def api(self, timeout_s: Seconds = 5.0) -> ToxiproxyApi:
        """Return a new client of the control API; the caller closes it."""
        return ToxiproxyApi(self._found.host, self._found.port, timeout_s, clock=self._clock)

    def choose_port(self) -> int:
        """A port for the proxy; whether another machine has it free shows when the proxy is created."""
        return free_ports(1)[0] if self._found.is_here else random.SystemRandom().randrange(LOW, HIGH)

    @property
    def listen_host(self) -> str:
        """The interface on which the proxy listens, on the server's machine."""
        return "127.0.0.1" if self._found.is_here else _EVERY_INTERFACE

    def suspend(self) -> CallTimes:
        """Raise ToxiproxyError: an experiment that needs this is rejected before it starts."""
        raise ToxiproxyError(f"this runner has not started the Toxiproxy at {self._found.where}: it is not suspended")

    def resume(self) -> CallTimes:
        """As :meth:`suspend`."""
        return self.suspend()

    async def respawn(self) -> None:
        """Delete the link's proxy, so that it can be created again; ToxiproxyError when the server does not answer."""
        with contextlib.closing(self.api()) as api:
            if self.proxy_name in await api.list_proxies():
                await api.delete_proxy(self.proxy_name)

    async def stop(self) -> None:
        """Delete the link's proxy; a server that does not answer keeps it."""
        with contextlib.suppress(ToxiproxyError):
            await self.respawn()
