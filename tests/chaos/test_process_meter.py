"""How well processes keep up: a loop that is blocked, threads that wait, quotas of both versions of cgroups."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

import pytest

from chaos import process_meter
from chaos.process_meter import WaitMeter, cpu_seconds, load_per_processor, measure_loop, throttled_seconds
from resilience.lab.health import LagMeter

NOBODY = 2**22 + 1
"""No process has such a number: the kernel's largest is 2**22."""


def group(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "cpu.stat").write_text(text)


def throttled(tmp_path: Path, membership: str) -> float | None:
    own = tmp_path / "cgroup"
    own.write_text(membership)
    return throttled_seconds(tmp_path / "sys", own)


def test_throttling_is_read_from_the_first_version_of_cgroups(tmp_path: Path) -> None:
    """Nanoseconds, in the tree of the controller ``cpu``."""
    group(tmp_path / "sys" / "cpu" / "job", "nr_periods 9\nnr_throttled 4\nthrottled_time 2500000000\n")
    assert throttled(tmp_path, "5:memory:/other\n4:cpu,cpuacct:/job\n") == pytest.approx(2.5)


def test_throttling_is_read_from_the_second_version_of_cgroups(tmp_path: Path) -> None:
    """Microseconds, in the one tree that there is."""
    group(tmp_path / "sys" / "job", "usage_usec 7\nnr_periods 9\nnr_throttled 4\nthrottled_usec 1500000\n")
    assert throttled(tmp_path, "0::/job\n") == pytest.approx(1.5)


def test_inside_a_container_the_group_is_the_root_of_what_is_mounted(tmp_path: Path) -> None:
    """The path is the host's and does not exist here."""
    group(tmp_path / "sys", "throttled_usec 250000\n")
    assert throttled(tmp_path, "0::/docker/0123abcd\n") == pytest.approx(0.25)


def test_with_both_versions_mounted_the_one_that_has_a_quota_counts(tmp_path: Path) -> None:
    group(tmp_path / "sys" / "job", "usage_usec 7\n")
    group(tmp_path / "sys" / "cpu" / "job", "throttled_time 1000000000\n")
    assert throttled(tmp_path, "0::/job\n4:cpu,cpuacct:/job\n") == pytest.approx(1.0)


@pytest.mark.parametrize("membership", ["", "0::/job\n", "5:memory:/job\n"], ids=["none", "no file", "no processor"])
def test_a_quota_that_cannot_be_read_is_unknown_not_zero(tmp_path: Path, membership: str) -> None:
    assert throttled(tmp_path, membership) is None
    assert throttled_seconds(tmp_path / "sys", tmp_path / "absent") is None


async def test_a_loop_that_was_blocked_was_late_for_so_long() -> None:
    meter = LagMeter()
    task = asyncio.create_task(measure_loop(meter))
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251 - this is what is measured
    await asyncio.sleep(2 * process_meter.TICK_S)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert meter.max >= 0.3 - process_meter.TICK_S


def test_a_process_waits_as_long_as_its_worst_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Totals of the kernel become steps; a thread or a process that is new has none yet; processor time adds up."""
    waited: dict[int | None, dict[int, float]] = {1: {10: 5.0, 11: 2.0}, 2: {20: 50.0}, None: {}}
    used = {1: 3.0, 2: 1.0}
    monkeypatch.setattr(process_meter, "_waits", lambda pid: dict(waited[pid]))
    monkeypatch.setattr(process_meter, "cpu_seconds", used.get)
    meter = WaitMeter("server", "server host")
    meter.read(1)
    assert meter.lag.take_recent() == 0.0
    waited[1] = {10: 5.1, 11: 2.7, 12: 9.0}
    meter.read(1)
    assert meter.lag.take_recent() == pytest.approx(0.7)
    used[1] = 4.0
    meter.read(1)
    meter.read(None)
    meter.read(2)
    assert meter.lag.take_recent() == 0.0
    waited[2] = {20: 50.2}
    meter.read(2)
    found = meter.summary()
    assert (found.name, found.role, found.cpu_s) == ("server", "server host", 5.0)
    assert found.lag_max == pytest.approx(0.7)


def test_processor_time_is_that_of_the_process() -> None:
    before = cpu_seconds(os.getpid())
    assert before is not None
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    assert (cpu_seconds(os.getpid()) or 0.0) >= before + 0.05
    assert cpu_seconds(NOBODY) is None


@pytest.mark.parametrize("used, counted", [((), 0.0), ((4.0,), 1.0), ((4.0, 9.0), 6.0)])
def test_what_a_process_used_before_does_not_count(
    monkeypatch: pytest.MonkeyPatch, used: tuple[float, ...], counted: float
) -> None:
    readings = iter(used)
    monkeypatch.setattr(process_meter, "cpu_seconds", lambda _: next(readings))
    meter = WaitMeter("toxiproxy-a", "proxy", spent=3.0)
    for _ in used:
        meter.read(os.getpid())
    assert meter.summary().cpu_s == counted


def test_what_the_kernel_does_not_tell_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = WaitMeter("server", "server host")
    meter.read(NOBODY)
    assert meter.lag.max == 0.0
    assert meter.summary().cpu_s == 0.0

    def unknown() -> tuple[float, float, float]:
        raise OSError("no load average")

    monkeypatch.setattr(os, "getloadavg", unknown)
    assert load_per_processor() is None
