"""Profiles for tests: one process, every number given as it is."""

from __future__ import annotations

from typing import Any

from sim.profiles.mix import NetworkMix, Segment
from sim.profiles.profile import (
    Arrivals,
    GilbertElliott,
    Lognormal,
    NetworkProfile,
    Once,
    OutageProcess,
    Parameter,
    Poisson,
    SharedFate,
    Uniform,
)


def assumed(value: float) -> Parameter:
    return Parameter(value, assumed="for a test")


def poisson(per_hour: float) -> Poisson:
    return Poisson(assumed(per_hour))


def gilbert_elliott(bad: float, burst: float) -> GilbertElliott:
    return GilbertElliott(assumed(bad), assumed(burst))


def once(at: float, step: float = 0.0) -> Once:
    return Once(assumed(at), assumed(step))


def lognormal(median: float, sigma: float, share: float = 1.0) -> Lognormal:
    return Lognormal(assumed(share), assumed(median), assumed(sigma))


def uniform_length(shortest: float, longest: float, share: float = 1.0) -> Uniform:
    return Uniform(assumed(share), assumed(shortest), assumed(longest))


def members(number: int, struck: float = 1.0) -> SharedFate:
    return SharedFate(assumed(struck), members=assumed(number))


def groups(number: int, struck: float = 1.0) -> SharedFate:
    return SharedFate(assumed(struck), groups=assumed(number))


def process(arrivals: Arrivals, *lengths: Lognormal | Uniform, silent: float = 1.0, **others: Any) -> OutageProcess:  # noqa: ANN401
    effect = others.get("effect")
    given = None if effect else assumed(silent)
    return OutageProcess("a test", arrivals, assumed(0.01), assumed(80_000.0), lengths, given, **others)


def profile(name: str = "made", **processes: OutageProcess) -> NetworkProfile:
    return NetworkProfile(name, "A test", processes)


def population(number: int, *profiles: NetworkProfile, name: str = "all") -> NetworkMix:
    return NetworkMix((Segment(name, number, profiles),))
