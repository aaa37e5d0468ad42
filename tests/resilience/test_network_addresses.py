"""What is printed can be opened: IPv6 in brackets, and no address that only a listener can use."""

from __future__ import annotations

from contextlib import closing
from urllib.parse import urlsplit

import pytest
from websockets.uri import parse_uri

from chaos.proxied_link import Address
from resilience.config import ServerConfig
from resilience.errors import ExitCode, HarnessError, UsageError
from resilience.network_addresses import is_every_interface, listening_host, openable, with_port
from resilience.runtime import RunClock, ignore_record
from resilience.server.app import QuizServer
from resilience.server.serve import announcement
from resilience.server.store import SqlStore

EVERY_V4 = "0.0.0.0"  # noqa: S104 - printed, not bound


@pytest.mark.parametrize(
    "typed, bound, opened",
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1:8765"),
        ("quiz.example", "quiz.example", "quiz.example:8765"),
        ("::1", "::1", "[::1]:8765"),
        ("[::1]", "::1", "[::1]:8765"),
        (EVERY_V4, EVERY_V4, "127.0.0.1:8765"),
        ("::", "::", "[::1]:8765"),
        ("[0:0::0]", "0:0::0", "[::1]:8765"),
        ("fe80::1%eth0", "fe80::1%eth0", "[fe80::1%eth0]:8765"),
    ],
)
def test_what_listens_is_printed_as_it_is_dialled(typed: str, bound: str, opened: str) -> None:
    assert listening_host(typed) == bound
    assert openable(bound, 8765) == opened
    assert urlsplit(f"ws://{opened}/ws").port == 8765
    assert is_every_interface(bound) == (bound in {EVERY_V4, "::", "0:0::0"})


@pytest.mark.parametrize(
    "host, shown",
    [
        ("127.0.0.1", "ws://127.0.0.1:18803/ws;"),
        ("::1", "ws://[::1]:18803/ws;"),
        ("::", "ws://[::1]:18803/ws, and at every other IPv6 address of this machine;"),
        (EVERY_V4, "ws://127.0.0.1:18803/ws, and at every other IPv4 address of this machine;"),
    ],
)
def test_the_server_prints_a_url_that_a_client_takes(host: str, shown: str) -> None:
    assert announcement("quiz", host, 18_803) == f"quiz 'quiz' at {shown} Ctrl-C stops"
    assert parse_uri(shown.strip(";").partition(",")[0]).port == 18_803


@pytest.mark.parametrize("typed", ["", " ", "[]"])
def test_no_host_is_refused(typed: str) -> None:
    """It would listen on every interface, which is asked for by name."""
    with pytest.raises(UsageError, match=r"0\.0\.0\.0 or :: for every interface") as caught:
        listening_host(typed)
    assert caught.value.exit_code is ExitCode.USAGE


def test_an_address_of_the_laboratory_is_the_authority_of_a_url() -> None:
    assert str(Address("::1", 80)) == with_port("::1", 80) == "[::1]:80"
    assert str(Address("127.0.0.1", 80)) == "127.0.0.1:80"


async def test_a_listener_that_fails_is_named_by_its_address() -> None:
    """An address that no machine has, for documentation only."""
    with closing(SqlStore("sqlite://")) as store:
        server = QuizServer(
            [], ServerConfig(), store, clock=RunClock(), log=ignore_record, new_id=str, new_token=str, executor=None
        )
        with pytest.raises(HarnessError, match=r"cannot listen on \[2001:db8::1\]:18803: "):
            await server.start("2001:db8::1", 18_803)
