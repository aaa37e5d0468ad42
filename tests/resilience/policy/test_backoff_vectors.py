"""The shared policy vectors (C5): checked against arithmetic that owes the production code nothing, then against it.

``tests/vectors/backoff.json`` is a list of incidents. Each has a ``policy`` and ``steps`` that follow one another:
``elapsed`` seconds after the loss, with the uniform number ``u``, the announced ``window`` (none: never heard from a
server) and the server's ``advice`` (none: no advice), the policy waits ``expect_delay`` seconds, or gives up (null).
Any client, in any language, must agree on each number.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from resilience.policy.backoff import CLASSIC, WINDOW, Backoff, BackoffPolicy
from resilience.policy.window import ReturnWindow, return_window

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "vectors" / "backoff.json").read_text())
NAMES = [vector["name"] for vector in VECTORS]
Json = dict[str, Any]


def by_hand(policy: Json, steps: list[Json]) -> list[float | None]:
    """What each step must yield, written down from SPEC C2 in plain arithmetic; shares nothing with ``resilience``.

    Attempts count 1, 2, 3 ... over the steps without advice. A step without advice gives up when its attempt is above
    ``attempts`` or its time has reached ``budget``; a step with advice gives up only on time. ``classic``: the nominal
    delay of attempt n is initial * multiplier^(n-1), at most maximum. ``window``: attempt 1 waits u * spread; until
    ``window_until`` attempt n has the nominal delay step * window_multiplier^(n-2), at most cap; afterwards maximum.
    Jitter turns a nominal delay d into d, d/2 + u d/2, u d, or (decorrelated) initial + u (3 previous - initial), at
    most the cap, where previous is the delay waited before, at first initial.
    """
    attempt, previous, expected = 0, None, list[float | None]()
    for step in steps:
        late = policy["budget"] is not None and step["elapsed"] >= policy["budget"]
        if step["advice"] is not None:
            expected.append(None if late else step["advice"])
            continue
        if late or (policy["attempts"] is not None and attempt >= policy["attempts"]):
            expected.append(None)
            continue
        attempt += 1
        previous = one_by_hand(policy, step, attempt, previous)
        expected.append(previous)
    return expected


def one_by_hand(policy: Json, step: Json, attempt: int, previous: float | None) -> float:
    """The delay of one attempt; see :func:`by_hand`."""
    ladder, u = policy["ladder"], step["u"]
    window = step["window"] or {"spread_s": 1.0, "step_s": 0.3, "cap_s": 3.0}
    if policy["preset"] == "window" and attempt == 1:
        return float(u * window["spread_s"])
    foot, cap, factor, rung = ladder["initial"], ladder["maximum"], ladder["multiplier"], attempt - 1
    if policy["preset"] == "window" and step["elapsed"] < policy["window_until"]:
        foot, cap, factor, rung = window["step_s"], window["cap_s"], policy["window_multiplier"], attempt - 2
    nominal = foot
    for _ in range(rung):
        nominal = min(nominal * factor, cap)
    if policy["preset"] == "window" and step["elapsed"] >= policy["window_until"]:
        nominal = cap
    if ladder["jitter"] == "decorrelated":
        before = foot if previous is None else previous
        return float(min(cap, foot + u * max(3 * before - foot, 0.0)))
    spread = {"none": (1.0, 0.0), "equal": (0.5, 0.5), "full": (0.0, 1.0)}[ladder["jitter"]]
    return float(nominal * (spread[0] + u * spread[1]))


def close_to(expected: float | None) -> object:
    """The number but for the last bits of a float; no delay is equal to no delay only."""
    return None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_the_file_says_what_the_arithmetic_says(vector: Json) -> None:
    """No number in the file was copied from the code that it judges."""
    for step, expected in zip(vector["steps"], by_hand(vector["policy"], vector["steps"]), strict=True):
        assert step["expect_delay"] == close_to(expected), step


@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_python_agrees_number_by_number(vector: Json) -> None:
    """The production policy, driven through the same incident, waits as long."""
    backoff = Backoff(msgspec.convert(vector["policy"], BackoffPolicy))
    backoff.lost(1000.0)
    for number, step in enumerate(vector["steps"]):
        window = msgspec.convert(step["window"], ReturnWindow | None)
        retry = backoff.next(1000.0 + step["elapsed"], step["u"], window, step["advice"])
        assert (retry.delay if retry else None) == close_to(step["expect_delay"]), f"step {number}"


def test_the_contracts_ladder_is_among_them() -> None:
    """The file pins 1, 2, 4, 8, 16, 30 ... and the end after ten, as literals."""
    (classic,) = [vector for vector in VECTORS if vector["name"] == "classic, no jitter"]
    assert [step["expect_delay"] for step in classic["steps"]] == [1, 2, 4, 8, 16, 30, 30, 30, 30, 30, None]


def test_the_presets_in_the_file_are_the_products() -> None:
    """The vectors judge the presets as they ship, not a policy of their own."""
    policies = [msgspec.convert(vector["policy"], BackoffPolicy) for vector in VECTORS]
    assert CLASSIC in policies
    assert WINDOW in policies


def test_the_windows_in_the_file_are_announced_ones() -> None:
    """The three crowds of the file get the windows that a server would announce to them."""
    announced = {vector["crowd"]: vector["steps"][0]["window"] for vector in VECTORS if "crowd" in vector}
    for crowd, window in announced.items():
        population, capacity = (float(part) for part in crowd.split(" at "))
        assert msgspec.to_builtins(return_window(int(population), capacity)) == pytest.approx(window)
    assert len(announced) == 3
