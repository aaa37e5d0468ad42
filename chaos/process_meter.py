"""How well processes keep up on this machine: lateness of event loops, waits for a processor, quotas. Judges nothing.

What the kernel does not tell is ``None``: everything here works without Linux, and then knows less.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from resilience.lab.health import LagMeter, ProcessLag
from resilience.units import Seconds

TICK_S: Seconds = 0.05
"""A loop is measured by a timer of this period."""

_NS = 1e-9
_US = 1e-6
_UTIME, _STIME = 11, 12
"""Positions in ``/proc/<pid>/stat`` after the command's closing bracket (proc(5), fields 14 and 15)."""

_THROTTLED = {"throttled_time": _NS, "throttled_usec": _US}
"""Keys of ``cpu.stat`` in the first and the second version of cgroups, with their units."""

_CGROUPS, _OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


async def measure_loop(meter: LagMeter) -> None:
    """Note how late a tick of the running loop comes, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + TICK_S
        await asyncio.sleep(TICK_S)
        meter.note(loop.time() - due)


class WaitMeter:
    """How long another process waited for a processor, second by second. ``role`` as of :class:`ProcessLag`.

    ``spent``: the processor time that it had used before, which does not count.
    """

    def __init__(self, name: str, role: str, *, spent: Seconds = 0.0) -> None:
        self.name, self.role, self.lag = name, role, LagMeter()
        self._pid: int | None = None
        self._waited: dict[int, float] = {}
        self._cpu_before, self._cpu = -spent, 0.0

    def read(self, pid: int | None) -> None:
        """Take one reading of the process, which may be another one than before; ``None``: there is none now."""
        if pid != self._pid:
            self._pid, self._waited = pid, _waits(pid)
            self._cpu_before += self._cpu
            self._cpu = 0.0
        if pid is None:
            return
        waited = _waits(pid)
        steps = [total - self._waited[task] for task, total in waited.items() if task in self._waited]
        self._waited = waited
        self._cpu = cpu_seconds(pid) or self._cpu
        if steps:
            self.lag.note(max(steps))

    def summary(self) -> ProcessLag:
        """Over all readings."""
        return lag_summary(self.name, self.role, self.lag, max(self._cpu_before + self._cpu, 0.0))


def lag_summary(name: str, role: str, meter: LagMeter, cpu_s: Seconds | None) -> ProcessLag:
    """What a meter measured of one process."""
    return ProcessLag(name, role, meter.p50, meter.p99, meter.max, cpu_s)


def cpu_seconds(pid: int) -> Seconds | None:
    """Processor time that a process has used; ``None`` when that cannot be read."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[_UTIME]) + int(fields[_STIME])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None


def throttled_seconds(root: Path = _CGROUPS, own: Path = _OWN_CGROUPS) -> Seconds | None:
    """For how long the quota of this process's control group has stopped it; ``None`` when that cannot be read.

    ``root`` is where control groups are mounted, ``own`` names those of this process (cgroups(7)).
    """
    for folder in _cpu_groups(root, own):
        try:
            words = (folder / "cpu.stat").read_text().split()
        except OSError:
            continue
        values = dict(zip(words[::2], words[1::2], strict=False))
        for key, unit in _THROTTLED.items():
            if key in values:
                return int(values[key]) * unit
    return None


def load_per_processor() -> float | None:
    """The load average of the last minute, divided by the processors."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except OSError:
        return None


def _cpu_groups(root: Path, own: Path) -> list[Path]:
    """Folders that may hold this process's ``cpu.stat``, the most specific first."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            base = root / "cpu" if controllers else root
            found += [base / path.lstrip("/"), base]
    return found


def _waits(pid: int | None) -> dict[int, float]:
    """Seconds for which each thread has waited for a processor; empty when that cannot be read."""
    found = {}
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found[int(task.name)] = int((task / "schedstat").read_text().split()[1]) * _NS
    except (OSError, IndexError, ValueError):
        return found
    return found
