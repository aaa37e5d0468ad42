"""What it costs to draw the outages of a million participants and an hour from network profiles, in this process."""

from __future__ import annotations

import time

import pytest

from sim.profiles.files import parse_mix
from sim.profiles.sampler import sample
from tests.benchmarks.conftest import RecordRows
from tests.benchmarks.lab.results import Row, middle, spread

HOUR = 3600.0
MOST_CPU_S, MOST_BYTES = 2.0, 100.0
MIX = {
    "home-wifi": 0.40,
    "office-wifi": 0.15,
    "lte-moving+carrier-outage": 0.25,
    "5g+carrier-outage": 0.12,
    "congested-venue": 0.08,
}


def measure(participants: int, rounds: int) -> list[Row]:
    """CPU seconds and size of the timelines, each round with a seed of its own."""
    mix = parse_mix(tuple(f"{name}={round(share * participants)}" for name, share in MIX.items()))
    cpu, outages, sizes = [], [], []
    for seed in range(rounds):
        before = time.process_time()
        drawn = sample(mix, HOUR, seed=seed)
        cpu.append(time.process_time() - before)
        outages.append(drawn.outages / participants)
        sizes.append(sum(array.nbytes for array in (drawn.ptr, drawn.start, drawn.end, drawn.kind)) / participants)
    each = f"{middle(outages):.2f} outages each"
    return [
        Row(
            f"outages of {participants:,} for an hour, CPU",
            f"{middle(cpu):.2f} s",
            each,
            None,
            spread(cpu, "{:.2f} s"),
            f"at most {MOST_CPU_S:g} s",
            middle(cpu) <= MOST_CPU_S,
        ),
        Row(
            f"outages of {participants:,} for an hour, memory",
            f"{middle(sizes):.0f} B each",
            each,
            None,
            spread(sizes, "{:.0f} B"),
            f"at most {MOST_BYTES:g} B",
            middle(sizes) <= MOST_BYTES,
        ),
    ]


def test_a_few_participants_are_measured() -> None:
    cost, size = measure(2000, 1)
    assert cost.met
    assert size.met


@pytest.mark.bench
def test_cost_of_a_million_participants(record_rows: RecordRows) -> None:
    record_rows(measure(1_000_000, 5))
