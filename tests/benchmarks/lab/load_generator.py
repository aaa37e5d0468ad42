"""One process of clients: ``python -m tests.benchmarks.lab.load_generator``. Reads orders by line, answers by line.

Instants are the system's monotonic clock, which every process of the machine shares; durations are seconds.
"""

from __future__ import annotations

import asyncio
import functools
import json
import random
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from .frames import frame, upgrade
from .raw_client import WELCOMES, RawClient

QUESTION, PRESENCE, REVEALED = b'{"type":"question_opened"', b'{"type":"presence_changed"', b'{"type":"question_rev'
BROADCAST = b"at "
RETRY_AFTER = "retry_after="
TIMEOUT_S = 60.0
TRIES = 10

Answer = dict[str, Any]


class LoadGenerator:
    """The clients of one process, and the commands that all of them carry out together.

    ``proxied``: no two heads are alike, as behind a proxy that adds the address of each client.
    """

    def __init__(  # noqa: PLR0917 - the fields of the first order
        self, host: str, port: int, path: str, event: str, start: int, proxied: bool = False
    ) -> None:
        self._address, self._event, self._start = (host, port), event, start
        self._request = functools.partial(upgrade, f"{host}:{port}", path, proxied=proxied)
        self._clients: list[RawClient] = []
        self._heard: dict[bytes, list[float]] = defaultdict(list)
        self._by_client: dict[int, list[float]] = defaultdict(list)

    async def clients(self, count: int) -> Answer:
        """Have so many clients, none of them connected."""
        numbers = range(self._start, self._start + count)
        self._clients = [RawClient(number, self._request(number), self._hear) for number in numbers]
        return {}

    async def dial(self, say: str, share: float = 1.0) -> Answer:
        """All connect at once, say ``echo``, ``join`` or ``resume`` and wait for its answer."""
        clients = self._clients[: round(len(self._clients) * share)]
        began = time.monotonic()
        took = await asyncio.gather(*(self._arrive(client, say, began) for client in clients))
        good = sorted(second for second, _ in took if second is not None)
        failures = sorted({why for second, why in took if second is None})
        return {
            "began": began,
            "last": began + good[-1] if good else began,
            "arrived": len(good),
            "failures": failures[:5],
            "deferred": sum(1 for second, why in took if second is not None and why),
        }

    async def drop(self, hard: bool = True) -> Answer:
        """All leave at once, without a leave message."""
        for client in self._clients:
            client.drop(hard=hard)
        await asyncio.sleep(0)
        return {"open": sum(client.open for client in self._clients)}

    async def order(self, text: str) -> Answer:
        """The first client says this."""
        self._clients[0].say(frame(text.encode()))
        return {}

    async def collect(self, kind: str, count: int, within: float) -> Answer:
        """Wait until one text that begins with ``kind`` has come ``count`` times; when, and forget it."""
        wanted, deadline = kind.encode(), time.monotonic() + within
        while True:
            texts = [text for text in self._heard if text.startswith(wanted)]
            whole = next((text for text in texts if len(self._heard[text]) >= count), None)
            if whole is not None:
                times = self._heard.pop(whole)
                return {"text": whole.decode(), "first": min(times), "last": max(times), "count": len(times)}
            if time.monotonic() > deadline:
                return {"text": "", "count": max((len(self._heard[text]) for text in texts), default=0)}
            await asyncio.sleep(0.01)

    async def answer(self, spread: float, seed: int, within: float) -> Answer:
        """After the next question, each answers at a moment drawn over ``spread``; latencies from that moment."""
        opened = await self.collect(QUESTION.decode(), len(self._clients), within)
        name = json.loads(opened["text"])["question"]["id"].encode()
        text = b'{"type":"answer","question":"%s","choice":0,"key":"k%d"}'
        result = b'{"type":"answer_result","question":"%s","key":"k%d","verdict":"accepted"'
        return await self._submit(lambda n: (text % (name, n), result % (name, n)), spread, seed)

    async def say(self, text: str, spread: float, seed: int) -> Answer:
        """The same with any text that a server echoes."""
        said = text.encode()
        return await self._submit(lambda _: (said, said), spread, seed)

    async def flap(self, count: int, over: float, away: tuple[float, float], shown: float, seed: int) -> Answer:
        """The last ``count`` each drop within ``over`` and resume after a part of ``away``; ``shown`` to see it."""
        self._by_client.clear()
        chance, began = random.Random(seed), time.monotonic()
        flapping = self._clients[-count:]
        plans = [(client, chance.uniform(0, over), chance.uniform(*away)) for client in flapping]
        returned = await asyncio.gather(*(self._flap(*plan) for plan in plans))
        await asyncio.sleep(shown)
        steady = [self._by_client[client.number] for client in self._clients[:-count]]
        return {
            "returned": sum(returned),
            "frames": max(map(len, steady)),
            "in_a_second": max(map(_most_in_a_second, steady)),
            "seconds": time.monotonic() - began,
        }

    # parts ------------------------------------------------------------------------------------------------------------

    async def _arrive(self, client: RawClient, say: str, began: float) -> tuple[float | None, str]:
        why = ""
        for _ in range(TRIES):
            try:
                return await self._dial(client, say) - began, why
            except (OSError, TimeoutError) as error:
                why = f"{type(error).__name__}: {error}"
                _, found, after = why.partition(RETRY_AFTER)
                if not found:
                    return None, why
                await asyncio.sleep(float(after.split()[0]))
        return None, why

    async def _dial(self, client: RawClient, say: str) -> float:
        client.first, wanted = self._first(client, say)
        reply = client.expect(wanted)
        await asyncio.get_running_loop().create_connection(lambda: client, *self._address)
        async with asyncio.timeout(TIMEOUT_S):
            return await reply

    def _first(self, client: RawClient, say: str) -> tuple[bytes, bytes]:
        if say == "resume":
            text = b'{"type":"resume","event":"%s","token":"%s","protocol":1}'
            return frame(text % (self._event.encode(), client.token)), WELCOMES[1]
        text = b'{"type":"join","event":"%s","name":"player %d","instance":"i%d","protocol":1}'
        first = frame(text % (self._event.encode(), client.number, client.number))
        return first, WELCOMES[0] if say == "join" else b'{"type":"join"'

    async def _submit(self, words: Callable[[int], tuple[bytes, bytes]], spread: float, seed: int) -> Answer:
        """Each says its text at a moment drawn over ``spread`` and waits for the reply that begins as it should."""
        chance, loop = random.Random(seed), asyncio.get_running_loop()
        began = time.monotonic() + 0.05
        waits: list[tuple[float, asyncio.Future[float]]] = []
        for client in self._clients:
            planned = began + chance.uniform(0, spread)
            said, wanted = words(client.number)
            waits.append((planned, client.expect(wanted)))
            loop.call_later(max(planned - time.monotonic(), 0.0), client.say, frame(said))
        async with asyncio.timeout(TIMEOUT_S):
            late = [await reply - planned for planned, reply in waits]
        last = max(reply.result() for _, reply in waits)
        return {"latencies": sorted(late), "seconds": last - began}

    async def _flap(self, client: RawClient, at: float, away: float) -> bool:
        await asyncio.sleep(at)
        client.drop()
        await asyncio.sleep(away)
        return (await self._arrive(client, "resume", 0.0))[0] is not None

    def _hear(self, client: RawClient, now: float, text: bytes) -> None:
        if text.startswith((QUESTION, REVEALED, BROADCAST)):
            self._heard[text].append(now)
        elif text.startswith(PRESENCE):
            self._by_client[client.number].append(now)


def _most_in_a_second(times: list[float]) -> int:
    return max((sum(1 for other in times[i:] if other < t + 1.0) for i, t in enumerate(times)), default=0)


async def main() -> None:
    """Carry out orders until there are none."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    load = LoadGenerator(**json.loads(await reader.readline()))
    while line := await reader.readline():
        order = json.loads(line)
        act: Callable[..., Awaitable[Answer]] = getattr(load, order.pop("do"))
        answer = await act(**order)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main())
