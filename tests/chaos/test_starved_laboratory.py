"""A laboratory whose own processes stand still says nothing about the system: neither pass nor fail.

The processes are stopped by signal in the middle of a fault, so that a busy machine can only add to their lateness.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from chaos.toxiproxy.provision import Binary
from reports.build import analyse
from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import LogEventKind

from ..support.deadlines import HANG_S
from ..support.processes import descendants, eventually_sync, kinds

EXPERIMENT = """
name = "starved"
duration = 11.0
ramp = 0.2

[[cohorts]]
name = "all"
clients = 4

[hypothesis]
joined = 1.0
within = 2.0

[[faults]]
kind = "refuse"
at = 3.0
duration = 1.0
cohorts = ["all"]

[[expectations]]
metric = "success_rate"
op = ">="
threshold = 0.2

[[expectations]]
metric = "excess_s.restricted_mean"
op = "<"
threshold = 1.5
"""

STOPPED_S = 3.5
"""From the fault's begin: 2.5 s beyond its planned end, which is longer than the target allows."""


def is_fleet(pid: int) -> bool:
    return b"chaos.worker_main" in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.parametrize(
    "who, doubt",
    [("fleet", "excess_s.restricted_mean: the laboratory ran up to"), ("runner", "planned to last 1 s, lasted")],
)
def test_processes_that_stand_still_decide_nothing(binary: Binary, tmp_path: Path, who: str, doubt: str) -> None:
    """Clients that were stopped return late, and a fault that its injector did not end lasts too long."""
    file, out = tmp_path / "starved.toml", tmp_path / "run"
    file.write_text(EXPERIMENT)
    command = [sys.executable, "-m", "resilience", "chaos", "run", str(file), "--out", str(out)]
    with (
        (tmp_path / "output").open("wb") as output,
        subprocess.Popen([*command, "--toxiproxy", str(binary.path)], stdout=output, stderr=output) as process,
    ):
        try:
            assert eventually_sync(lambda: LogEventKind.FAULT_STARTED in kinds(out) or process.poll() is not None)
            fleet = [pid for pid in descendants(process.pid) if is_fleet(pid)]
            struck = fleet if who == "fleet" else [process.pid]
            for number, pause in ((signal.SIGSTOP, STOPPED_S), (signal.SIGCONT, 0.0)):
                for pid in struck:
                    with suppress(ProcessLookupError):  # a run that did not start has ended
                        os.kill(pid, number)
                time.sleep(pause)
            code = process.wait(HANG_S)
        finally:
            process.kill()
    assert code in {ExitCode.INCONCLUSIVE, ExitCode.HARNESS}, (tmp_path / "output").read_text()
    if code == ExitCode.INCONCLUSIVE:
        assert any(doubt in text for text in analyse(out)[2].laboratory.doubts)
