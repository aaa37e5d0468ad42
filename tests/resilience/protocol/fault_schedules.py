"""Schedules of trouble, carried out on a pair: random ones for the property tests, a fixed hammer for directed ones."""

from __future__ import annotations

from resilience.config import QuizConfig
from resilience.protocol.server.room import Room
from resilience.random_streams import uniform
from tests.resilience.protocol.machine_pair import COMMIT_S, MachinePair, Peer
from tests.support.strategies import Trouble

QUIZ = QuizConfig(questions=30)
"""About five minutes of questions."""


def plan(pair: MachinePair, troubles: list[Trouble]) -> None:
    """Let each trouble begin and end at its time."""
    for trouble in troubles:
        peer = pair.peers[trouble.peer]
        pair.at(trouble.at, lambda t=trouble, p=peer: _begin(pair, p, t))  # type: ignore[misc]
        pair.at(trouble.at + trouble.lasts, lambda t=trouble, p=peer: _end(pair, p, t))  # type: ignore[misc]


def heal_all(pair: MachinePair, at: float, leave_in_peace: float = 240.0) -> None:
    """Everything works again from a time on; run until all that this takes must have happened."""
    pair.run(at)
    pair.store_broken, pair.commit_s = False, COMMIT_S
    pair.latency, pair.stalled_until = 0.01, pair.now
    for peer in pair.peers:
        if peer.link != "up" or peer.orphans:
            pair.heal(peer)
    pair.run(at + leave_in_peace)


def hammered(room_type: type[Room] = Room, *, seed: int = 1, commit_s: float = 0.3) -> MachinePair:
    """Two clients on a slow link to a slow store, cut, silenced and let back every other second for two minutes."""
    pair = MachinePair(2, seed=seed, quiz=QUIZ, latency=0.1, commit_s=commit_s, room_type=room_type)
    pair.start(spread=0.5)
    for number in range(60):
        for index, peer in enumerate(pair.peers):
            at = 3.0 + 2 * (number + uniform(seed, "hammer", number, index))
            if uniform(seed, "kind", number, index) < 0.3:
                pair.at(at, lambda p=peer: _go(p, "silent"))  # type: ignore[misc]
            else:
                late = 4 * uniform(seed, "late", number, index)
                pair.at(at, lambda p=peer, late=late: pair.heal(p, late))  # type: ignore[misc]
    heal_all(pair, 124.0, leave_in_peace=400.0)
    return pair


def _begin(pair: MachinePair, peer: Peer, trouble: Trouble) -> None:
    match trouble.kind:
        case "cut":
            if peer.link == "up":
                pair.cut(peer, trouble.late)
        case "hole" | "silent":
            _go(peer, trouble.kind)
        case "refused":
            _go(peer, "refused")
            pair.cut(peer, trouble.late)
        case "slow":
            pair.latency = min(0.02 + trouble.lasts / 40, 1.5)
        case "store":
            pair.store_broken = True
        case "slow store":
            pair.commit_s = min(0.5 + trouble.lasts / 5, 12.0)
        case "stall":
            pair.stall(trouble.lasts)


def _end(pair: MachinePair, peer: Peer, trouble: Trouble) -> None:
    match trouble.kind:
        case "hole" | "silent" | "refused":
            pair.heal(peer, trouble.late)
        case "slow":
            pair.latency = 0.01
        case "store":
            pair.store_broken = False
        case "slow store":
            pair.commit_s = COMMIT_S


def _go(peer: Peer, link: str) -> None:
    if peer.link == "up":
        peer.link = link
