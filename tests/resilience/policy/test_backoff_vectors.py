"""The shared policy vectors (C5): compared with independent arithmetic first, then with the product.

``tests/vectors/README.md`` defines the format. Any client, in any language, must agree on each number.
"""

from __future__ import annotations

import itertools
import json
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
import pytest

from resilience.policy.backoff import CLASSIC, WINDOW, BackoffPolicy, Jitter, Preset, RetryState
from resilience.policy.close_codes import CloseCode, retry_class, retry_class_of_status
from resilience.policy.failure_detectors import ClientFailureDetector, ProbeTimeouts
from resilience.policy.return_window import ReturnWindow, return_window

FOLDER = Path(__file__).parents[2] / "vectors"
VECTORS: list[dict[str, Any]] = json.loads((FOLDER / "backoff.json").read_text())
NAMES = [vector["name"] for vector in VECTORS]
Json = dict[str, Any]


def by_hand(policy: Json, steps: list[Json]) -> list[float | None]:
    """The result of each step by plain arithmetic from the README; shares no code with ``resilience``."""
    attempt, previous, since, free, expected = 0, None, 0.0, None, list[float | None]()
    for step in steps:
        if step.get("up_for", 0.0) >= policy["stable_after"]:
            attempt, previous, since, free = 0, None, step["elapsed"], None
        since += step.get("asleep", 0.0)
        if free is not None:
            free = (free[0], min(free[1], step["elapsed"]))
        elapsed = step["elapsed"] - since - (free[1] - free[0] if free else 0.0)
        is_advised = step["advice"] is not None and step["advice"] >= 0
        advice = min(max(step["advice"], 0.05), 600.0) if is_advised else 0.0
        late = policy["budget"] is not None and elapsed >= policy["budget"]
        if is_advised and free is None and not late:
            free = (step["elapsed"], step["elapsed"] + advice)
            expected.append(advice)
            continue
        if late or (policy["attempts"] is not None and attempt >= policy["attempts"]):
            expected.append(None)
            continue
        attempt += 1
        previous = one_by_hand(policy, {**step, "elapsed": elapsed}, attempt, previous)
        expected.append(max(previous, advice))
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
    """Equal up to the last bits of a float; no delay equals only no delay."""
    return None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_the_file_agrees_with_independent_arithmetic(vector: Json) -> None:
    for step, expected in zip(vector["steps"], by_hand(vector["policy"], vector["steps"]), strict=True):
        assert step["expect_delay"] == close_to(expected), step


@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_the_product_agrees_with_the_file(vector: Json) -> None:
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


def test_the_file_has_the_contracts_ladder_as_literals() -> None:
    (classic,) = [vector for vector in VECTORS if vector["name"] == "classic, no jitter"]
    assert [step["expect_delay"] for step in classic["steps"]] == [1, 2, 4, 8, 16, 30, 30, 30, 30, 30, None]


def test_the_file_has_the_presets_of_the_product() -> None:
    policies = [msgspec.convert(vector["policy"], BackoffPolicy) for vector in VECTORS]
    assert CLASSIC in policies
    assert WINDOW in policies


def test_the_file_has_windows_that_a_server_announces() -> None:
    announced = {vector["crowd"]: vector["steps"][0]["window"] for vector in VECTORS if "crowd" in vector}
    for crowd, window in announced.items():
        population, capacity = (float(part) for part in crowd.split(" at "))
        assert msgspec.to_builtins(return_window(int(population), capacity)) == pytest.approx(window)
    assert len(announced) == 3


def test_the_file_has_every_kind_of_decision() -> None:
    """Both presets with each jitter, both budgets, valid and invalid advice, short and stable sessions, sleep."""
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
    assert retry_class(vector["code"]).value == vector["class"]


def test_every_close_code_is_in_the_file() -> None:
    """The edges of the three private ranges too."""
    assert {vector["code"] for vector in CODES} >= {*CloseCode, 4099, 4100, 4199, 4200, 4299, 4300}


STATUSES: list[Json] = json.loads((FOLDER / "handshake_statuses.json").read_text())


@pytest.mark.parametrize("vector", STATUSES, ids=lambda vector: str(vector["status"]))
def test_handshake_statuses_have_the_class_in_the_file(vector: Json) -> None:
    assert retry_class_of_status(vector["status"]).value == vector["class"]


def test_every_known_status_is_in_the_file() -> None:
    """Those that a handshake can be answered with, and the edges of the class of client errors."""
    known = {status.value for status in HTTPStatus if status >= HTTPStatus.OK}
    assert {vector["status"] for vector in STATUSES} >= {*known, 399, 400, 499, 500, 599}


LIVENESS: list[Json] = json.loads((FOLDER / "liveness.json").read_text())


@pytest.mark.parametrize("vector", LIVENESS, ids=lambda vector: vector["name"])
def test_the_failure_detector_agrees_step_by_step(vector: Json) -> None:
    """The action and the next deadline."""
    liveness = ClientFailureDetector(msgspec.convert(vector["rules"], ProbeTimeouts), 0.0)
    for step in vector["steps"]:
        assert told(liveness, step) == step.get("expect"), step
        assert liveness.next_deadline() == step["next"], step


def told(liveness: ClientFailureDetector, step: Json) -> str | None:
    """Carry out a step; returns its action, if it has one."""
    now, event = step["at"], step["event"]
    if event == "answered":
        liveness.answered(now, owing=step["owing"])
    elif event in ("heard", "asked"):
        getattr(liveness, event)(now)
    else:
        return (liveness.due(now) if event == "timer" else liveness.suspect(now)).value
    return None
