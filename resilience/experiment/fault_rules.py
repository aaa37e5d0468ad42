"""The rules for the values of each kind of fault: what can be carried out, and what a canary can see. Pure.

A window that no canary can confirm proves nothing about the system, so a fault that is too short or too weak to be
distinguished from a healthy link is rejected when its experiment is read.
"""

from __future__ import annotations

from resilience.errors import require
from resilience.experiment.faults import (
    AnyFault,
    BandwidthFault,
    BlackholeFault,
    ClientSuspendFault,
    CutMidMessageFault,
    FreezeFault,
    LatencyFault,
    ServerKillFault,
    ServerSuspendFault,
    SliceFault,
    SlowCloseFault,
    StallFault,
)
from resilience.experiment.primitives import Crash, Direction
from resilience.units import Seconds

MIN_DELAY_S: Seconds = 0.001
MAX_DELAY_S: Seconds = 0.5
"""A probe over a link with such a delay needs four times as long, and has 3 s in all."""

MIN_SILENCE_S: Seconds = 0.5
"""A canary needs 0.4 s of silence to tell it from a slow answer."""

MIN_LOOK_S: Seconds = 1.5
"""A canary compares several exchanges to see that a link is slow, slices, tears messages or holds closes back."""

RATE_STEP = 1000
MAX_RATE = 100_000
"""Bytes a second; on a faster link a canary's request takes hardly longer than on a healthy one."""

MAX_PIECE = 64
"""Bytes; the shortest reply of a canary comes in several such pieces."""

MAX_TORN_REQUEST = 8000
"""Bytes; the longest request that a canary sends."""

MIN_CLOSE_DELAY_S: Seconds = 0.1
MAX_CLOSE_DELAY_S: Seconds = 3600.0


def check_values(key: str, fault: AnyFault) -> None:
    """Raise ConfigError for a value of the fault's own that breaks a rule; ``key`` is the fault's place."""
    if hasattr(fault, "duration"):
        require(fault.length > 0, f"{key}.duration", fault.length, "must be positive")
    match fault:
        case BlackholeFault() | StallFault() | FreezeFault() | ServerSuspendFault() | ClientSuspendFault():
            rule = f"must be at least {MIN_SILENCE_S:g} s: a canary cannot tell a shorter silence from a slow answer"
            require(fault.length >= MIN_SILENCE_S, f"{key}.duration", fault.length, rule)
        case LatencyFault():
            _check_latency(key, fault)
        case BandwidthFault() | SliceFault() | CutMidMessageFault() | SlowCloseFault():
            rule = f"must be at least {MIN_LOOK_S:g} s: a canary needs that long to see it"
            require(fault.length >= MIN_LOOK_S, f"{key}.duration", fault.length, rule)
            _check_sizes(key, fault)
        case ServerKillFault(crash=Crash() as crash):
            _check_crash(f"{key}.crash", crash, fault)


def _check_latency(key: str, fault: LatencyFault) -> None:
    rule = f"must be from {MIN_DELAY_S:g} to {MAX_DELAY_S:g} s: a canary must see it within the time that it has"
    require(MIN_DELAY_S <= fault.delay <= MAX_DELAY_S, f"{key}.delay", fault.delay, rule)
    rule = f"must be from 0 to the delay ({fault.delay:g} s)"
    require(0 <= fault.spread <= fault.delay, f"{key}.spread", fault.spread, rule)


def _check_sizes(key: str, fault: BandwidthFault | SliceFault | CutMidMessageFault | SlowCloseFault) -> None:
    match fault:
        case BandwidthFault(rate=rate):
            rule = f"must be a multiple of {RATE_STEP:,} from {RATE_STEP:,} to {MAX_RATE:,} bytes a second"
            require(RATE_STEP <= rate <= MAX_RATE and rate % RATE_STEP == 0, f"{key}.rate", rate, rule)
        case SliceFault(size=size, delay=delay):
            require(1 <= size <= MAX_PIECE, f"{key}.size", size, f"must be from 1 to {MAX_PIECE} bytes")
            most = size / 1000
            rule = f"must be from {MIN_DELAY_S:g} to {most:g} s with this size: a short exchange takes a second then"
            require(MIN_DELAY_S <= delay <= most, f"{key}.delay", delay, rule)
        case CutMidMessageFault(after=after, direction=direction):
            most = MAX_PIECE if direction is Direction.DOWN else MAX_TORN_REQUEST
            rule = f"must be from 1 to {most:,} bytes with this direction: a canary must see a message torn"
            require(1 <= after <= most, f"{key}.after", after, rule)
        case SlowCloseFault(delay=delay):
            rule = f"must be from {MIN_CLOSE_DELAY_S:g} to {MAX_CLOSE_DELAY_S:,.0f} s"
            require(MIN_CLOSE_DELAY_S <= delay <= MAX_CLOSE_DELAY_S, f"{key}.delay", delay, rule)


def _check_crash(key: str, crash: Crash, fault: ServerKillFault) -> None:
    require(crash.skip >= 0, f"{key}.skip", crash.skip, "must not be negative")
    rule = f"must be at least 0 and less than the fault's duration ({fault.length:g} s)"
    require(0 <= crash.within < fault.length, f"{key}.within", crash.within, rule)
    require(crash.pause >= 0, f"{key}.pause", crash.pause, "must not be negative")
    require(0 <= crash.kept <= 1, f"{key}.kept", crash.kept, "must be a share from 0 to 1")
