"""The handshake policy: origins, limits of one address, capacity, overload, draining."""

from __future__ import annotations

import resource

import pytest

from resilience.config import ServerConfig
from resilience.policy.addresses import network_of
from resilience.policy.handshake import HandshakePolicy, HandshakeRequest
from resilience.server.limits import max_connections_by_open_files


class PolicyHarness:
    """A policy at a time of the test's choosing, with as many connections and as much lag as the test says."""

    def __init__(self, **settings: object) -> None:
        self.now, self.connections, self.lag = 100.0, 0, 0.0
        config = ServerConfig(**settings)  # type: ignore[arg-type]
        self.policy = HandshakePolicy(config.handshake(max_connections_by_open_files()))

    def check(self, address: str = "10.0.0.1", origin: str | None = None, host: str | None = None) -> object:
        """How a handshake is judged: status, cause and Retry-After, or ``None``."""
        request = HandshakeRequest(address, () if origin is None else (origin,), () if host is None else (host,))
        rejection = self.policy.check(request, address, self.now, lag=self.lag, connections=self.connections)
        return None if rejection is None else (rejection.status.value, rejection.cause, rejection.retry_after)

    def record_failure(self, address: str = "10.0.0.1") -> float:
        """A credential of this address was rejected."""
        return self.policy.record_failure(address, self.now)


# origins --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    ["http://quiz.example:8000", "https://quiz.example:8000", "HTTPS://QUIZ.example:8000", "https://friend.example"],
)
def test_its_own_and_listed_origins_are_welcome(origin: str) -> None:
    """By host and port, however it is written; behind a proxy the scheme may differ."""
    assert (
        PolicyHarness(allowed_origins=("https://friend.example",)).check(origin=origin, host="quiz.example:8000")
        is None
    )


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://quiz.example",
        "http://quiz.example:8001",
        "http://quiz.example:8000.evil.example",
        "http://evil.example/quiz.example:8000",
        "http://quiz.example:8000@evil.example",
        "https://friend.example.evil.example",
        "https://friend.example:444",
        "null",
        "",
        "file://",
        "http://[::1",
        "http://[not an address]:8000",
        "//quiz.example:8000@",
    ],
)
def test_any_other_origin_is_refused_for_good(origin: str) -> None:
    """Look-alikes, opaque ones, and what is no origin at all; each counts as a failure of its address."""
    harness = PolicyHarness(allowed_origins=("https://friend.example",), address_failures=1)
    assert harness.check(origin=origin, host="quiz.example:8000") == (403, "origin", None)
    assert harness.check(host="quiz.example:8000") == (429, "address", pytest.approx(60.0))


def test_who_sends_no_origin_is_no_browser() -> None:
    """Programs and phones are welcome; origins protect browsers' users only."""
    assert PolicyHarness().check() is None
    assert PolicyHarness().check(origin="http://quiz.example") == (403, "origin", None)  # it names no host of ours


# one address ----------------------------------------------------------------------------------------------------------


def test_an_address_opens_so_many_connections_and_no_more() -> None:
    """429 with the time to wait; others are unharmed, and after that time there is one more."""
    harness = PolicyHarness(address_rate=2.0, address_burst=3)
    assert [harness.check() for _ in range(3)] == [None] * 3
    assert harness.check() == (429, "address", pytest.approx(0.5))
    assert harness.check("10.0.0.2") is None
    harness.now += 0.5
    assert harness.check() is None


def test_an_address_that_presents_what_opens_nothing_is_held_off() -> None:
    """So many failures a minute, and then until the next one may be afforded; other addresses are unharmed."""
    harness = PolicyHarness(address_failures=3)
    assert [harness.record_failure() for _ in range(4)] == [0.0, 0.0, 0.0, pytest.approx(20.0)]
    assert harness.check() == (429, "address", pytest.approx(20.0))
    assert harness.check("10.0.0.2") is None
    harness.now += 20.001
    assert harness.check() is None


def test_however_many_fail_the_others_at_their_address_wait_no_longer() -> None:
    """A whole school behind one address whose old tokens open nothing any more is not shut out for minutes."""
    harness = PolicyHarness(address_failures=60)
    for _ in range(1000):
        harness.record_failure()
    assert harness.check() == (429, "address", pytest.approx(1.0))


def test_limits_that_are_off_limit_nothing() -> None:
    """0 is off."""
    harness = PolicyHarness(address_rate=0.0, address_failures=0.0)
    for _ in range(1000):
        harness.record_failure()
        assert harness.check() is None or harness.check() == (503, "overload", pytest.approx(2.0, abs=2.0))


@pytest.mark.parametrize(
    "address, network",
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not:an:address", "not:an:address"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_an_address_of_version_6_counts_by_its_network(address: str, network: str) -> None:
    """One client has 2**64 addresses."""
    assert network_of(address) == network


def test_version_4_in_version_6_counts_by_itself() -> None:
    """A listener for both shows them so: all of version 4 must not share one limit."""
    assert network_of("::ffff:10.0.0.1") != network_of("::ffff:10.0.0.2")


@pytest.mark.parametrize(
    "trusted, forwarded, counted",
    [
        (False, "6.6.6.6", "10.0.0.1"),
        (True, "6.6.6.6", "6.6.6.6"),
        (True, "1.1.1.1, 6.6.6.6", "6.6.6.6"),
        (True, "2001:db8::1", "2001:db8::/64"),
        (True, None, "10.0.0.1"),
        (True, "", "10.0.0.1"),
        (True, "spoofed, ", "10.0.0.1"),
    ],
)
def test_a_proxy_is_believed_only_where_it_is_trusted(trusted: bool, forwarded: str | None, counted: str) -> None:
    """And only the last hop, which the proxy itself has added."""
    request = HandshakeRequest("10.0.0.1", forwarded=() if forwarded is None else (forwarded,))
    assert PolicyHarness(trust_forwarded=trusted).policy.address_of(request) == counted


def test_a_second_forwarded_header_does_not_hide_the_proxys_own() -> None:
    """A client may send one of its own; the proxy's comes last."""
    request = HandshakeRequest("10.0.0.1", forwarded=("spoofed", "6.6.6.6"))
    assert PolicyHarness(trust_forwarded=True).policy.address_of(request) == "6.6.6.6"


# capacity, overload, draining -----------------------------------------------------------------------------------------


def test_the_order_of_reasons() -> None:
    """Draining before full before origin before address before overload: each costs less to say than the next."""
    harness = PolicyHarness(address_rate=1.0, address_burst=1, max_connections=5)
    assert harness.check() is None
    assert harness.check() == (429, "address", pytest.approx(1.0))
    assert harness.check(origin="http://evil.example") == (403, "origin", None)
    harness.connections = 6
    assert harness.check(origin="http://evil.example") == (503, "full", 5.0)
    harness.policy.draining_for = 7.5
    assert harness.check() == (503, "draining", 7.5)


def test_connections_are_accepted_up_to_the_limit() -> None:
    """The requesting connection is counted; the end of another one makes a place free at once."""
    harness = PolicyHarness(max_connections=5)
    harness.connections = 5
    assert harness.check() is None
    harness.connections = 6
    assert harness.check() == (503, "full", 5.0)


def test_capacity_follows_the_limit_on_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some are kept for the database and for saying no; a tiny limit still serves half."""
    for soft, connections in ((65_536, 65_536 - 128), (1024, 896), (256, 128), (20, 10)):
        monkeypatch.setattr(resource, "getrlimit", lambda _which, soft=soft: (soft, 65_536))
        assert max_connections_by_open_files() == connections == PolicyHarness().policy.capacity


def test_overload_gives_slots_and_a_late_server_admits_none() -> None:
    """F18: a queue of two seconds, then a retry time for each client; a loop that runs late admits no client."""
    harness = PolicyHarness(join_capacity=10.0, address_rate=0.0)
    let_in = [harness.check() for _ in range(30)]
    slots = [slot[2] for slot in let_in if isinstance(slot, tuple)]
    assert len(slots) == 9
    assert slots == sorted(set(slots))
    harness.now += 100.0
    harness.lag = 2.5
    refused = harness.check()
    assert isinstance(refused, tuple)
    assert (refused[1], 2.0 <= (refused[2] or 0.0) < 2.5) == ("overload", True)


@pytest.mark.parametrize("hosts", [(), ("quiz.example", "quiz.example"), ("quiz.example", "evil.example")])
def test_an_origin_needs_exactly_one_host_to_match(hosts: tuple[str, ...]) -> None:
    request = HandshakeRequest("10.0.0.1", ("http://quiz.example",), hosts)
    rejection = PolicyHarness().policy.check(request, "10.0.0.1", 0.0, lag=0.0, connections=1)
    assert rejection is not None
    assert rejection.cause == "origin"


def test_two_origins_are_refused() -> None:
    request = HandshakeRequest("10.0.0.1", ("http://quiz.example", "http://quiz.example"), ("quiz.example",))
    rejection = PolicyHarness().policy.check(request, "10.0.0.1", 0.0, lag=0.0, connections=1)
    assert rejection is not None
    assert rejection.cause == "origin"
