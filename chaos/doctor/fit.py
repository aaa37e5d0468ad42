"""Compares what a planned fleet needs with what a machine has: a finding for each limit, and what to change. Pure.

*bad*: the run cannot be carried out here. *warn*: it can, but its figures may say more about the machine than about the
system under test.
"""

from __future__ import annotations

from collections.abc import Sequence

from resilience.errors import HarnessError

from ..ports import HIGH
from .finding import Finding
from .machine import MachineLimits
from .needs import DISK_OF_THE_REST, MEMORY_OF_A_PROCESS, FleetNeeds

BACKLOG = 4096
"""The server's listen backlog; the kernel limits it to somaxconn, and then a herd waits for SYN retries."""

WIDEST = (32_768, 65_535)
"""The widest range of ports for outgoing connections that leaves the listeners' ports alone."""

FULL = 0.95
"""Of all processors: a fleet that keeps more of them busy makes the laboratory late."""

_MB = 1_000_000
_PORTS = "net.ipv4.ip_local_port_range"
_REUSE = "net.ipv4.tcp_tw_reuse"


def fleet_findings(needs: FleetNeeds | None, limits: MachineLimits) -> list[Finding]:
    """A finding for each limit; without a plan only what the machine has, and what no run can do without."""
    return [
        _files_of_a_process(needs, limits),
        _files_of_the_machine(needs, limits),
        _ephemeral_ports(needs, limits),
        _queue("net.core.somaxconn", needs, limits),
        _queue("net.ipv4.tcp_max_syn_backlog", needs, limits),
        _memory(needs, limits),
        _disk(needs, limits),
        _processors(needs, limits),
    ]


def require_fit(findings: Sequence[Finding], run: str = "the run") -> None:
    """Raise :class:`~resilience.errors.HarnessError` when one of them is bad; the message has all that are.

    ``run``: in words, what was to be carried out.
    """
    lines = [f"{found.name}: {found.value}; {found.advice}" for found in findings if found.verdict == "bad"]
    if lines:
        way = "`resilience chaos doctor EXPERIMENT` shows all limits, --ignore-limits starts the run in spite of them"
        raise HarnessError(f"this machine cannot carry {run}. {'. '.join(lines)}. {way}")


def _files_of_a_process(needs: FleetNeeds | None, limits: MachineLimits) -> Finding:
    name = "open files per process"
    value = f"{_shown(limits.open_files)} (can be raised to {_shown(limits.open_files_hard)})"
    if needs is None:
        return Finding(name, value, "ok")
    role, most = max(needs.files.items(), key=lambda item: item[1])
    if limits.open_files_hard < most:
        advice = f"the {role} may need {most}: raise the hard limit (`ulimit -Hn {most}` as root) or plan fewer clients"
        return Finding(name, value, "bad", advice)
    return Finding(name, value, "ok")  # a run raises its own limit to the hard one


def _files_of_the_machine(needs: FleetNeeds | None, limits: MachineLimits) -> Finding:
    name, most = "open files on the machine", limits.sysctls["fs.file-max"]
    if not most:
        return _unread(name, "fs.file-max")
    need = 0 if needs is None else needs.files_in_all
    if most[0] < need:
        return Finding(name, str(most[0]), "bad", f"the fleet needs {need}: `sysctl -w fs.file-max={2 * need}`")
    return Finding(name, str(most[0]), "ok")


def _ephemeral_ports(needs: FleetNeeds | None, limits: MachineLimits) -> Finding:
    """Each client takes a port to its proxy, and its proxy one to the server; a port may be used for both."""
    name, bounds = "ephemeral ports", limits.sysctls[_PORTS]
    if len(bounds) != 2:  # noqa: PLR2004  # low and high
        return _unread(name, _PORTS)
    low, high = bounds
    size = high - low + 1
    value = f"{low}-{high} ({size})"
    widen = f'`sysctl -w {_PORTS}="{WIDEST[0]} {WIDEST[1]}"`'
    if needs is not None and needs.connections > size:
        most = WIDEST[1] - WIDEST[0] + 1
        way = f"{widen}, or plan fewer clients" if needs.connections <= most else f"plan at most {most} clients"
        advice = f"{needs.connections} connections to the server cannot exist at once: {way}"
        return Finding(name, value, "bad", advice)
    if low < HIGH:
        advice = f"listeners use ports below {HIGH} and may lose them: raise the lower bound, {widen}"
        return Finding(name, value, "warn", advice)
    if needs is not None and needs.dials > size and not _reuses_ports(limits):
        advice = f"up to {needs.dials} connections within a minute may find no free port: `sysctl -w {_REUSE}=2`"
        return Finding(name, value, "warn", f"{advice} or {widen}")
    return Finding(name, value, "ok")


def _reuses_ports(limits: MachineLimits) -> bool:
    """Whether the kernel gives the port of a closed connection on loopback away after a second and not a minute."""
    return bool(limits.sysctls[_REUSE]) and limits.sysctls[_REUSE][0] in {1, 2}


def _queue(name: str, needs: FleetNeeds | None, limits: MachineLimits) -> Finding:
    length = limits.sysctls[name]
    if not length:
        return _unread(name, name)
    need = BACKLOG if needs is None else min(needs.clients, BACKLOG)
    if length[0] < need:
        advice = f"{need} clients at once wait for SYN retries of a second and more: `sysctl -w {name}={BACKLOG}`"
        return Finding(name, str(length[0]), "warn", advice)
    return Finding(name, str(length[0]), "ok")


def _memory(needs: FleetNeeds | None, limits: MachineLimits) -> Finding:
    least = sum(MEMORY_OF_A_PROCESS.values())
    advice = "end other programs, plan fewer clients, or use a larger machine"
    parts = {} if needs is None else needs.memory
    what = ", ".join(f"{role} {_megabytes(amount)}" for role, amount in parts.items())
    return _room("memory", (sum(parts.values()) or least, what), limits.memory_free, ("", advice))


def _disk(needs: FleetNeeds | None, limits: MachineLimits) -> Finding:
    need = DISK_OF_THE_REST if needs is None else needs.disk
    where = (f" in {limits.disk}", "make room, name another place with --out, or plan a shorter run")
    return _room("disk space for runs", (need, ""), limits.disk_free, where)


def _room(name: str, need: tuple[int, str], free: int | None, where: tuple[str, str]) -> Finding:
    """Whether there is room for so many bytes (and what they are for); ``where``: the place, and what to do."""
    (amount, parts), (place, advice) = need, where
    if free is None:
        return Finding(name, "unknown", "warn", f"how much is free{place} cannot be read here")
    value = f"{_megabytes(free)} free{place}"
    if free >= amount:
        return Finding(name, value, "ok")
    listed = f" ({parts})" if parts else ""
    return Finding(name, value, "bad", f"a run may take {_megabytes(amount)}{listed}: {advice}")


def _processors(needs: FleetNeeds | None, limits: MachineLimits) -> Finding:
    name, value = "processors", str(limits.processors)
    for phase, busy in ({} if needs is None else needs.busy).items():
        if busy > FULL * limits.processors:
            change = "a longer ramp" if phase == "joining" else "a lower server.join_capacity"
            advice = f"the clients keep {busy:.1f} of them busy while {phase}: {change}, or fewer clients"
            return Finding(name, value, "warn", f"{advice}, else the laboratory may be too late for a verdict")
    if limits.processors < 2:  # noqa: PLR2004  # one for the server, one for everything else
        shared = "server, proxy and clients share one core, which affects all measured times"
        return Finding(name, value, "warn", shared)
    return Finding(name, value, "ok")


def _unread(name: str, setting: str) -> Finding:
    return Finding(name, "unknown", "warn", f"{setting} cannot be read here: the limit exists, but not its value")


def _shown(limit: float) -> str:
    return "unlimited" if limit == float("inf") else str(int(limit))


def _megabytes(amount: int) -> str:
    return f"{amount / _MB:,.0f} MB"
