"""What this machine is, in words that another one's owner can compare with: processor, system. No names, no paths."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from resilience.text_files import read_text

from .calibration_file import Machine

_CPUINFO = Path("/proc/cpuinfo")


def this_machine(cpuinfo: Path = _CPUINFO) -> Machine:
    """This machine; ``cpuinfo`` is where Linux describes the processors, which other systems do not have."""
    return Machine(
        processor=_model_of(cpuinfo) or platform.processor() or platform.machine() or "unknown",
        processors=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        system=f"{platform.system()} {platform.release().partition('-')[0]}, Python {platform.python_version()}",
    )


def _model_of(cpuinfo: Path) -> str | None:
    try:
        lines = read_text(cpuinfo).splitlines()
    except (OSError, ValueError):
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name")), None)
