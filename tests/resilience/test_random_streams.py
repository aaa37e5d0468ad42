"""Addressed randomness."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.random_streams import derive_key, hash64, random_for, uniform

WORDS = st.lists(
    st.integers(-(2**64), 2**64) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=5
)


def test_golden_values() -> None:
    """Every seeded run in every lane depends on these: a change of the mixer must not go unnoticed."""
    assert hash64("") == 0xCBF29CE484222325
    assert hash64("a") == 0xAF63DC4C8601EC8C  # FNV-1a's published value
    assert derive_key(0) == 0xE220A8397B1DCDAF  # splitmix64's published first output for seed 0
    drawn = (derive_key(1, "backoff", 2, 3), uniform(1, "q", 1), random_for(7, "c1")("backoff", 1, 1))
    assert drawn == GOLDEN


GOLDEN = (0x804E3E7AEF033022, 0.05928111518072554, 0.1480151872159513)


@given(st.integers(), WORDS)
def test_a_draw_is_a_function_of_its_address(seed: int, words: list[int | str]) -> None:
    """The same address gives the same number in [0, 1)."""
    assert 0.0 <= uniform(seed, *words) < 1.0
    assert uniform(seed, *words) == uniform(seed, *words)


@pytest.mark.parametrize(
    "other",
    [(2, "a", 1, 1), (1, "b", 1, 1), (1, "a", 2, 1), (1, "a", 1, 2), (1, "a", 1), (1, "a", 1, 1, 0), (1, 1, "a", 1)],
)
def test_another_address_is_another_number(other: tuple[int, int | str]) -> None:
    """Every word counts, and so does their order."""
    assert derive_key(other[0], *other[1:]) != derive_key(1, "a", 1, 1)


def chi_square(numbers: list[float], bins: int = 20) -> float:
    """Pearson's statistic against the uniform distribution."""
    counts = [0] * bins
    for number in numbers:
        counts[int(number * bins)] += 1
    expected = len(numbers) / bins
    return sum((count - expected) ** 2 / expected for count in counts)


@pytest.mark.parametrize("axis", ["participant", "incident", "attempt", "seed", "purpose"])
def test_draws_are_uniform_along_every_axis(axis: str) -> None:
    """Coarsely: 19 degrees of freedom stay below 43.8, which chance passes once in a thousand."""
    at: Callable[[int], float] = {
        "participant": lambda i: random_for(1, f"c{i}")("backoff", 1, 1),
        "incident": lambda i: random_for(1, "c")("backoff", i, 1),
        "attempt": lambda i: random_for(1, "c")("backoff", 1, i),
        "seed": lambda i: random_for(i, "c")("backoff", 1, 1),
        "purpose": lambda i: random_for(1, "c")(f"purpose {i}", 1, 1),
    }[axis]
    assert chi_square([at(i) for i in range(4000)]) < 43.8


def test_a_lopsided_source_would_be_noticed() -> None:
    """The statistic can fail: numbers squared are not uniform."""
    assert chi_square([uniform(1, i) ** 2 for i in range(4000)]) > 43.8


@pytest.mark.parametrize(
    "one, other",
    [
        ((1, "backoff", 1), (1, "backoff", 2)),
        ((1, "backoff", 1), (2, "backoff", 1)),
        ((1, "backoff", 1), (1, "moment", 1)),
    ],
)
def test_neighbouring_addresses_are_independent(one: tuple[int, str, int], other: tuple[int, str, int]) -> None:
    """Their correlation over 4,000 participants is that of chance: below 0.06."""
    pairs = [(uniform(*one, f"c{i}"), uniform(*other, f"c{i}")) for i in range(4000)]
    covariance = sum((a - 0.5) * (b - 0.5) for a, b in pairs) / len(pairs)
    assert abs(covariance * 12) < 0.06


def test_adding_participants_moves_nobodys_draws() -> None:
    """A crowd of ten draws the same numbers inside a crowd of a thousand, in any order."""

    def crowd(size: int) -> dict[str, float]:
        names = [f"c{i}" for i in range(size)]
        return {name: random_for(1, name)("backoff", 1, 1) for name in reversed(names)}

    small, large = crowd(10), crowd(1000)
    assert small == {name: large[name] for name in small}


def test_replications_are_apart() -> None:
    """The same participant in another replication draws other numbers."""
    assert len({random_for(1, "c", replication)("backoff", 1, 1) for replication in range(100)}) == 100
