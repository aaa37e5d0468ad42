"""Who may open a socket: decided on the handshake's head, before anything is spent on a guest. Knows no messages.

Told to come back later: a browser cannot read a refused handshake, so it is let in and sent away by a close code;
everybody else gets the status and its ``Retry-After`` at the cost of one line.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

import msgspec
from websockets.datastructures import Headers

from resilience.config import ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.admission import AdmissionController
from resilience.policy.rate_limits import PerAddressLimiter
from resilience.protocol.effects import Record
from resilience.runtime import RecordSink, RunClock
from resilience.server.limits import max_connections_by_open_files
from resilience.units import Seconds

FULL_RETRY_AFTER_S: Seconds = 5.0
_MINUTE_S: Seconds = 60.0
_NETWORK_BITS = 64


class HandshakeRejection(msgspec.Struct, frozen=True):
    """Not now (``retry_after`` seconds) or not at all (``None``)."""

    status: HTTPStatus
    cause: str
    retry_after: Seconds | None = None


class HandshakePolicy:
    """``lag`` tells how late the loop runs; ``count`` how many sockets are open."""

    def __init__(
        self,
        config: ServerConfig,
        *,
        clock: RunClock,
        log: RecordSink,
        lag: Callable[[], Seconds],
        count: Callable[[], int],
    ) -> None:
        self.draining_for: Seconds | None = None
        self.capacity = config.max_connections or max_connections_by_open_files()
        self._config, self._clock, self._log, self._lag, self._count = config, clock, log, lag, count
        self._admission = AdmissionController(config.join_capacity, config.admission_seconds)
        self._opened = PerAddressLimiter(config.address_rate, config.address_burst)
        self._failures = PerAddressLimiter(config.address_failures / _MINUTE_S, max(config.address_failures, 1.0))

    def check(self, headers: Headers, address: str) -> HandshakeRejection | None:
        """Judge a handshake for a socket; ``None`` lets it in."""
        refusal = self._judge(headers, address)
        if refusal is not None:
            kind = LogEventKind.CONNECTION_REFUSED if refusal.retry_after is None else LogEventKind.JOIN_SHED
            self._log(Record(kind, self._clock.now(), cause=refusal.cause, value=refusal.retry_after))
        return refusal

    def address_of(self, headers: Headers, peer: str) -> str:
        """Whom the limits of one address count for: the peer's, or what a trusted proxy says; IPv6 by its network."""
        if self._config.trust_forwarded:
            forwarded = headers.get_all("X-Forwarded-For")
            peer = (forwarded[-1].rpartition(",")[2].strip() if forwarded else "") or peer
        return network_of(peer)

    def record_failure(self, address: str) -> Seconds:
        """Somebody at this address presented what opens nothing; returns for how long that is too much, else 0.

        Failures beyond the rate add no debt: a school behind one address must not be shut out for what a few did.
        """
        return self._failures.take(address, self._clock.now())

    def _judge(self, headers: Headers, address: str) -> HandshakeRejection | None:
        now = self._clock.now()
        if self.draining_for is not None:
            return HandshakeRejection(HTTPStatus.SERVICE_UNAVAILABLE, "draining", self.draining_for)
        if self._count() > self.capacity:
            return HandshakeRejection(HTTPStatus.SERVICE_UNAVAILABLE, "full", FULL_RETRY_AFTER_S)
        if not self._is_origin_allowed(headers):
            self._failures.take(address, now)
            return HandshakeRejection(HTTPStatus.FORBIDDEN, "origin")
        wait = self._failures.wait(address, now) or self._opened.take(address, now)
        if wait:
            return HandshakeRejection(HTTPStatus.TOO_MANY_REQUESTS, "address", wait)
        slot = self._admission.try_admit(now, self._lag())
        return None if slot is None else HandshakeRejection(HTTPStatus.SERVICE_UNAVAILABLE, "overload", slot)

    def _is_origin_allowed(self, headers: Headers) -> bool:
        """Only browsers send an origin; theirs must be this server's own or a listed one."""
        origins, hosts = headers.get_all("Origin"), headers.get_all("Host")
        if not origins or origins in ([origin] for origin in self._config.allowed_origins):
            return True
        return len(origins) == len(hosts) == 1 and _host_of(origins[0]) == hosts[0].lower() != ""


def network_of(address: str) -> str:
    """An address, or the network of an IPv6 one: a single guest has all of it. IPv4 written as IPv6 is IPv4."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, _NETWORK_BITS), strict=False))


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
