"""Which points of a sweep there are: grids, and samples by Latin hypercube, Sobol and Morris (SALib). Pure.

A point is a setting for every factor, as the text of a TOML value, so that any key of ``--set`` can be varied.
"""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Callable, Mapping
from enum import StrEnum

import msgspec
import numpy as np

from resilience.errors import UsageError

MOST_POINTS = 100_000
MORRIS_LEVELS = 4

Settings = tuple[tuple[str, str], ...]
"""Pairs of a dotted key and a TOML value."""


class Method(StrEnum):
    """How the points are chosen. All but ``GRID`` need ranges instead of lists."""

    GRID = "grid"
    LATIN = "latin"
    SOBOL = "sobol"
    MORRIS = "morris"


POINTS_EACH: Mapping[Method, Callable[[int], int]] = {
    Method.LATIN: lambda _: 1,
    Method.SOBOL: lambda factors: factors + 2,
    Method.MORRIS: lambda factors: factors + 1,
}
"""How many points a sample of size 1 has of so many factors."""


class Factor(msgspec.Struct, frozen=True):
    """A setting that is varied: over ``values`` (TOML texts), or from ``low`` to ``high``, both included.

    Of a range whose ends are both whole numbers, only whole numbers are taken.
    """

    key: str
    values: tuple[str, ...] = ()
    low: float = math.nan
    high: float = math.nan
    whole: bool = False

    def text(self, share: float) -> str:
        """The value at this share of the range, 0 to 1, as TOML: whole numbers have equal shares."""
        if self.whole:
            return str(min(int(self.low + share * (self.high - self.low + 1)), int(self.high)))
        return repr(self.low + share * (self.high - self.low))


class Design(msgspec.Struct, frozen=True):
    """The points of a sweep in order, each with one value for each factor.

    ``size``: what the user asked of a sample: points of a hypercube, base samples (Sobol), trajectories (Morris).
    """

    factors: tuple[Factor, ...]
    method: Method
    size: int
    points: tuple[Settings, ...]


def parse_factor(text: str, option: str = "--vary") -> Factor:
    """``key=a,b,c`` or ``key=low..high``; raises :class:`~resilience.errors.UsageError` otherwise."""
    key, equals, rest = text.partition("=")
    if not (equals and key and rest):
        raise UsageError(f"{option} {text}: must be KEY=A,B,C or KEY=LOW..HIGH, such as server.join_capacity=1000,3000")
    low, dots, high = rest.partition("..")
    if not dots:
        return Factor(key, _different(f"{option} {text}", _split(rest)))
    ends = [_number(f"{option} {text}", each) for each in (low, high)]
    if not ends[0] < ends[1]:
        raise UsageError(f"{option} {text}: a range must begin below its end")
    return Factor(key, (), float(ends[0]), float(ends[1]), all(isinstance(end, int) for end in ends))


def make_design(factors: tuple[Factor, ...], method: Method, size: int, seed: int) -> Design:
    """The points of these factors. Raises :class:`~resilience.errors.UsageError` for factors the method cannot take."""
    keys = [factor.key for factor in factors]
    if repeated := [key for key in keys if keys.count(key) > 1]:
        raise UsageError(f"--vary {repeated[0]}: the key is there twice; list all its values at once")
    if method is Method.GRID:
        return Design(factors, method, 0, _grid(factors))
    if not factors:
        raise UsageError(f"--sample {method}: needs a --vary KEY=LOW..HIGH for each setting to sample")
    for factor in factors:
        if factor.values:
            raise UsageError(f"--vary {factor.key}: --sample {method} needs a range: {factor.key}=LOW..HIGH")
    points = size * POINTS_EACH[method](len(factors))
    if points > MOST_POINTS:
        raise UsageError(f"--sample {method} {size}: makes {points:,} points, above {MOST_POINTS:,}; take fewer")
    shares = _shares(method, len(factors), size, seed)
    rows = [tuple((f.key, f.text(float(x))) for f, x in zip(factors, row, strict=True)) for row in shares]
    return Design(factors, method, size, tuple(rows))


def _grid(factors: tuple[Factor, ...]) -> tuple[Settings, ...]:
    for factor in factors:
        if not factor.values:
            raise UsageError(f"--vary {factor.key}: a grid needs a list of values; add --sample latin N for a range")
    points = math.prod(len(factor.values) for factor in factors)
    if points > MOST_POINTS:
        raise UsageError(f"the grid has {points:,} points, above {MOST_POINTS:,}; vary fewer settings, or sample them")
    keys = [factor.key for factor in factors]
    return tuple(
        tuple(zip(keys, values, strict=True)) for values in itertools.product(*(factor.values for factor in factors))
    )


def _shares(method: Method, factors: int, size: int, seed: int) -> np.ndarray:
    """The sample in the unit cube: float64 of shape (points, factors)."""
    from SALib.sample import latin, morris, sobol  # noqa: PLC0415 - an extra that a grid does not need

    problem = unit_problem(factors)
    if method is Method.LATIN:
        return np.asarray(latin.sample(problem, size, seed=seed))
    if method is Method.MORRIS:
        return np.asarray(morris.sample(problem, size, num_levels=MORRIS_LEVELS, seed=seed))
    if size & (size - 1):
        raise UsageError(f"--sample sobol {size}: must be a power of two, such as {1 << size.bit_length()}")
    return np.asarray(sobol.sample(problem, size, calc_second_order=False, scramble=True, seed=seed))


def unit_problem(factors: int, names: tuple[str, ...] = ()) -> dict[str, object]:
    """SALib's description of so many factors from 0 to 1."""
    return {
        "num_vars": factors,
        "names": list(names) or [f"x{i}" for i in range(factors)],
        "bounds": [[0, 1]] * factors,
    }


def _split(text: str) -> tuple[str, ...]:
    """Values between commas; commas within quotes, brackets and braces belong to a value."""
    values, depth, quote, begin = [], 0, "", 0
    for i, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "," and not depth:
            values.append(text[begin:i])
            begin = i + 1
    return tuple(value.strip() for value in (*values, text[begin:]))


def _different(text: str, values: tuple[str, ...]) -> tuple[str, ...]:
    if not all(values):
        raise UsageError(f"{text}: a value between two commas is missing")
    if len(set(values)) < len(values):
        raise UsageError(f"{text}: a value is there twice")
    return values


def _number(text: str, end: str) -> int | float:
    try:
        value = tomllib.loads(f"value = {end.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{text}: {end.strip() or 'an end'} must be a number")
    return value


def plain_value(text: str) -> object:
    """The value of a TOML text; the text itself where it is none, as ``--set`` takes it."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return text if isinstance(value, list | dict) else value
