"""The limit on open files is a number, and is raised as far as the system allows."""

from __future__ import annotations

import resource
from collections.abc import Callable

import pytest

from chaos import limits as chaos_limits
from resilience import open_files
from resilience.errors import HarnessError
from resilience.server import limits

INFINITY = resource.RLIM_INFINITY
Allow = Callable[..., list[tuple[int, int]]]


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> Allow:
    """Pretend that these are the limits, and that none above ``most`` can be set; returns what is set."""

    def pretend(soft: int, hard: int, most: int = 2**31) -> list[tuple[int, int]]:
        given = [(soft, hard)]

        def set_limit(_: int, pair: tuple[int, int]) -> None:
            if not 0 <= pair[0] <= most:
                raise ValueError("current limit exceeds maximum limit")
            given.append(pair)

        monkeypatch.setattr(resource, "getrlimit", lambda _: given[-1])
        monkeypatch.setattr(resource, "setrlimit", set_limit)
        return given

    return pretend


def test_the_limit_is_raised_as_far_as_it_may(allow: Allow) -> None:
    given = allow(1024, 4096)
    open_files.raise_open_files()
    open_files.raise_open_files()
    assert given[1:] == [(4096, 4096)]


@pytest.mark.parametrize("most, expected", [(2**31, 65_536), (30_000, 24_576), (10_240, 10_240), (4000, 256)])
def test_a_hard_limit_without_a_number_is_raised_to_a_finite_one(allow: Allow, most: int, expected: int) -> None:
    """As macOS has it by default: soft 256, hard unlimited, and a limit of its own for one process."""
    given = allow(256, INFINITY, most)
    open_files.raise_open_files()
    assert given[-1] == (expected, INFINITY)
    assert limits.max_connections_by_open_files() == max(expected - 128, expected // 2)


def test_no_limit_at_all_leaves_room_for_a_finite_crowd(allow: Allow) -> None:
    """Infinity is written as -1: as a number it would leave room for no client."""
    given = allow(INFINITY, INFINITY)
    open_files.raise_open_files()
    assert len(given) == 1
    assert limits.max_connections_by_open_files() == 65_536 - 128


def test_the_laboratory_raises_the_limit_to_its_need(allow: Allow) -> None:
    given = allow(256, INFINITY)
    chaos_limits.raise_open_files(100_000)
    assert given[-1] == (100_000, INFINITY)
    allow(256, 4096)
    with pytest.raises(HarnessError, match="the hard limit here is 4096"):
        chaos_limits.raise_open_files(5000)


def test_a_limit_above_the_usual_one_is_not_lowered(allow: Allow) -> None:
    given = allow(100_000, INFINITY)
    open_files.raise_open_files()
    assert len(given) == 1
