"""The reference driver with one defect, for the checker to find: ``python defective_driver.py DEFECT``."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import signal
import sys
import time
from collections.abc import Callable

from chaos.drivers.examples import reconnecting
from tests.support import recording_driver
from tests.support.processes import eventually

sound_report, sound_live = reconnecting.report, reconnecting.live
COUNT = itertools.count(1)


def _backwards(kind: str, **fields: object) -> None:
    """Times that run backwards, but for the answers to greetings."""
    sound_report(kind, **(fields if kind == "ready" else {**fields, "t": time.monotonic() - 0.1 * next(COUNT)}))


def _hides_losses(kind: str, **fields: object) -> None:
    if kind != "lost":
        sound_report(kind, **fields)


def _hides_the_end(kind: str, **fields: object) -> None:
    if kind != "ended":
        sound_report(kind, **fields)


def _hides_acts(kind: str, **fields: object) -> None:
    if kind != "acknowledged":
        sound_report(kind, **fields)


def _expects_a_greeting(kind: str, **fields: object) -> None:
    """Its clients have a session when their server has said so; this one never does."""
    if kind not in {"restored", "acknowledged"}:
        sound_report(kind, **fields)


def _receives_over_nothing(kind: str, **fields: object) -> None:
    """Its clients hear something before their first connection."""
    if kind == "attempt":
        sound_report("received", client=fields["client"], text="{}")
    sound_report(kind, **fields)


def _records_half(kind: str, **fields: object) -> None:
    """Records, and reports what its clients receive and not what they send."""
    if kind == "acknowledged":
        sound_report("received", client=fields["client"], text='{"type":"confetti"}')
    recording_driver.record(kind, **fields)


def _chatters(kind: str, **fields: object) -> None:
    if kind == "opened":
        sys.stdout.write(f"hurrah, {fields['client']} is there\n")
    sound_report(kind, **fields)


def _ignores_unknown(kind: str, **fields: object) -> None:
    if kind != "error":
        sound_report(kind, **fields)


async def _pretends(client: str, url: str, chance: random.Random) -> None:
    """Says that it connects, and does not."""
    for kind in ("attempt", "opened"):
        sound_report(kind, client=client)
    sound_report("restored", client=client, how="fresh")
    await asyncio.Event().wait()


async def _tries_once(client: str, url: str, chance: random.Random) -> None:
    """Gives up when its first connection is over."""
    task = asyncio.ensure_future(sound_live(client, url, chance))
    await eventually(lambda: client in reconnecting.SOCKETS)
    await eventually(lambda: client not in reconnecting.SOCKETS)
    task.cancel()
    sound_report("gave_up", client=client)


def _dies_of_strangers() -> None:
    """A field or a message that it does not know ends it."""
    sound = json.loads

    def strict(line: str) -> object:
        order = sound(line)
        if "surprise" in order:
            raise KeyError("surprise")
        return order

    reconnecting.json.loads = strict  # type: ignore[attr-defined]


def _does_not_stop() -> None:
    sound = asyncio.run

    def run(main: object) -> None:
        sound(main)  # type: ignore[arg-type]
        time.sleep(600)

    asyncio.run = run  # type: ignore[assignment]


def _dies_when_suspended() -> None:
    signal.signal(signal.SIGCONT, lambda *_: sys.exit(3))


DEFECTS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "backwards": lambda: setattr(reconnecting, "report", _backwards),
    "hides_losses": lambda: setattr(reconnecting, "report", _hides_losses),
    "hides_the_end": lambda: setattr(reconnecting, "report", _hides_the_end),
    "hides_acts": lambda: setattr(reconnecting, "report", _hides_acts),
    "expects_a_greeting": lambda: setattr(reconnecting, "report", _expects_a_greeting),
    "receives_over_nothing": lambda: setattr(reconnecting, "report", _receives_over_nothing),
    "records_half": lambda: setattr(reconnecting, "report", _records_half),
    "chatters": lambda: setattr(reconnecting, "report", _chatters),
    "ignores_unknown": lambda: setattr(reconnecting, "report", _ignores_unknown),
    "pretends": lambda: setattr(reconnecting, "live", _pretends),
    "tries_once": lambda: setattr(reconnecting, "live", _tries_once),
    "dies_of_strangers": _dies_of_strangers,
    "does_not_stop": _does_not_stop,
    "dies_when_suspended": _dies_when_suspended,
}


if __name__ == "__main__":
    DEFECTS[sys.argv[1]]()
    asyncio.run(reconnecting.main())
