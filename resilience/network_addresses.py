"""Hosts and ports as text: what a listener binds, and the URL under which it can be opened. Pure."""

from __future__ import annotations

import ipaddress

from resilience.errors import UsageError

_ON_THIS_MACHINE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
"""Addresses that mean every interface, which no client can dial, and one that reaches them from this machine."""


def listening_host(text: str) -> str:
    """The host to bind, of one that a person typed: without the brackets that it has in a URL.

    Raises :class:`~resilience.errors.UsageError` for an empty one, which would listen on every interface unasked.
    """
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not host or host.isspace():
        raise UsageError(
            f"--host {text!r}: must be an address, such as 127.0.0.1, or 0.0.0.0 or :: for every interface"
        )
    return host


def with_port(host: str, port: int) -> str:
    """``host:port``, with the brackets that an IPv6 address has in front of a port (RFC 3986)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def openable(host: str, port: int) -> str:
    """``host:port`` as a client of this machine can dial what listens on ``host``."""
    return with_port(_ON_THIS_MACHINE.get(_plain(host), host), port)


def is_every_interface(host: str) -> bool:
    """Whether ``host`` stands for every address of this machine."""
    return _plain(host) in _ON_THIS_MACHINE


def _plain(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host
