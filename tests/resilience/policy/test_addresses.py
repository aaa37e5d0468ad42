"""One subscriber has one key, however a proxy writes its address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.config import ServerConfig
from resilience.policy.addresses import forwarded_network, network_of
from resilience.policy.handshake import HandshakePolicy, HandshakeRequest

FORMS = ["{0}", "{0}:{1}", '"{0}:{1}"', " {0} ", "[{0}]", "[{0}]:{1}", "198.51.100.7, {0}:{1}", "{0},", "{0}:{1} , ,"]


@pytest.mark.parametrize("form", FORMS)
def test_an_address_of_version_4_has_one_key_in_every_form(form: str) -> None:
    """A port, brackets, quotes, and entries of farther proxies change nothing."""
    assert {forwarded_network([form.format("192.0.2.1", port)]) for port in (1, 40_000)} == {"192.0.2.1"}


@pytest.mark.parametrize("form", ["{0}", '"[{0}]:{1}"', " {0} ", "[{0}]", "[{0}]:{1}", "198.51.100.7, [{0}]:{1}"])
def test_an_address_of_version_6_has_the_key_of_its_network(form: str) -> None:
    """With a port only in brackets, as everywhere."""
    for address in ("2001:db8::1", "2001:DB8:0:0:ffff::2", "2001:db8::1%eth0"):
        assert forwarded_network([form.format(address, 4000)]) == "2001:db8::/64"
    assert forwarded_network([form.format("::ffff:192.0.2.1", 4000)]) == "192.0.2.1"


@pytest.mark.parametrize("text", ["", " ", ",", "unknown", "_hidden", "192.0.2", "192.0.2.300:80", "evil.example:80"])
def test_what_is_no_address_counts_as_the_peers(text: str) -> None:
    """A client cannot choose keys of its own."""
    policy = HandshakePolicy(ServerConfig(trust_forwarded=True).handshake(10))
    assert forwarded_network([text]) is None
    assert policy.address_of(HandshakeRequest("2001:db8::1", forwarded=(text,))) == "2001:db8::/64"


def test_ten_handshakes_of_one_client_meet_one_limit_whatever_their_ports() -> None:
    """Each new port of Azure's form was an address of its own."""
    config = ServerConfig(trust_forwarded=True, address_rate=1.0, address_burst=3)
    for make in ("192.0.2.11:4000{}", "[2001:db8:1::1]:4000{}", '"192.0.2.15:4000{}"', "nonsense{}"):
        policy, statuses = HandshakePolicy(config.handshake(100)), []
        for i in range(10):
            request = HandshakeRequest("10.0.0.1", forwarded=(make.format(i),))
            rejection = policy.check(request, policy.address_of(request), 0.0, lag=0.0, connections=1)
            statuses.append(101 if rejection is None else int(rejection.status))
        assert statuses == [101] * 3 + [429] * 7


@given(st.lists(st.text(max_size=30) | st.text('0123456789abcdef:.[]"%, ', max_size=40), max_size=3))
def test_a_key_is_a_network_whatever_was_sent(headers: list[str]) -> None:
    """Nothing raises, and no text of a client becomes a key."""
    found = forwarded_network(headers)
    assert found is None or network_of(found.removesuffix("/64")) == found
