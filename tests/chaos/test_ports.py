"""Ports for listeners are free, different, and below the kernel's own range."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from chaos.ports import HIGH, LOW, free_ports, require_free
from resilience.errors import HarnessError, PortInUseError


def test_ports_are_different_and_below_the_ephemeral_range() -> None:
    """A hundred ports at once are a hundred different ones between the bounds."""
    ports = free_ports(100)
    assert len(set(ports)) == 100
    assert all(LOW <= port < HIGH <= 32768 for port in ports)


def test_a_port_with_an_owner_is_never_given() -> None:
    """With three ports to choose from and one taken, only the other two come back."""
    low = free_ports(1)[0]
    with closing(socket.create_server(("127.0.0.1", low))):
        with pytest.raises(HarnessError, match=f"only 0 of 1 ports wanted .* {low} and {low}"):
            free_ports(1, low=low, high=low + 1)
        with pytest.raises(PortInUseError, match=str(low)):
            require_free(low)
    assert free_ports(1, low=low, high=low + 1) == [low]


def test_a_listener_on_every_address_counts_as_an_owner() -> None:
    """A port held on 0.0.0.0 is not free on 127.0.0.1."""
    port = free_ports(1)[0]
    with closing(socket.create_server(("0.0.0.0", port))), pytest.raises(PortInUseError):  # noqa: S104  # on purpose
        require_free(port)


def test_all_ports_can_be_listened_on_at_once() -> None:
    """What is given can be used."""
    servers = [socket.create_server(("127.0.0.1", port)) for port in free_ports(20)]
    for server in servers:
        server.close()
    assert len(servers) == 20


def test_two_askers_are_spread() -> None:
    """Two runs at the same time hardly ever get the same port: 20 askers get at least 15 different ones."""
    assert len({free_ports(1)[0] for _ in range(20)}) >= 15


def test_a_foreign_address_is_named() -> None:
    """An address of no interface here is refused at once, by name (192.0.2.0/24 is for documents only)."""
    with pytest.raises(HarnessError, match=r"192\.0\.2\.1"):
        free_ports(1, "192.0.2.1")
