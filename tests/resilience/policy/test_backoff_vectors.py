"""The shared policy vectors (C5): checked against arithmetic that owes the production code nothing, then against it.

The format is told in ``tests/vectors/README.md``. Any client, in any language, must agree on each number.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from resilience.policy.backoff import CLASSIC, WINDOW, BackoffPolicy, Jitter, Preset, RetryState
from resilience.policy.close_codes import CloseCode, retry_class
from resilience.policy.failure_detectors import ClientFailureDetector, ProbeTimeouts
from resilience.policy.return_window import ReturnWindow, return_window

FOLDER = Path(__file__).parents[2] / "vectors"
VECTORS: list[dict[str, Any]] = json.loads((FOLDER / "backoff.json").read_text())
NAMES = [vector["name"] for vector in VECTORS]
Json = dict[str, Any]


def by_hand(policy: Json, steps: list[Json]) -> list[float | None]:
    """What each step must yield, from the README in plain arithmetic; shares nothing with ``resilience``."""
    attempt, previous, since, expected = 0, None, 0.0, list[float | None]()
    for step in steps:
        if step.get("up_for", 0.0) >= policy["stable_after"]:
            attempt, previous, since = 0, None, step["elapsed"]
        since += step.get("asleep", 0.0)
        elapsed = step["elapsed"] - since
        late = policy["budget"] is not None and elapsed >= policy["budget"]
        if step["advice"] is not None and step["advice"] >= 0:
            expected.append(None if late else min(max(step["advice"], 0.05), 600.0))
            continue
        if late or (policy["attempts"] is not None and attempt >= policy["attempts"]):
            expected.append(None)
            continue
        attempt += 1
        previous = one_by_hand(policy, {**step, "elapsed": elapsed}, attempt, previous)
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
    backoff = RetryState(msgspec.convert(vector["policy"], BackoffPolicy))
    backoff.lost(1000.0)
    for number, step in enumerate(vector["steps"]):
        now = 1000.0 + step["elapsed"]
        if "up_for" in step:
            backoff.restored(now - step["up_for"])
            backoff.lost(now)
        backoff.exclude_sleep(step.get("asleep", 0.0))
        window = msgspec.convert(step["window"], ReturnWindow | None)
        retry = backoff.next(now, step["u"], window, step["advice"])
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


def test_every_kind_of_decision_is_among_them() -> None:
    """Both presets with each jitter, both budgets, good and absurd advice, short and stable sessions, sleep."""
    steps = [step for vector in VECTORS for step in vector["steps"]]
    ladders = {(vector["policy"]["preset"], vector["policy"]["ladder"]["jitter"]) for vector in VECTORS}
    assert ladders == set(itertools.product(Preset, Jitter))
    assert {True, False} == {vector["policy"]["budget"] is None for vector in VECTORS}
    assert {True, False} == {vector["policy"]["attempts"] is None for vector in VECTORS}
    assert {step["advice"] for step in steps} > {None, 0.0, -5.0, 1e9, 7.5}
    assert {step.get("up_for", -1.0) >= 5.0 for step in steps if "up_for" in step} == {True, False}
    assert any("asleep" in step for step in steps)
    assert any(step["window"] is None and step["expect_delay"] for step in steps)


CODES: list[Json] = json.loads((FOLDER / "close_codes.json").read_text())


@pytest.mark.parametrize("vector", CODES, ids=lambda vector: str(vector["code"]))
def test_close_codes_have_the_class_in_the_file(vector: Json) -> None:
    """What a client does after each of them."""
    assert retry_class(vector["code"]).value == vector["class"]


def test_every_close_code_of_ours_is_in_the_file() -> None:
    """And the edges of the three private ranges."""
    assert {vector["code"] for vector in CODES} >= {*CloseCode, 4099, 4100, 4199, 4200, 4299, 4300}


LIVENESS: list[Json] = json.loads((FOLDER / "liveness.json").read_text())


@pytest.mark.parametrize("vector", LIVENESS, ids=lambda vector: vector["name"])
def test_the_failure_detector_agrees_step_by_step(vector: Json) -> None:
    """What is due, and when to look again."""
    liveness = ClientFailureDetector(msgspec.convert(vector["rules"], ProbeTimeouts), 0.0)
    for step in vector["steps"]:
        assert told(liveness, step) == step.get("expect"), step
        assert liveness.next_deadline() == step["next"], step


def told(liveness: ClientFailureDetector, step: Json) -> str | None:
    """Carry out a step; what it says is due, if it says something."""
    now, event = step["at"], step["event"]
    if event == "answered":
        liveness.answered(now, owing=step["owing"])
    elif event in ("heard", "asked"):
        getattr(liveness, event)(now)
    else:
        return (liveness.due(now) if event == "timer" else liveness.suspect(now)).value
    return None
