"""One finding of the doctor, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CheckStatus = Literal["ok", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about the machine, its meaning for the fleet, and the remedy ("" if none is needed)."""

    name: str
    value: str
    verdict: CheckStatus
    advice: str = ""
