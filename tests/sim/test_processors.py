"""Shared processors: their times by hand, and the mean of a queue in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sim.processors import SharedProcessors


def _all_ends(processors: SharedProcessors[str]) -> dict[str, float]:
    """When each piece of work ends if none is added."""
    ends = {}
    while (end := processors.next_end) < math.inf:
        ends[processors.finish()] = end
    return ends


@pytest.mark.parametrize(
    "count, wanted",
    [(0, 1.0), (3, 1.0), (2, 1.5), (1, 3.0)],
    ids=["one each", "enough", "two for three", "one for three"],
)
def test_threads_that_work_at_once_progress_alike(count: int, wanted: float) -> None:
    processors: SharedProcessors[str] = SharedProcessors(count, threads=3)
    for thread, name in enumerate("abc"):
        processors.add(thread, name, 1.0, 0.0)
    assert _all_ends(processors) == pytest.approx(dict.fromkeys("abc", wanted))


def test_a_thread_does_one_piece_of_work_after_another() -> None:
    processors: SharedProcessors[str] = SharedProcessors(1, threads=1)
    processors.add(0, "first", 2.0, 1.0)
    processors.add(0, "second", 0.5, 1.5)
    assert _all_ends(processors) == pytest.approx({"first": 3.0, "second": 3.5})


def test_a_thread_that_joins_later_slows_the_others_down_from_then_on() -> None:
    """By hand: a has done 2 of 3 s when b comes, and needs 2 s for the rest; b has then done 1 of 2 s."""
    processors: SharedProcessors[str] = SharedProcessors(1, threads=2)
    processors.add(0, "a", 3.0, 0.0)
    processors.add(1, "b", 2.0, 2.0)
    assert _all_ends(processors) == pytest.approx({"a": 4.0, "b": 5.0})


def test_a_thread_that_drops_its_work_leaves_the_processors_to_the_others() -> None:
    processors: SharedProcessors[str] = SharedProcessors(1, threads=2)
    for thread, name in enumerate("ab"):
        processors.add(thread, name, 2.0, 0.0)
    processors.clear(0, 1.0)
    assert _all_ends(processors) == pytest.approx({"b": 2.5})


def test_what_is_to_be_done_later_waits_for_all_else() -> None:
    processors: SharedProcessors[str] = SharedProcessors(1, threads=1)
    processors.add(0, "now", 1.0, 0.0)
    processors.add(0, "later", 1.0, 0.0, later=True)
    processors.add(0, "next", 1.0, 0.5)
    assert list(_all_ends(processors)) == ["now", "next", "later"]


def test_a_held_thread_stands_still_and_then_continues() -> None:
    """By hand: a does half of its 2 s, waits for 4 s, in which b has the processor for itself, and does the rest."""
    processors: SharedProcessors[str] = SharedProcessors(1, threads=2)
    processors.add(0, "a", 2.0, 0.0)
    processors.hold(0, 1.0)
    processors.add(1, "b", 1.0, 2.0)
    processors.add(0, "c", 0.5, 2.5)
    assert processors.next_end == pytest.approx(3.0)
    assert processors.finish() == "b"
    processors.release(0, 5.0)
    assert _all_ends(processors) == pytest.approx({"a": 6.0, "c": 6.5})


def test_the_mean_time_of_a_shared_processor_is_that_of_its_closed_form() -> None:
    """M/D/1 with processor sharing: the mean is the work divided by 1 - load, whatever the distribution of the work."""
    chance, load, count = np.random.default_rng(3), 0.6, 20_000
    begins = np.cumsum(chance.exponential(1 / load, count))
    processors: SharedProcessors[int] = SharedProcessors(1, threads=count)
    spent = []
    for number, begin in enumerate(begins.tolist()):
        while processors.next_end <= begin:
            end = processors.next_end
            spent.append(end - begins[processors.finish()])
        processors.add(number, number, 1.0, begin)
    assert np.mean(spent) == pytest.approx(1 / (1 - load), rel=0.05)
