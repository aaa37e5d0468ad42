"""A stored log with results computed by hand, and the shape of the summary that other tools read."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from scipy import stats as scipy_stats

from reports.build import analyse
from reports.render import to_json
from reports.summary import Outcomes, Summary

SMALL = Path(__file__).parent.parent / "golden" / "small"


@pytest.fixture(scope="module", name="summary")
def _summary() -> Summary:
    return analyse(SMALL)[2]


def test_outcomes(summary: Summary) -> None:
    """Two cohort-wide faults on four clients: five affected episodes, three of them restored."""
    rate = summary.success_rate
    assert rate.outcomes == Outcomes(restored=3, gave_up=1, identity_lost=1, not_exposed=3)
    assert (rate.restored, rate.affected, rate.value, rate.events) == (3, 5, 0.6, 2)


def test_interval(summary: Summary) -> None:
    """Windows of 3 and 2 of two kinds: design effect 1 + 1.6 x 0.05 = 1.08, but worth no less than one window of 5."""
    rate = summary.success_rate
    assert rate.design_effect == pytest.approx(1.08)
    assert rate.effective_n == pytest.approx(5 / 1.2)
    low = scipy_stats.beta.ppf(0.05, 2.5, 5 / 1.2 - 2.5 + 1)
    high = scipy_stats.beta.ppf(0.95, 2.5 + 1, 5 / 1.2 - 2.5)
    assert (rate.low, rate.high) == pytest.approx((low, high))


def test_clocks(summary: Summary) -> None:
    """Detection 0.1 x3, 0 x2; excess 0.5, 1.2, 1.0 and two that never returned, deadline 10."""
    assert summary.detection_s.mean == pytest.approx(0.06)
    excess = summary.excess_s
    assert excess.restricted_mean == pytest.approx((0.5 + 1.2 + 1.0 + 10 + 10) / 5)
    assert excess.mean == pytest.approx((0.5 + 1.2 + 1.0 + 10.1 + 10) / 5)
    assert excess.p50 == excess.max == pytest.approx(1.2)
    assert (excess.p90, excess.high, excess.n, excess.censored) == (None, None, 5, 2)
    assert summary.reconnection_s.p50 == pytest.approx(4.0)
    assert summary.downtime_s.p50 == pytest.approx(4.0)


def test_attempts(summary: Summary) -> None:
    """Dials 1, 2, 3 and 2, 1."""
    assert summary.attempts.mean == pytest.approx(1.8)
    assert summary.attempts.max == 3
    assert [(row.attempts, row.restored, row.share) for row in summary.by_attempt] == [(1, 1, 0.2), (2, 2, 0.6)]


def test_verdict(summary: Summary) -> None:
    """Three of five: even the upper bound is below 95 %, so the target is missed."""
    assert summary.expectations[0].high == pytest.approx(0.941, abs=0.001)
    assert summary.verdict.value == "fail"


def test_summary_json_reads_back_and_keeps_its_shape(summary: Summary) -> None:
    """The encoded form decodes to the same value, and its keys are those of version 1."""
    encoded = to_json(summary)
    assert msgspec.json.decode(encoded, type=Summary) == summary
    assert _shape(msgspec.json.decode(encoded)) == (SMALL / "shape.txt").read_text(encoding="utf-8")


def _shape(node: object, path: str = "") -> str:
    """The keys of a tree, one path a line; lists by their first item."""
    if isinstance(node, dict):
        return "".join(_shape(value, f"{path}.{key}") for key, value in node.items())
    if isinstance(node, list) and node:
        return _shape(node[0], f"{path}[]")
    return f"{path}\n"
