"""Token buckets: never above burst and rate, independent per address, bounded memory."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.policy import rate_limits
from resilience.policy.rate_limits import PerAddressLimiter, PerAddressWindow, TokenBucket

RATES = st.floats(0.01, 1000.0)
BURSTS = st.integers(1, 100)
GAPS = st.lists(st.floats(0.0, 5.0), min_size=1, max_size=200)


def moments(gaps: list[float]) -> list[float]:
    """Times with these gaps between them."""
    return list(itertools.accumulate(gaps))


@given(GAPS)
def test_a_rate_of_zero_turns_the_limit_off(gaps: list[float]) -> None:
    """For buckets and for addresses; no address is remembered."""
    bucket, book = TokenBucket(0.0, 1.0), PerAddressLimiter(0.0, 1.0)
    for now in moments(gaps):
        assert (bucket.take(now), bucket.wait(now), book.take("a", now), book.wait("a", now)) == (0.0, 0.0, 0.0, 0.0)
    assert len(book) == 0


@given(RATES, BURSTS)
def test_after_a_burst_a_token_takes_one_over_rate_seconds(per_s: float, burst: int) -> None:
    bucket = TokenBucket(per_s, burst)
    assert [bucket.take(7.0) for _ in range(burst)] == pytest.approx([0.0] * burst, abs=1e-9)
    assert bucket.take(7.0) == pytest.approx(1.0 / per_s)


@given(RATES, BURSTS, GAPS)
def test_no_more_passes_than_burst_and_rate_allow(per_s: float, burst: int, gaps: list[float]) -> None:
    """In every stretch of time: a caller that waits as required never exceeds burst + rate x stretch."""
    bucket, free, acted = TokenBucket(per_s, burst), 0.0, []
    for asked in moments(gaps):
        now = max(asked, free)
        free = now + bucket.take(now)
        acted.append(free)
    for first, last in itertools.combinations(range(len(acted)), 2):
        assert last - first + 1 <= burst + per_s * (acted[last] - acted[first]) + 1 + 1e-6


@given(RATES, BURSTS, GAPS)
def test_wait_takes_no_token(per_s: float, burst: int, gaps: list[float]) -> None:
    """``wait`` returns what ``take`` would, any number of times."""
    bucket = TokenBucket(per_s, burst)
    for now in moments(gaps):
        told = [bucket.wait(now), bucket.wait(now)]
        assert told == [bucket.take(now)] * 2


@given(RATES, BURSTS, GAPS)
def test_a_rejection_does_not_lengthen_the_wait(per_s: float, burst: int, gaps: list[float]) -> None:
    book = PerAddressLimiter(per_s, burst)
    while not book.take("a", 0.0):
        pass
    wait = book.wait("a", 0.0)
    for part in gaps:
        book.take("a", wait * min(part / 5.0, 0.99))
    assert book.wait("a", wait + 1e-6) == 0.0


def test_a_flood_from_one_address_does_not_limit_another() -> None:
    book = PerAddressLimiter(1.0, 2.0)
    for _ in range(100):
        book.take("bad", 0.0)
    assert book.wait("bad", 0.0) == pytest.approx(1.0)
    assert book.wait("good", 0.0) == book.take("good", 0.0) == 0.0


def test_a_lookup_creates_no_bucket() -> None:
    """Only taking a token costs memory."""
    book = PerAddressLimiter(1.0, 1.0)
    assert book.wait("a", 0.0) == 0.0
    assert len(book) == 0


def test_full_buckets_are_dropped_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket that is not full keeps its state."""
    monkeypatch.setattr(rate_limits, "MAX_ADDRESSES", 10)
    book = PerAddressLimiter(10.0, 60.0)
    for _ in range(60):
        book.take("bad", 0.0)
    for i in range(100):
        book.take(f"a{i}", i / 20)
        assert len(book) <= 10
    assert [book.take("bad", 4.95) for _ in range(50)][-1] > 0.0


def test_memory_is_bounded_even_if_no_bucket_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood from more addresses than are remembered costs neither memory nor a scan for each of them."""
    monkeypatch.setattr(rate_limits, "MAX_ADDRESSES", 1000)
    book, most = PerAddressLimiter(0.001, 1.0), 0
    for i in range(20_000):
        book.take(f"a{i}", 0.0)
        most = max(most, len(book))
    assert most <= 1000
    assert book.wait("a19999", 0.0) > 0.0


@given(st.integers(1, 5), GAPS)
def test_no_window_holds_more_than_the_limit(limit: int, gaps: list[float]) -> None:
    """Exactly: neither burst nor boundary lets one more pass, and what has to wait may pass after that."""
    book, passed = PerAddressWindow(limit, 10.0), []
    for now in moments(gaps):
        wait = book.wait("a", now)
        if not wait:
            book.record("a", now)
            passed.append(now)
        else:
            assert book.wait("a", now + wait + 1e-5) == 0.0
        assert book.wait("b", now) == 0.0
    assert all(later - first >= 10.0 - 1e-5 for first, later in zip(passed, passed[limit:], strict=False))


def test_a_window_without_a_limit_remembers_nobody() -> None:
    book = PerAddressWindow(0, 60.0)
    for _ in range(100):
        book.record("a", 0.0)
    assert (book.wait("a", 0.0), len(book)) == (0.0, 0)


def test_the_memory_of_windows_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MAX_ADDRESSES", 100)
    book, most = PerAddressWindow(1, 60.0), 0
    for i in range(1000):
        book.record(f"a{i}", i * 0.1)
        most = max(most, len(book))
    assert most <= 100
    assert book.wait("a999", 99.9) > 0.0
