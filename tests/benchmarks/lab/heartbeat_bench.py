"""Heartbeats without sockets: ``python -m tests.benchmarks.lab.heartbeat_bench room|tasks COUNT SECONDS``; prints JSON.

``room``   the product's room machine under its one timer, every ping answered at once; the collector set as
           ``resilience serve`` sets it.
``tasks``  the usual way: each connection has a task that sleeps, pings, and waits for the answer under a timeout.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time

import uvloop

from resilience.config import QuizConfig, ServerConfig
from resilience.protocol import codec
from resilience.protocol.effects import Persist, SendToClient
from resilience.protocol.messages import Join, Ping, Pong
from resilience.protocol.server.room import Room
from resilience.random_streams import random_for
from resilience.runtime import DeadlineTimer, RunClock
from resilience.server.serve import GC_THRESHOLDS
from tests.support.counted_names import counted

RULES = ServerConfig()


class HeartbeatBench:
    """A room whose clients are all well: commits at once, answers each ping at once."""

    def __init__(self, count: int) -> None:
        game = QuizConfig(lobby=86_400.0).game(1, 0.0)
        draws = random_for(1, "server")
        self.room = Room(game, RULES.room, epoch="1", new_id=counted(), new_token=counted("t"), draw=draws)
        self.clock, self.late, self.beats = RunClock(), [0.0], 0
        self._timer = DeadlineTimer(self.clock, self._due)
        for i in range(count):
            name = f"player {i}"
            self.room.receive(Join(event="quiz", name=name, instance=name), i + 1, self.clock.now())
            self.carry_out()

    def carry_out(self) -> None:
        """What the room wants done, with whatever follows from it."""
        while effects := self.room.effects():
            now = self.clock.now()
            for effect in effects:
                if isinstance(effect, Persist):
                    self.room.committed(effect.ticket, now)
                elif isinstance(effect, SendToClient):
                    codec.encode(effect.message)
                    if isinstance(effect.message, Ping):
                        self.beats += 1
                        self.room.receive(Pong(effect.message.id), effect.connection, now)
        self._timer.set_deadline(self.room.next_deadline())

    def _due(self) -> None:
        deadline, now = self.room.next_deadline(), self._timer.fired()
        if deadline is not None:
            self.late.append(now - deadline)
        self.room.handle_timeout(now)
        self.carry_out()


class Tasks:
    """A task for each connection."""

    def __init__(self, count: int) -> None:
        self.late, self.beats = [0.0], 0
        chance = random.Random(1)
        self._tasks = [
            asyncio.create_task(self._beat(chance.random() * RULES.heartbeat_interval)) for _ in range(count)
        ]

    async def _beat(self, first: float) -> None:
        loop, wait = asyncio.get_running_loop(), first
        while True:
            due = time.monotonic() + wait
            await asyncio.sleep(wait)
            self.late.append(time.monotonic() - due)
            self.beats += 1
            codec.encode(Ping(self.beats, 0, 0, 0))
            answered = loop.create_future()
            loop.call_soon(answered.set_result, None)
            async with asyncio.timeout(RULES.grace_period):
                await answered
            wait = RULES.heartbeat_interval

    def stop(self) -> None:
        """End them."""
        for task in self._tasks:
            task.cancel()


async def main(how: str, count: int, seconds: float) -> None:
    """Let hearts beat for so long and print what it took."""
    beating: HeartbeatBench | Tasks = HeartbeatBench(count) if how == "room" else Tasks(count)
    if how == "room":
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
    await asyncio.sleep(0.5)
    beating.late.clear()
    before, cpu = beating.beats, time.process_time()
    await asyncio.sleep(seconds)
    spent, beats, late = time.process_time() - cpu, beating.beats - before, sorted(beating.late)
    p99 = late[(len(late) - 1) * 99 // 100] if late else 0.0
    print(json.dumps({"cpu": spent / seconds * 60, "beats": beats, "late_p99": p99}))  # noqa: T201
    if isinstance(beating, Tasks):
        beating.stop()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
