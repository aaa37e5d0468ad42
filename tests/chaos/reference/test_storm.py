"""Bare clients through real proxies: all return after a cut, and the proxies are left as they were found."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from chaos.proxied_link import ProxiedLink
from chaos.reference import storm
from chaos.reference.storm import ReferenceStorm
from chaos.toxiproxy.provision import Binary
from resilience.errors import HarnessError
from resilience.runtime import RunClock

Links = dict[str, ProxiedLink]


@pytest.fixture
async def links(binary: Binary, clock: RunClock, tmp_path: Path) -> AsyncIterator[Links]:
    """Two links that are connected to nothing yet."""
    async with contextlib.AsyncExitStack() as stack:
        started = {}
        for name in ("alpha", "beta"):
            started[name] = await ProxiedLink.start(name, binary, tmp_path / f"{name}.log", clock)
            stack.push_async_callback(started[name].close)
        yield started


@pytest.fixture
def make_storm(links: Links, clock: RunClock, tmp_path: Path) -> Callable[[], ReferenceStorm]:
    """A storm of five clients, three of them on the link alpha."""
    sizes = {"alpha": 3, "beta": 2}
    return lambda: ReferenceStorm(links, sizes, clock, workers=2, logs=tmp_path, on_tick=lambda: None)


async def test_all_bare_clients_return_after_each_cut(
    links: Links, make_storm: Callable[[], ReferenceStorm], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storm, "SETTLE_S", 0.05)
    figures = await make_storm().run(2)
    assert (figures.clients, figures.storms, figures.returned) == (5, 2, 10)
    assert figures.excess_mean is not None
    assert 0.0 < figures.excess_mean <= (figures.excess_last or 0.0)
    assert set(figures.cpu_s) == {"clients", "proxies", "server"}
    assert [await link.api.list_proxies() for link in links.values()] == [{}, {}]


async def test_clients_that_cannot_connect_are_the_laboratorys_failure(
    links: Links, make_storm: Callable[[], ReferenceStorm], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says how many were connected; nothing is left in the proxies."""
    monkeypatch.setattr(storm, "JOIN_MARGIN_S", 0.0)
    with pytest.raises(HarnessError, match=r"only [0-4] of 5 bare clients connected .* --scale"):
        await make_storm().run(1)
    assert [await link.api.list_proxies() for link in links.values()] == [{}, {}]


async def test_a_process_of_bare_clients_that_ends_is_named(
    make_storm: Callable[[], ReferenceStorm], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and not as clients that did not connect."""
    made = make_storm()
    monkeypatch.setattr(made, "_job", lambda _: "no job")
    with pytest.raises(HarnessError, match=r"reference-clients-[12] is gone \(exit code 1\); its log, .*"):
        await made.run(1)


async def test_a_server_that_does_not_start_is_named_with_its_log(
    make_storm: Callable[[], ReferenceStorm], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chaos.reference.storm.sys.executable", "/bin/false")
    with pytest.raises(HarnessError, match=r"the bare server of the reference did not start; its log, .*"):
        await make_storm().run(1)
