"""Waves of attacks on one server that well-behaved clients use; prints what both saw.

``python -m tests.hostile --messages 100000``
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from resilience.server.metrics import MAX_EXPOSITION_AGE_S
from resilience.units import Seconds
from tests.support.deadlines import HANG_S
from tests.support.server_process import ROOT, ServerProcess, target

from .well_behaved import WellBehavedClients, percentile

SETTINGS = """
[server]
heartbeat_interval = 2.0
grace_period = 5.0
cleanup_interval = 10.0
first_message_deadline = 2.0
address_rate = 0
address_failures = 0
[quiz]
questions = 400
lobby = 1.0
question_time = 1.5
reveal_time = 0.5
leaderboard_time = 0.5
"""
CLIENTS = 50


class State(NamedTuple):
    """What a server holds at one moment."""

    connections: int
    descriptors: int
    threads: int
    memory: int
    participants: int


async def state(server: ServerProcess) -> State:
    """Measured now; the connection that asks is not counted."""
    shown = await server.metrics()
    people = sum(value for name, value in shown.items() if name.startswith("quiz_participants{"))
    connections = int(shown["quiz_connections"]) - 1
    return State(connections, server.descriptors(), server.threads(), server.memory(), int(people))


async def attack(server: ServerProcess, messages: int, seed: int) -> dict[str, dict[str, int]]:
    """Run the attackers in a process of their own until they are done."""
    words = [sys.executable, "-m", "tests.hostile.attacker", str(server.port), str(messages), str(seed)]
    process = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    done: dict[str, dict[str, int]] = json.loads(output)
    return done


async def quiet(server: ServerProcess, connections: int) -> State:
    """Wait until only so many connections are left; returns what the server holds then."""
    async with asyncio.timeout(HANG_S):
        while (await state(server)).connections > connections:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.2)
    await asyncio.sleep(0.5)
    return await state(server)


class Wave(NamedTuple):
    """One wave and what was left of it."""

    sent: dict[str, dict[str, int]]
    before: State
    after: State


async def waves(server: ServerProcess, messages: int, count: int) -> list[Wave]:
    """Several waves, with quiet between them."""
    found = []
    for seed in range(count):
        before = await state(server)
        sent = await attack(server, messages, seed)
        found.append(Wave(sent, before, await quiet(server, before.connections)))
    return found


async def besieged(folder: Path, messages: int, clients: int = CLIENTS) -> dict[str, Any]:
    """Two waves of so many messages while well-behaved clients answer; what these saw, and the server's own metrics."""
    async with target(folder, SETTINGS, "--event-log", str(folder / "log" / "events" / "server.jsonl")) as server:
        async with WellBehavedClients(clients, server.url) as well_behaved:
            await well_behaved.opened()
            await well_behaved.answered(2)
            calm = well_behaved.acks()
            for client in well_behaved.clients:
                client.acks.clear()
            found = await waves(server, messages, 2)
            await well_behaved.settle()
            stormy, wrongs = well_behaved.acks(), well_behaved.wrongs()
        await asyncio.sleep(MAX_EXPOSITION_AGE_S)  # an exposition that was made before the last answers may be shown
        shown = await server.get("/metrics")
        server.terminate()
        code = await server.wait()
        return {
            "waves": found,
            "calm": calm,
            "stormy": stormy,
            "wrongs": wrongs,
            "verdicts": well_behaved.verdicts(),
            "exit": code,
            "noise": server.noise(),
            "metrics": shown.body,
        }


def summary_of(found: dict[str, Any]) -> str:
    """The findings as text."""
    lines = []
    for number, wave in enumerate(found["waves"], 1):
        lines += [f"wave {number}: {sum(wave.sent['sent'].values())} messages in {wave.sent['rounds']}"]
        lines += [f"  {key} {wave.sent[key]}" for key in ("failed", "overstayed")]
        lines += [f"  before {wave.before}", f"  after  {wave.after}"]
    for when in ("calm", "stormy"):
        acks: Sequence[Seconds] = found[when]
        lines.append(
            f"acks, {when}: n {len(acks)}, p50 {percentile(acks, 0.5):.4f} s, p99 {percentile(acks, 0.99):.4f} s"
        )
    lines += [f"{key}: {found[key]}" for key in ("verdicts", "wrongs", "exit", "noise")]
    words = ("refused", "shed", "reconnections", "delayed", "losses")
    lines += [line for line in found["metrics"].splitlines() if line[0] != "#" and any(word in line for word in words)]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.hostile")
    parser.add_argument("--messages", type=int, default=100_000, help="messages of each wave")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="well-behaved clients")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = asyncio.run(besieged(Path(place), options.messages, options.clients))
    sys.stdout.write(summary_of(found) + "\n")
    sys.exit(bool(found["wrongs"] or found["noise"] or found["exit"]))
