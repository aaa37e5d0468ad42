"""A throttling or slicing proxy changes when bytes leave and in which pieces, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sim.virtual.shaping import BURST_S, Shaping

RATES = st.lists(st.integers(1, 100_000), max_size=2).map(tuple)
SLICES = st.lists(st.tuples(st.integers(1, 64), st.floats(0.0, 0.1)), max_size=2).map(tuple)


@given(RATES, SLICES, st.binary(max_size=3000), st.floats(0.0, 100.0))
def test_bytes_keep_their_order_and_leave_one_after_the_other(
    rates: tuple[int, ...], slices: tuple[tuple[int, float], ...], data: bytes, since: float
) -> None:
    left = list(Shaping(rates, slices).leave(data, since))
    assert b"".join(piece for _, piece in left) == data
    times = [since, *(at for at, _ in left)]
    assert times == sorted(times)


@given(st.integers(1, 100_000), st.binary(min_size=1, max_size=3000))
def test_a_rate_is_kept_by_every_byte_and_used_up(rate: int, data: bytes) -> None:
    """The last byte of each piece leaves when the rate allows for it; pieces are at most a tenth of a second's."""
    passed = 0
    for at, piece in Shaping((rate,)).leave(data, 0.0):
        passed += len(piece)
        assert abs(at - passed / rate) < 1e-9
        assert len(piece) <= max(rate * BURST_S, 1)


@given(st.integers(1, 64), st.floats(0.001, 0.1), st.binary(min_size=1, max_size=3000))
def test_pieces_are_small_but_not_needlessly_so(size: int, pause: float, data: bytes) -> None:
    left = list(Shaping(slices=((size, pause),)).leave(data, 0.0))
    assert max(len(piece) for _, piece in left) <= size
    assert all(2 * len(piece) + 1 >= min(size, len(data)) for _, piece in left)
    assert all(abs(at - i * pause) < 1e-9 * (i + 1) for i, (at, _) in enumerate(left))
