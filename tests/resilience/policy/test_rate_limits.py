"""Token buckets: never above burst and rate, independent per address, bounded memory."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.policy import rate_limits
from resilience.policy.rate_limits import (
    BYTES_PER_TOKEN,
    MAX_PIECE_BYTES,
    MIN_FRAME_BYTES,
    MIN_PIECE_BYTES,
    TURN_TOKENS,
    InputMeter,
    PerAddressLimiter,
    PerAddressWindow,
    TokenBucket,
)

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


def test_a_window_without_a_limit_remembers_no_address() -> None:
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


# the meter of a connection's input ------------------------------------------------------------------------------------

OVERSHOOT = MIN_PIECE_BYTES // MIN_FRAME_BYTES
"""A piece may hold so many frames more than there were tokens."""


def parse_all(meter: InputMeter, now: float, frame: int, most: int) -> int:
    """Parse frames of ``frame`` bytes, as a driver does, until the meter says stop; returns how many ended."""
    done, given = 0, 0
    while done < most and (size := meter.allowance(now)):
        given += size
        ended = given // frame - done
        meter.charge(ended, size, now)
        done += ended
    return done


@given(RATES, BURSTS, st.integers(MIN_FRAME_BYTES, 200), GAPS)
def test_no_more_frames_are_parsed_than_burst_and_rate_allow(
    per_s: float, burst: int, frame: int, gaps: list[float]
) -> None:
    """However many there are in one read, of whatever size."""
    meter, parsed = InputMeter(TokenBucket(per_s, burst)), 0
    for now in moments(gaps):
        meter.begin_turn()
        parsed += parse_all(meter, now, frame, 10_000)
        assert parsed <= burst + per_s * (now - moments(gaps)[0]) + OVERSHOOT + 1


@given(st.integers(MIN_FRAME_BYTES, 200))
def test_a_turn_ends_even_without_a_limit(frame: int) -> None:
    """So no single peer holds the loop; after the turn it continues at once."""
    meter = InputMeter(TokenBucket(0.0, 1.0))
    for _ in range(3):
        assert TURN_TOKENS <= parse_all(meter, 0.0, frame, 10_000) <= TURN_TOKENS + MAX_PIECE_BYTES // frame
        assert (meter.allowance(0.0), meter.wait(0.0)) == (0, 0.0)
        meter.begin_turn()


def test_bytes_cost_tokens_too() -> None:
    """A frame that never ends is no way around the limit."""
    meter, parsed = InputMeter(TokenBucket(1.0, 3.0)), 0
    while size := meter.allowance(0.0):
        meter.charge(0, size, 0.0)
        parsed += size
    assert 2 * BYTES_PER_TOKEN <= parsed <= 3 * BYTES_PER_TOKEN
    assert meter.wait(0.0) > 0.0


def test_connections_of_one_address_share_its_tokens() -> None:
    address = TokenBucket(1.0, 10.0)
    first, second = (InputMeter(TokenBucket(100.0, 100.0), address) for _ in range(2))
    other = InputMeter(TokenBucket(100.0, 100.0), TokenBucket(1.0, 10.0))
    first.charge(10, 0, 0.0)
    assert second.allowance(0.0) == 0
    assert second.wait(0.0) == pytest.approx(1.0)
    assert other.allowance(0.0) > 0


def test_a_usual_message_is_parsed_in_one_piece() -> None:
    """The meter costs nothing where no peer sends too much."""
    assert InputMeter(TokenBucket(50.0, 200.0)).allowance(0.0) >= 300


def test_the_first_piece_may_be_longer_than_the_tokens_allow_and_is_charged() -> None:
    meter = InputMeter(TokenBucket(10.0, 20.0), first=2048)
    assert meter.allowance(0.0) == 2048
    meter.charge(20, 700, 0.0)
    assert meter.allowance(0.0) == 0, "what came in the first piece costs as much as in any other"
    assert meter.wait(0.0) > 0
    assert meter.allowance(3.0) == 20 * MIN_FRAME_BYTES


def test_a_message_is_no_first_piece() -> None:
    """The model lane has no heads: the handshake is over before the first byte is metered."""
    meter = InputMeter(TokenBucket(10.0, 20.0), first=2048)
    meter.share(TokenBucket(1.0, 4.0))
    assert meter.allowance(0.0) == MIN_PIECE_BYTES
