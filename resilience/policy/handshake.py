"""Decides on the head of a WebSocket handshake whether the connection may be opened. Pure; knows no messages.

The checks run from the cheapest to the dearest: draining, capacity, origin, limits of the peer's address, admission.
Turning a rejection into a response, a close code or a log record is the caller's part.
"""

from __future__ import annotations

import math
from http import HTTPStatus

import msgspec

from resilience.policy.addresses import forwarded_network, network_of
from resilience.policy.admission import AdmissionController
from resilience.policy.origins import is_own_origin, listed_origin, sent_origin
from resilience.policy.rate_limits import PerAddressLimiter, PerAddressWindow, TokenBucket
from resilience.units import Instant, Seconds

FULL_RETRY_AFTER_S: Seconds = 5.0
"""When to come back to a server that has no free connection."""

_MINUTE_S: Seconds = 60.0


class HandshakeLimits(msgspec.Struct, frozen=True):
    """The settings of a :class:`HandshakePolicy`; the fields are those of ``ServerConfig``.

    ``capacity`` is the most open connections. ``join_capacity`` and the rates of one address are per second,
    ``address_failures`` per minute; 0 turns a limit of an address off. ``allowed_origins`` are valid ones.
    """

    capacity: int
    join_capacity: float
    admission_seconds: Seconds
    address_rate: float
    address_burst: int
    address_failures: float
    allowed_origins: tuple[str, ...] = ()
    trust_forwarded: bool = False
    address_message_rate: float = 0.0
    address_message_burst: int = 1
    address_page_rate: float = 0.0
    address_page_burst: int = 1


class HandshakeRequest(msgspec.Struct, frozen=True):
    """The parts of a handshake's head that decide; ``origins``, ``hosts`` and ``forwarded`` hold every header sent.

    ``peer`` is the network address of the other end of the transport.
    """

    peer: str
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    forwarded: tuple[str, ...] = ()


class HandshakeRejection(msgspec.Struct, frozen=True):
    """The HTTP status, the cause for the log, and the seconds to wait; ``None`` means: do not come back."""

    status: HTTPStatus
    cause: str
    retry_after: Seconds | None = None


class HandshakePolicy:
    """The handshake decisions of one server, with the state they need: admitted joins, and buckets by address.

    ``draining_for`` is the Retry-After of every handshake once the server drains, else ``None``.
    """

    def __init__(self, limits: HandshakeLimits) -> None:
        self.draining_for: Seconds | None = None
        self.capacity = limits.capacity
        self._limits = limits
        self._allowed_origins = frozenset(listed_origin(text) for text in limits.allowed_origins)
        self._admission = AdmissionController(limits.join_capacity, limits.admission_seconds)
        self._opened = PerAddressLimiter(limits.address_rate, limits.address_burst)
        self._failures = PerAddressLimiter(limits.address_failures / _MINUTE_S, max(limits.address_failures, 1.0))
        self._wrong_keys = PerAddressWindow(math.ceil(limits.address_failures), _MINUTE_S)
        self._pages = PerAddressLimiter(limits.address_page_rate, limits.address_page_burst)
        self._messages = PerAddressLimiter(limits.address_message_rate, limits.address_message_burst)

    def address_of(self, request: HandshakeRequest) -> str:
        """The address that the limits of one address count: the peer's, or the one a trusted proxy forwards.

        An IPv6 address counts by its /64 network, which one subscriber owns as a whole. A proxy that forwards what is
        no address counts by its own.
        """
        forwarded = forwarded_network(request.forwarded) if self._limits.trust_forwarded else None
        return network_of(request.peer) if forwarded is None else forwarded

    def check(
        self, request: HandshakeRequest, address: str, now: Instant, *, lag: Seconds, connections: int
    ) -> HandshakeRejection | None:
        """Return the rejection of this handshake, or ``None`` to accept it.

        ``lag`` is how late the server runs at this moment, in seconds. ``connections`` counts those whose handshake has
        arrived, this one included: one that says nothing takes no place.
        """
        if self.draining_for is not None:
            return HandshakeRejection(HTTPStatus.SERVICE_UNAVAILABLE, "draining", self.draining_for)
        if connections > self.capacity:
            return HandshakeRejection(HTTPStatus.SERVICE_UNAVAILABLE, "full", FULL_RETRY_AFTER_S)
        if not self._is_origin_allowed(request):
            self._failures.take(address, now)
            return HandshakeRejection(HTTPStatus.FORBIDDEN, "origin")
        wait = self._failures.wait(address, now) or self._opened.take(address, now)
        if wait:
            return HandshakeRejection(HTTPStatus.TOO_MANY_REQUESTS, "address", wait)
        slot = self._admission.try_admit(now, lag)
        return None if slot is None else HandshakeRejection(HTTPStatus.SERVICE_UNAVAILABLE, "overload", slot)

    def record_failure(self, address: str, now: Instant) -> Seconds:
        """Count a credential from this address that was rejected; return the seconds it must wait now, else 0.

        Failures beyond the rate add no debt: a school behind one address is not shut out for the failures of a few.
        """
        return self._failures.take(address, now)

    def key_wait(self, address: str, now: Instant) -> Seconds:
        """Seconds until a host key from this address may be compared; 0 if it may be now.

        Asked for each key, because an address can open its connections before it shows the first one.
        """
        return max(self._failures.wait(address, now), self._wrong_keys.wait(address, now))

    def record_wrong_key(self, address: str, now: Instant) -> None:
        """Count a host key from this address that was wrong: a failure, and one of the few guesses of a minute."""
        self._failures.take(address, now)
        self._wrong_keys.record(address, now)

    def message_tokens(self, address: str, now: Instant) -> TokenBucket:
        """The tokens for messages that all connections of this address share."""
        return self._messages.bucket(address, now)

    def page_wait(self, request: HandshakeRequest, now: Instant, *, is_file: bool = False) -> Seconds:
        """Count a request for a page; returns the seconds that its address has to wait before it gets one, else 0.

        ``is_file``: it is one of the many files of which a page for people consists, and costs no more than a
        connection does: it counts as one, so that a school behind one address can load its pages at once.
        """
        return (self._opened if is_file else self._pages).take(self.address_of(request), now)

    def _is_origin_allowed(self, request: HandshakeRequest) -> bool:
        """Only browsers send an origin; it must be this server's own or a listed one."""
        origins, hosts = request.origins, request.hosts
        if not origins:
            return True
        origin = sent_origin(origins[0]) if len(origins) == 1 else None
        if origin is None:
            return False
        return origin in self._allowed_origins or (len(hosts) == 1 and is_own_origin(origin, hosts[0]))
