"""From a loss to the first request that reaches the server: round by round, for many clients at once. Pure.

Until then no server decides anything, so a round is one call of the policy for all clients whose dials have failed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..random_arrays import Keys, uniforms
from .population import Floats, Rows
from .retries import NOT_YET, delays, dial_instants, incident_keys, spent
from .rules import PopulationRules


@dataclass(frozen=True, eq=False)
class Losses:
    """Clients that have lost their server. ``seeds``: of their draws; ``incident``: the number of this one.

    ``silent``, ``torn``: what the outage does to dials until its ``end``; ``advised``: the close had a retry time.
    """

    seeds: Keys
    incident: npt.NDArray[np.int32]
    lost: Floats
    end: Floats
    silent: npt.NDArray[np.bool_]
    torn: npt.NDArray[np.bool_]
    advised: npt.NDArray[np.bool_]
    latency: Floats
    next_start: Floats


@dataclass(eq=False)
class Climbs:
    """How each client gets to a dial that its own outage no longer stops.

    ``dialled``: when that dial begins; ``arrives``: its request at the server; ``packet``: which first packet is
    answered. ``gave_up``: when the budget was spent instead, else infinite. ``entangled``: the participant's next
    outage is near that dial. ``attempt`` and ``previous`` are the policy's count and its last delay;
    ``waited`` is the length of the free wait that it was advised, -1 without; ``dials`` counts dials with that one.
    """

    dialled: Floats
    arrives: Floats
    packet: npt.NDArray[np.int8]
    attempt: npt.NDArray[np.int16]
    dials: npt.NDArray[np.int16]
    previous: Floats
    waited: Floats
    gave_up: Floats
    entangled: npt.NDArray[np.bool_]

    @classmethod
    def empty(cls, n: int) -> Climbs:
        """So many clients at the foot of the ladder."""
        return cls(
            np.full(n, np.inf),
            np.full(n, np.inf),
            np.zeros(n, np.int8),
            np.zeros(n, np.int16),
            np.zeros(n, np.int16),
            np.full(n, NOT_YET),
            np.full(n, NOT_YET),
            np.full(n, np.inf),
            np.zeros(n, np.bool_),
        )


def climb(losses: Losses, rules: PopulationRules) -> Climbs:
    """Carry every client to its first request, or to the end of its budget."""
    policy = rules.client.backoff
    climbs = Climbs.empty(len(losses.lost))
    keys = incident_keys(losses.seeds, losses.incident)
    left, now, attempt = np.arange(len(losses.lost)), losses.lost.copy(), 0
    if losses.advised.any():
        left, now = _wait_as_advised(climbs, losses, rules)
    while len(left):
        attempt += 1
        elapsed = (now[left] - losses.lost[left]) - np.maximum(climbs.waited[left], 0.0)
        over = spent(policy, attempt, elapsed)
        gone = left[over]
        climbs.gave_up[gone], climbs.attempt[gone] = now[gone], attempt - 1
        left, elapsed = left[~over], elapsed[~over]
        previous = climbs.previous[left] if attempt > 1 else None
        delay = delays(rules, attempt, elapsed, uniforms(keys[left], attempt), previous)
        climbs.previous[left], climbs.attempt[left] = delay, attempt
        dialled = dial_instants(now[left], delay)
        left, failed_at = _dial(climbs, losses, left, dialled, rules)
        now[left] = failed_at
    return climbs


def _wait_as_advised(climbs: Climbs, losses: Losses, rules: PopulationRules) -> tuple[Rows, Floats]:
    """The free wait and the dial of those who are advised; returns who has to try again, and when each decides that."""
    now, advised = losses.lost.copy(), np.flatnonzero(losses.advised)
    climbs.waited[advised] = rules.advice
    failed, at = _dial(climbs, losses, advised, now[advised] + rules.advice, rules)
    now[failed] = at
    return np.sort(np.concatenate([np.flatnonzero(~losses.advised), failed])), now


def _dial(climbs: Climbs, losses: Losses, left: Rows, dialled: Floats, rules: PopulationRules) -> tuple[Rows, Floats]:
    """Dial once, each at its instant; returns the clients whose dial fails, and when it does."""
    end, silent, latency = losses.end[left], losses.silent[left], losses.latency[left]
    torn = losses.torn[left]
    climbs.dials[left] += 1
    near = dialled + rules.slack >= losses.next_start[left]
    offset, packet = np.zeros(len(left)), np.full(len(left), -1, np.int8)
    for number, at in enumerate(rules.syn_times):
        answered = (packet < 0) & (dialled + at >= end) & (silent | (number == 0))
        packet[answered], offset[answered] = number, at
    ended = near | (packet >= 0)
    through = left[ended]
    climbs.dialled[through], climbs.packet[through] = dialled[ended], packet[ended]
    climbs.arrives[through] = (dialled + offset + 3 * latency)[ended]
    climbs.entangled[through] = near[ended]
    timeout = dialled + rules.client.open_timeout
    failed_at = np.where(torn, np.minimum(timeout, end), np.where(silent, timeout, dialled + 2 * latency))
    return left[~ended], failed_at[~ended]
