"""The plans of docs/planning.md are valid, and what it says of triggers and of the search is what the code has."""

from __future__ import annotations

import tomllib

import msgspec
import pytest

from sim.planning.capacity import LOADS, experiment_of
from sim.planning.estimates import numbers_to_try
from sim.planning.triggers import DURATIONS, CapacityPlan, TriggerKind
from sim.planning.tuning import BATCH, COSTS
from tests.docs.markdown import blocks


@pytest.fixture(scope="module")
def page(pages: dict[str, str]) -> str:
    return pages["docs/planning.md"]


def test_the_examples_are_plans_that_the_lane_can_carry(page: str) -> None:
    example, million = (msgspec.convert(tomllib.loads(block.text), CapacityPlan) for block in blocks(page, "toml"))
    for plan in (example, million):
        for trigger in plan.triggers:
            assert experiment_of(plan, trigger, numbers_to_try(plan, trigger)[-1]).clients > 0


def test_the_table_has_every_trigger_with_its_length(page: str) -> None:
    rows = [line.split("|")[1:4] for line in page.splitlines() if line.startswith("| `")]
    found = {row[0].strip().strip("`"): row[2].strip() for row in rows}
    assert found == {kind.value: f"{DURATIONS[kind]:g} s" for kind in TriggerKind}


def test_the_numbers_of_the_text(page: str) -> None:
    assert f"batches of {BATCH}" in page
    assert f"{LOADS[0]:g} to {LOADS[-1]:g} times as large" in page
    assert all(f"`{name}`" in page for name in COSTS)
