"""One process of hostile clients: ``python -m tests.hostile.attacker PORT MESSAGES SEED``. Prints counts as JSON."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
from collections import Counter

from .attacks import ATTACKS, Attack, Overstayed

AT_ONCE = 25


class AttackerProcess:
    """Attacks until so many messages were sent, every kind at least once."""

    def __init__(self, port: int, messages: int, seed: int) -> None:
        self._port, self._wanted = port, messages
        self._chance = random.Random(seed)
        self._attacks = itertools.chain(ATTACKS, iter(self._any, None))
        self.sent: Counter[str] = Counter()
        self.rounds: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.overstayed: Counter[str] = Counter()

    def _any(self) -> Attack:
        return self._chance.choice(ATTACKS)

    async def run(self) -> dict[str, dict[str, int]]:
        """Be done with it; returns messages, rounds and failed dials by attack, and who was not shown out in time."""
        await asyncio.gather(*(self._worker(number) for number in range(AT_ONCE)))
        counts = {"sent": self.sent, "rounds": self.rounds, "failed": self.failed, "overstayed": self.overstayed}
        return {name: dict(count) for name, count in counts.items()}

    async def _worker(self, number: int) -> None:
        chance = random.Random(self._chance.random() + number)
        while self.sent.total() < self._wanted or self.rounds.total() < len(ATTACKS):
            attack = next(self._attacks)
            name = attack.__name__
            self.rounds[name] += 1
            try:
                self.sent[name] += await attack(self._port, chance)
            except OSError:
                self.failed[name] += 1
            except Overstayed as error:
                self.overstayed[str(error)] += 1


if __name__ == "__main__":
    port, messages, seed = map(int, sys.argv[1:])
    sys.stdout.write(json.dumps(asyncio.run(AttackerProcess(port, messages, seed).run())) + "\n")
