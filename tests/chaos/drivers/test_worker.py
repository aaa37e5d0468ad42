"""A driver's process in a run: its clients reach the event log, and whatever it does wrong ends the run in words."""

from __future__ import annotations

import asyncio
import errno
import time
from pathlib import Path

import msgspec
import pytest

from chaos.drivers import worker as worker_module
from chaos.drivers.worker import DriverWorker
from chaos.worker_main import Shard
from resilience.errors import DriverError, HarnessError, UsageError
from resilience.eventlog.end_marker import decode_marker
from resilience.eventlog.vocabulary import LogEvent, LogEventKind, Role
from resilience.experiment.drivers import StdioDriver
from resilience.experiment.loader import load, parse
from resilience.experiment.primitives import ClientsSilent
from resilience.experiment.spec import Experiment
from resilience.lab.asyncio_clock import AsyncioClock
from resilience.lab.client_control import ClientCanary
from resilience.lab.observation import ObservationKind
from resilience.runtime import RunClock

from ...support import scripted_driver
from ...support.deadlines import HANG_S
from ...support.processes import eventually
from ...support.stored_lines import read_observations

K = LogEventKind


def experiment(defect: str = "none") -> Experiment:
    """Three clients of the scripted driver, opened at once, that act ten times a second."""
    command = ["{python}", scripted_driver.__file__, defect]
    return parse(
        f"""
        name = "scripted"
        duration = 60.0
        ramp = 0.0
        cohorts = [{{name = "alpha", clients = 2}}, {{name = "beta", clients = 1}}]
        driver = {{kind = "stdio", command = {command}, act_every = 0.1, options = {{colour = "green"}}}}
        """,
        "scripted.toml",
    )


async def started(tmp_path: Path, defect: str = "none") -> DriverWorker:
    return await DriverWorker.start(experiment(defect), 1, tmp_path, 1, Shard(("alpha", "beta")))


async def followed(worker: DriverWorker) -> None:
    """Follow the driver from its start for as long as it does nothing wrong."""
    await worker.prepare()
    await worker.go(time.monotonic(), {"alpha": "ws://a/", "beta": "ws://b/"})
    await worker.read_reports()


async def complaint(tmp_path: Path, defect: str) -> str:
    """What a run says of a driver with this defect."""
    worker = await started(tmp_path, defect)
    try:
        with pytest.raises(DriverError) as caught:
            await asyncio.wait_for(followed(worker), HANG_S)
    finally:
        await worker.stop()
    assert caught.value.exit_code == 4
    return str(caught.value)


def logged(tmp_path: Path) -> tuple[list[LogEvent], bool]:
    """The events of the driver's file, and whether it is complete."""
    lines = (tmp_path / "events" / "clients-1.jsonl").read_bytes().splitlines()
    complete = bool(lines) and decode_marker(lines[-1]) is not None
    return [msgspec.json.decode(line, type=LogEvent) for line in lines[: len(lines) - complete]], complete


async def test_a_driver_in_order_is_followed_to_its_end(tmp_path: Path) -> None:
    worker = await started(tmp_path)
    await worker.prepare()
    assert worker.driver_name == "scripted"
    await worker.go(time.monotonic(), {"alpha": "ws://a/", "beta": "ws://b/"})
    reading = asyncio.create_task(worker.read_reports())
    await eventually(lambda: worker.open == {"alpha": 2, "beta": 1})
    await eventually(lambda: b"client.acknowledged" in (tmp_path / "events" / "clients-1.jsonl").read_bytes())
    assert not reading.done()
    reading.cancel()
    await asyncio.wait({reading})
    await worker.stop()
    events, complete = logged(tmp_path)
    assert worker.has_ended_in_order
    assert complete
    (clock, *rest) = events
    assert (clock.kind, clock.role, clock.detail) == (K.DRIVER_CLOCK, Role.RUNNER, "scripted")
    assert 0.0 <= (clock.value or 0.0) < 1.0
    assert {event.actor for event in rest} == {"alpha-0001", "alpha-0002", "beta-0001"}
    mine = [event.kind for event in rest if event.actor == "beta-0001"]
    assert mine[:3] == [K.TRANSPORT_OPENING, K.TRANSPORT_OPENED, K.SESSION_JOINED]
    assert set(mine[3:]) <= {K.CLIENT_ACKNOWLEDGED}
    assert [event.t for event in rest] == sorted(event.t for event in rest)


async def with_records(tmp_path: Path, defect: str = "records") -> DriverWorker:
    """A driver with ``quiz_records`` whose clients all have a session; it is not read any more."""
    chosen = experiment(defect)
    assert isinstance(chosen.driver, StdioDriver)
    chosen = msgspec.structs.replace(chosen, driver=msgspec.structs.replace(chosen.driver, quiz_records=True))
    worker = await DriverWorker.start(chosen, 1, tmp_path, 1, Shard(("alpha", "beta")))
    await worker.prepare()
    await worker.go(time.monotonic(), {"alpha": "ws://a/", "beta": "ws://b/"})
    reading = asyncio.create_task(worker.read_reports())
    await eventually(lambda: worker.open == {"alpha": 2, "beta": 1})
    reading.cancel()
    await asyncio.wait({reading})
    return worker


async def test_what_clients_of_a_driver_that_does_not_stop_were_shown_does_not_count_as_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await with_records(tmp_path, "records_and_hangs")
    monkeypatch.setattr(worker_module, "STOP_TIMEOUT_S", 0.1)
    await worker.stop()
    assert not logged(tmp_path)[1]
    assert read_observations(tmp_path) == []


async def test_a_full_disk_costs_the_observations_and_not_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    worker = await with_records(tmp_path)
    monkeypatch.setattr(worker_module, "write_lines", full)
    with pytest.raises(OSError, match="no space left"):
        await worker.stop()
    assert logged(tmp_path)[1]


async def test_what_clients_with_quiz_records_were_shown_is_kept(tmp_path: Path) -> None:
    worker = await with_records(tmp_path)
    await worker.stop()
    seen = [row for row in read_observations(tmp_path) if row.kind is ObservationKind.UNKNOWN]
    assert len(seen) >= 2  # each follows the session of its client, of which the last may just have begun
    assert {(row.connection, row.seq) for row in seen} == {(1, 7)}


@pytest.mark.parametrize(
    "defect, words",
    [
        ("out_of_order", "which is idle; it may follow only while connected; the line: {"),
        ("other_version", "it speaks version 7 of the protocol, this program version 1; the line: {"),
        ("clock_jumps", "; at most 0.050 s can be a clock's drift; the line: {"),
        ("wrong_key", "acknowledged 'another', which"),
        ("stranger", "client 'stranger' was never opened in this process; the line: {"),
        ("future", "s after its line came; t is the time when it happened; the line: {"),
        ("chatter", "words for people belong to standard error; the line: connecting alpha-000"),
        ("receives", "messages are reported only by a driver with quiz_records; the line: {"),
        ("dies", "ended by itself (exit code 1); its log, "),
        ("cannot", "clients-1 reports: there is no such server"),
        ("ends_early", "it ended before it received stop; the line: {"),
    ],
)
async def test_a_driver_that_breaks_the_protocol_ends_the_run(tmp_path: Path, defect: str, words: str) -> None:
    """As the laboratory's failure, with the line quoted; its file is not complete, or was complete until then."""
    assert words in await complaint(tmp_path, defect)


async def test_a_driver_that_falls_silent_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "SILENCE_TIMEOUT_S", 0.3)
    assert "has not answered hello for 0.3 s" in await complaint(tmp_path, "falls_silent")


async def test_a_driver_that_does_not_load_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "READY_TIMEOUT_S", 0.3)
    monkeypatch.setattr(worker_module, "STOP_TIMEOUT_S", 0.1)
    assert "did not answer hello within 0.3 s" in await complaint(tmp_path, "never_ready")


async def test_a_driver_that_does_not_stop_is_killed_and_its_log_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await started(tmp_path, "hangs_at_the_end")
    await worker.prepare()
    monkeypatch.setattr(worker_module, "STOP_TIMEOUT_S", 0.1)
    await worker.stop()
    assert not worker.has_ended_in_order
    assert worker.child.exit_code == -9
    assert not logged(tmp_path)[1]


async def test_a_suspended_driver_is_neither_silent_nor_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = await started(tmp_path)
    await worker.prepare()
    await worker.go(time.monotonic(), {"alpha": "ws://a/", "beta": "ws://b/"})
    reading = asyncio.create_task(worker.read_reports())
    canary = ClientCanary(worker, AsyncioClock(RunClock()))
    await canary.prepare(HANG_S)
    assert canary.problem is None
    worker.suspend()
    monkeypatch.setattr(worker_module, "SILENCE_TIMEOUT_S", 0.1)
    assert await canary.saw_symptom(ClientsSilent(), HANG_S)
    assert worker.take_recent_lag() == 0.0
    monkeypatch.setattr(worker_module, "SILENCE_TIMEOUT_S", HANG_S)
    worker.resume()
    assert await canary.saw_health(HANG_S)
    assert not reading.done()
    reading.cancel()
    await asyncio.wait({reading})
    await worker.stop()
    assert worker.has_ended_in_order


async def test_a_program_that_does_not_exist_is_bad_input(tmp_path: Path) -> None:
    """Before anything is started."""
    chosen = parse(
        'name="x"\nduration=20.0\ncohorts=[{name="a",clients=1}]\ndriver={kind="stdio",command=["no-one"]}', ""
    )
    with pytest.raises(UsageError, match=r"driver.command: 'no-one': no such program"):
        await DriverWorker.start(chosen, 1, tmp_path, 1, Shard(("a",)))


async def test_the_fleet_has_no_driver(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="the fleet's own"):
        await DriverWorker.start(load("smoke"), 1, tmp_path, 1, Shard(("solo",)))
