"""When a run has lost its server, as another one can tell."""

from __future__ import annotations

import pytest

from resilience.policy.run_owners import (
    LATE_ROUND_S,
    RENEWAL_INTERVAL_S,
    SILENT_ROUNDS,
    OwnedRun,
    OwnerWatch,
)


def run(renewals: int = 1, owner: str = "a:1") -> OwnedRun:
    """A run of another server."""
    return OwnedRun("quiz", "quiz#1", owner, renewals)


def test_an_owner_that_renews_keeps_its_runs() -> None:
    watch = OwnerWatch("b:1")
    assert [watch.observe([run(i // 3)], i * RENEWAL_INTERVAL_S) for i in range(30)] == [[]] * 30


def test_an_owner_that_renews_no_more_loses_them_after_some_rounds() -> None:
    watch = OwnerWatch("b:1")
    taken = [bool(watch.observe([run()], i * RENEWAL_INTERVAL_S)) for i in range(SILENT_ROUNDS + 1)]
    assert taken == [False] * SILENT_ROUNDS + [True]


def test_silence_after_a_late_round_is_counted_again() -> None:
    """The watcher was stopped, or the database was away: the owner could not renew either."""
    watch, now = OwnerWatch("b:1"), 0.0
    for _ in range(5):
        for _ in range(SILENT_ROUNDS):
            assert watch.observe([run()], now) == []
            now += RENEWAL_INTERVAL_S
        now += LATE_ROUND_S


@pytest.mark.parametrize("owner, free", [("", True), ("b:1", True), ("a:1", False)])
def test_a_run_that_was_given_up_or_is_of_an_earlier_process_here_is_free_at_once(owner: str, free: bool) -> None:
    """Two processes cannot listen on one address, which is the name."""
    watch = OwnerWatch("b:1")
    assert watch.is_free(run(owner=owner)) is free
    assert bool(watch.observe([run(owner=owner)], 0.0)) is free


def test_a_server_without_a_name_shares_its_database_with_none() -> None:
    assert OwnerWatch("").is_free(run())
