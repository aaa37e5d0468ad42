"""Which network address a limit counts: a peer's own, or the one that a trusted proxy forwards. Pure.

A key stands for one subscriber, however its address is written: proxies add ports, brackets and quotes.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence

_NETWORK_BITS = 64

MAX_REMEMBERED = 4096
"""Networks of so many addresses are remembered: a crowd behind one address is parsed and kept once."""


@functools.lru_cache(MAX_REMEMBERED)
def network_of(address: str) -> str:
    """An IPv4 address as it is, an IPv6 address as its /64 network, an IPv4-mapped one as IPv4 (RFC 4291, 2.5.5.2).

    One subscriber owns a /64 as a whole. What is no address is returned as it is.
    """
    try:
        return _network(address)
    except ValueError:
        return address


def forwarded_network(headers: Sequence[str]) -> str | None:
    """The network of the last address in ``X-Forwarded-For``, the one that the nearest proxy wrote.

    ``headers`` holds every header of that name, in order. ``None`` if there is none, or if it is no address.
    """
    written = [entry for header in headers for entry in header.split(",") if entry.strip()]
    if not written:
        return None
    try:
        return _network(_without_port(written[-1].strip().strip('"')))
    except ValueError:
        return None


def _without_port(text: str) -> str:
    """``address``, ``address:port``, ``[address]`` or ``[address]:port``; an IPv6 address with a port has brackets."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _network(address: str) -> str:
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, _NETWORK_BITS), strict=False))
