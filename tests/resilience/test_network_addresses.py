"""What is printed can be opened: IPv6 in brackets, and no address that only a listener can use."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from chaos.proxied_link import Address
from resilience.errors import ExitCode, UsageError
from resilience.network_addresses import is_every_interface, listening_host, openable, with_port

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


@pytest.mark.parametrize("typed", ["", " ", "[]"])
def test_no_host_is_refused(typed: str) -> None:
    """It would listen on every interface, which is asked for by name."""
    with pytest.raises(UsageError, match=r"0\.0\.0\.0 or :: for every interface") as caught:
        listening_host(typed)
    assert caught.value.exit_code is ExitCode.USAGE


def test_an_address_of_the_laboratory_is_the_authority_of_a_url() -> None:
    assert str(Address("::1", 80)) == with_port("::1", 80) == "[::1]:80"
    assert str(Address("127.0.0.1", 80)) == "127.0.0.1:80"
