"""Origins are compared by what they mean, and a listed one that could never match is rejected at the start."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.config import ServerConfig
from resilience.errors import ConfigError
from resilience.policy.handshake import HandshakePolicy, HandshakeRequest
from resilience.policy.origins import OriginError, is_own_origin, listed_origin, sent_origin


def status(origin: str, host: str, *allowed: str) -> int:
    """The HTTP status of a browser's handshake."""
    policy = HandshakePolicy(ServerConfig(allowed_origins=allowed).handshake(10))
    rejection = policy.check(HandshakeRequest("10.0.0.1", (origin,), (host,)), "10.0.0.1", 0.0, lag=0.0, connections=1)
    return 101 if rejection is None else int(rejection.status)


@pytest.mark.parametrize(
    "origin, host, expected",
    [
        ("https://quiz.example", "quiz.example", 101),
        ("https://quiz.example", "quiz.example:443", 101),
        ("http://quiz.example", "quiz.example:80", 101),
        ("https://quiz.example:443", "quiz.example", 101),
        ("https://quiz.example:8443", "QUIZ.example:8443", 101),
        ("https://QUIZ.example", "quiz.example", 101),
        ("http://[::1]:8765", "[::1]:8765", 101),
        ("http://[0:0::1]", "[::1]:80", 101),
        ("https://quiz.example:8443", "quiz.example", 403),
        ("https://quiz.example", "quiz.example:80", 403),
        ("https://quiz.example:80", "quiz.example", 403),
        ("https://quiz.example.", "quiz.example", 403),
        ("https://evil.example", "quiz.example", 403),
        ("capacitor://localhost", "localhost", 403),
        ("https://quiz.example", "", 403),
        ("https://quiz.example", "user@quiz.example", 403),
        ("https://quiz.example", "quiz.example:443:443", 403),
        ("https://quiz.example", "quiz.example/", 403),
        ("https://quiz.example", f"quiz.example:{'0' * 9000}443", 403),
    ],
)
def test_the_own_origin_is_known_however_the_host_header_is_written(origin: str, host: str, expected: int) -> None:
    """A proxy may name the default port; another port, host or scheme stays another origin."""
    assert status(origin, host) == expected


@pytest.mark.parametrize(
    "listed, sent",
    [
        ("https://quiz.example", "https://quiz.example"),
        ("https://Quiz.Example", "https://quiz.example"),
        ("HTTPS://quiz.example", "https://quiz.example"),
        ("https://quiz.example:443", "https://quiz.example"),
        ("http://quiz.example:80", "http://quiz.example"),
        ("https://quiz.example:8443", "https://quiz.example:8443"),
        ("https://quíz.example", "https://xn--quz-sma.example"),
        ("https://FAß.example", "https://xn--fa-hia.example"),
        ("http://[2001:DB8:0::1]:8765", "http://[2001:db8::1]:8765"),
        ("http://192.0.2.1", "http://192.0.2.1"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("ionic://localhost", "ionic://localhost"),
        ("tauri://localhost", "tauri://localhost"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
    ],
)
def test_a_listed_origin_lets_its_page_in(listed: str, sent: str) -> None:
    """In the form that browsers send, whatever form the list has."""
    assert status(sent, "backend:8765", listed) == 101
    assert status(sent, "backend:8765", "https://other.example") == 403


@pytest.mark.parametrize(
    "listed, said",
    [
        ("https://*.example", "holds a wildcard: each origin is listed by itself"),
        ("*", "has no scheme"),
        ("null", "has no scheme"),
        ("", "has no scheme"),
        ("quiz.example", "has no scheme; write https://quiz.example"),
        ("https://user@quiz.example", "names a user; write https://quiz.example"),
        ("https://u:p@quiz.example:444", "names a user; write https://quiz.example:444"),
        ("https://quiz.example/", "has more than a scheme, a host and a port; write https://quiz.example"),
        ("https://quiz.example?x#y", "has more than a scheme, a host and a port; write https://quiz.example"),
        ("https://a b", "has no valid host"),
        ("https://", "has no host"),
        ("wss://Quiz.example", "has a scheme that no page has (wss); write https://quiz.example"),
        ("https://quiz.example:70000", "has a port above 65535"),
        ("https://quiz.example:x", "has a port that is no number"),
        ("http://::1", "has no valid host"),
        ("http://[::1", "has no valid host"),
        ("http://[fe80::1%eth0]", "has an address with a zone"),
        ("http://127.1", "has no valid address"),
        ("https://quiz..example", "has no valid host"),
        ("https://-.ü.example", "has no valid host"),
        ("https://" + "ü" * 400, "has more than 300 characters"),
    ],
)
def test_an_entry_that_can_never_match_is_refused_with_what_would_be_right(listed: str, said: str) -> None:
    """At the start, in one line, not by turning its page away."""
    with pytest.raises(ConfigError) as caught:
        ServerConfig(allowed_origins=("https://first.example", listed))
    assert f"allowed_origins = {listed!r}: must be origins such as https://quiz.example" in str(caught.value)
    assert f"this one {said}" in str(caught.value)
    assert "\n" not in str(caught.value)


_HOSTS = st.sampled_from(["a", "quiz.example", "192.0.2.1", "[::1]", "xn--quz-sma.example", "under_score.example"])
_PORTS = st.one_of(st.none(), st.integers(0, 65_535))


@given(st.sampled_from(["http", "https", "capacitor"]), _HOSTS, _PORTS)
def test_every_origin_is_equal_to_what_a_browser_makes_of_it(scheme: str, host: str, port: int | None) -> None:
    """The printed form of an origin is read back as the same one, and belongs to its own host header."""
    written = f"{scheme.upper()}://{host.upper()}" + ("" if port is None else f":{port:05}")
    origin = listed_origin(written)
    assert sent_origin(str(origin)) == origin == listed_origin(str(origin))
    authority = host if port is None else f"{host}:{port}"
    assert is_own_origin(origin, authority) is (scheme != "capacitor")


@given(st.text(max_size=40) | st.text("https:/[]@.*%?#\\ \n-0aü", max_size=40))
def test_no_text_is_more_than_refused(text: str) -> None:
    """Headers and settings hold anything."""
    sent = sent_origin(text)
    try:
        listed = listed_origin(text)
    except OriginError:
        return
    assert sent is None or sent == listed
    is_own_origin(listed, text)


def test_a_long_header_costs_nothing() -> None:
    """A peer chooses its length."""
    began = time.process_time()
    for text in ("https://" + "a-" * 4000, "https://" + "1." * 4000, "https://[" + ":" * 8000, "a" * 8000):
        assert sent_origin(text) is None
    assert time.process_time() - began < 0.1
