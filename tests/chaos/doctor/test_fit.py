"""The prediction is pure: more clients never need less, and a machine carries exactly what its limits allow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.doctor.fit import fleet_findings, require_fit
from chaos.doctor.machine import SYSCTLS, MachineLimits
from chaos.doctor.needs import SPARE_FILES, FleetNeeds, describe_needs, needs_of, needs_of_clients
from resilience.errors import HarnessError
from resilience.experiment.faults import CutFault
from resilience.experiment.loader import load
from resilience.experiment.spec import Cohort, Experiment

AMPLE = MachineLimits(
    float("inf"),
    float("inf"),
    {
        **{name: [10**9] for name in SYSCTLS},
        "net.ipv4.ip_local_port_range": [32_768, 10**9],
        "net.ipv4.tcp_tw_reuse": [2],
    },
    10**15,
    Path("/runs"),
    10**15,
    10**6,
)
CLIENTS, PROCESSES = st.integers(1, 100_000), st.integers(1, 64)


def bad(needs: FleetNeeds, limits: MachineLimits) -> list[str]:
    return [found.name for found in fleet_findings(needs, limits) if found.verdict == "bad"]


def verdict(needs: FleetNeeds, limits: MachineLimits, name: str) -> str:
    return next(found.verdict for found in fleet_findings(needs, limits) if found.name == name)


def figures(needs: FleetNeeds) -> list[float]:
    files = [needs.files[role] for role in ("proxy", "server", "worker")]
    return [*files, needs.files_in_all, needs.connections, needs.dials, sum(needs.memory.values()), needs.disk]


@given(CLIENTS, CLIENTS, PROCESSES)
def test_more_clients_never_need_less(some: int, more: int, workers: int) -> None:
    few, many = sorted((some, more))
    pairs = zip(figures(needs_of_clients(few, workers)), figures(needs_of_clients(many, workers)), strict=True)
    assert all(less <= greater for less, greater in pairs)


@given(CLIENTS, PROCESSES)
def test_a_machine_that_has_exactly_the_needs_carries_the_fleet(clients: int, workers: int) -> None:
    """One less of any of them, and it does not: the finding of that limit says so, and no other."""
    needs = needs_of_clients(clients, workers)
    files, memory = max(needs.files.values()), sum(needs.memory.values())
    port_range = [32_768, 32_768 + needs.connections - 1]
    kernel = {**AMPLE.sysctls, "fs.file-max": [needs.files_in_all], "net.ipv4.ip_local_port_range": port_range}
    exact = replace(AMPLE, open_files_hard=files, sysctls=kernel, memory_free=memory, disk_free=needs.disk)
    assert bad(needs, exact) == []
    short = {
        "open files per process": replace(exact, open_files_hard=files - 1),
        "open files on the machine": replace(exact, sysctls={**kernel, "fs.file-max": [needs.files_in_all - 1]}),
        "ephemeral ports": replace(
            exact, sysctls={**kernel, "net.ipv4.ip_local_port_range": [32_768, port_range[1] - 1]}
        ),
        "memory": replace(exact, memory_free=memory - 1),
        "disk space for runs": replace(exact, disk_free=needs.disk - 1),
    }
    assert {name: bad(needs, limits) for name, limits in short.items()} == {name: [name] for name in short}


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=12), PROCESSES)
def test_clients_on_several_links_need_fewer_files_in_one_proxy(sizes: list[int], workers: int) -> None:
    """The largest link counts for the proxy, all clients for the server, each process's share for the workers."""
    cohorts = tuple(Cohort(f"c{number}", size) for number, size in enumerate(sizes))
    needs = needs_of(Experiment("some", 60.0, cohorts), 1, workers)
    assert needs.files["proxy"] == 2 * max(sizes) + SPARE_FILES
    assert needs.files["server"] == sum(sizes) + SPARE_FILES
    assert needs.files["worker"] == -(-sum(sizes) // min(workers, sum(sizes))) + SPARE_FILES


def test_connections_that_linger_are_counted_within_a_minute() -> None:
    """Three cuts within a minute, and the connections before them; two of them where the third comes later."""
    fault = CutFault(10.0, ("all",), times=3, every=29.0)
    within = Experiment("some", 100.0, (Cohort("all", 10),), faults=(fault,))
    assert needs_of(within, 1, 1).dials == 10 * 4
    later = Experiment("some", 100.0, (Cohort("all", 10),), faults=(CutFault(10.0, ("all",), times=3, every=31.0),))
    assert needs_of(later, 1, 1).dials == 10 * 3


@pytest.mark.parametrize(
    "name, ramp, processors, expected", [("venue-5000", 25, 2, "ok"), ("venue-5000", 5, 2, "warn")]
)
def test_a_ramp_that_is_too_steep_is_a_warning(name: str, ramp: float, processors: int, expected: str) -> None:
    needs = needs_of(load(name, (f"ramp={ramp}",)), 1, 2)
    assert verdict(needs, replace(AMPLE, processors=processors), "processors") == expected


def test_returns_faster_than_the_processors_are_a_warning() -> None:
    machine = replace(AMPLE, processors=2)
    assert verdict(needs_of(load("venue-5000", ("server.join_capacity=3000",)), 1, 2), machine, "processors") == "warn"
    assert verdict(needs_of(load("herd"), 1, 2), machine, "processors") == "ok"
    assert verdict(needs_of(load("arena-10000", ("client.initial=10",)), 1, 2), machine, "processors") == "warn"


def test_the_large_experiments_fit_the_machine_that_they_are_made_for() -> None:
    """Two processors, 20,000 open files, the usual range of ports, 8 GB."""
    kernel = {
        "fs.file-max": [10**6],
        "net.ipv4.ip_local_port_range": [32_768, 60_999],
        "net.ipv4.tcp_tw_reuse": [2],
        "net.core.somaxconn": [4096],
        "net.ipv4.tcp_max_syn_backlog": [4096],
    }
    machine = MachineLimits(1024, 20_000, kernel, 8 * 10**9, Path("/runs"), 10 * 10**9, 2)
    for name in ("venue-5000", "arena-10000"):
        assert [found for found in fleet_findings(needs_of(load(name), 1, 2), machine) if found.verdict != "ok"] == []


def test_a_refusal_names_every_limit_and_what_to_change() -> None:
    needs = needs_of_clients(40_000, 2)
    limits = replace(
        AMPLE, open_files_hard=1024, sysctls={**AMPLE.sysctls, "net.ipv4.ip_local_port_range": [32_768, 60_999]}
    )
    with pytest.raises(HarnessError, match=r"open files per process: .*ulimit -Hn 80128.*plan at most 32768 clients"):
        require_fit(fleet_findings(needs, limits))
    require_fit(fleet_findings(needs, AMPLE))
    assert "80,128 open files in one process (proxy)" in describe_needs(needs)


def test_pages_in_a_browser_need_their_own_memory_and_time() -> None:
    pages = Experiment("x", 60.0, (Cohort("a", 20, driver="chromium"), Cohort("b", 100)), ramp=10.0)
    programs = replace_cohorts(pages, Cohort("a", 20), Cohort("b", 100))
    with_pages, without = needs_of(pages, 1, 2), needs_of(programs, 1, 2)
    assert with_pages.memory.keys() - without.memory.keys() == {"browsers"}
    assert with_pages.memory["browsers"] > 20 * 60_000_000
    assert with_pages.busy["joining"] > without.busy["joining"] + 1.0


def replace_cohorts(experiment: Experiment, *cohorts: Cohort) -> Experiment:
    return msgspec.structs.replace(experiment, cohorts=cohorts)
