"""Points of grids and samples, and what a user may mistype."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.errors import UsageError
from sim.planning.design import POINTS_EACH, Method, make_design, parse_factor, plain_value
from tests.support.extras import require_extra


def test_a_grid_has_every_combination_in_order() -> None:
    factors = (parse_factor("a=1,2"), parse_factor("b='x,y',[1,2]"))
    assert make_design(factors, Method.GRID, 0, 1).points == (
        (("a", "1"), ("b", "'x,y'")),
        (("a", "1"), ("b", "[1,2]")),
        (("a", "2"), ("b", "'x,y'")),
        (("a", "2"), ("b", "[1,2]")),
    )


def test_without_factors_there_is_one_point() -> None:
    assert make_design((), Method.GRID, 0, 1).points == ((),)


@given(st.floats(0, 1), st.integers(-5, 5), st.integers(1, 9))
def test_whole_ranges_have_whole_values_within_the_range(share: float, low: int, width: int) -> None:
    factor = parse_factor(f"a={low}..{low + width}")
    value = plain_value(factor.text(share))
    assert isinstance(value, int)
    assert low <= value <= low + width


def test_a_broken_range_keeps_its_ends() -> None:
    factor = parse_factor("a=0.5..2")
    assert [plain_value(factor.text(share)) for share in (0.0, 1.0)] == [0.5, 2.0]


@pytest.mark.parametrize("method, points", [(Method.LATIN, 8), (Method.SOBOL, 8 * 4), (Method.MORRIS, 8 * 3)])
def test_samples_are_the_same_for_the_same_seed(method: Method, points: int) -> None:
    require_extra("planning")
    factors = (parse_factor("a=0..1.5"), parse_factor("b=1..9"))
    design = make_design(factors, method, 8, 3)
    assert len(design.points) == points
    assert design == make_design(factors, method, 8, 3)
    assert design != make_design(factors, method, 8, 4)


@pytest.mark.parametrize(
    "text, said",
    [
        ("a", "must be KEY=A,B,C or KEY=LOW..HIGH"),
        ("=1", "must be KEY=A,B,C or KEY=LOW..HIGH"),
        ("a=1,,2", "a value between two commas is missing"),
        ("a=1,1", "a value is there twice"),
        ("a=2..1", "must begin below its end"),
        ("a=x..1", "x must be a number"),
        ("a=..1", "an end must be a number"),
        ("a=nan..1", "nan must be a number"),
    ],
)
def test_a_mistyped_factor_is_one_line(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_factor(text)


@pytest.mark.parametrize(
    "factors, method, said",
    [
        (("a=1", "a=2"), Method.GRID, "the key is there twice"),
        (("a=1..2",), Method.GRID, "add --sample latin N"),
        (("a=1,2",), Method.SOBOL, "needs a range"),
        ((), Method.LATIN, "needs a --vary"),
        (tuple(f"x{i}={','.join(map(str, range(100)))}" for i in range(3)), Method.GRID, "1,000,000 points, above"),
    ],
)
def test_factors_that_a_method_cannot_take_are_refused(factors: tuple[str, ...], method: Method, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_design(tuple(map(parse_factor, factors)), method, 4, 1)


@pytest.mark.parametrize("method", [Method.LATIN, Method.SOBOL, Method.MORRIS])
def test_a_sample_that_is_too_large_is_refused_before_it_is_drawn(method: Method) -> None:
    with pytest.raises(UsageError, match="points, above 100,000; take fewer"):
        make_design((parse_factor("a=0..1"),), method, 200_000, 1)


@pytest.mark.parametrize("method, size", [(Method.LATIN, 5), (Method.SOBOL, 4), (Method.MORRIS, 3)])
def test_the_points_of_a_sample_are_counted_beforehand(method: Method, size: int) -> None:
    require_extra("planning")
    design = make_design(tuple(map(parse_factor, ("a=0..1", "b=0..1"))), method, size, 1)
    assert len(design.points) == size * POINTS_EACH[method](2)


def test_sobol_wants_a_power_of_two() -> None:
    require_extra("planning")
    with pytest.raises(UsageError, match="must be a power of two, such as 8"):
        make_design((parse_factor("a=0..1"),), Method.SOBOL, 6, 1)
