"""A client driver without sockets: its clients have a session as soon as they are opened. Breaks one rule on demand.

``python scripted_driver.py [DEFECT]``; the defects are the keys of :data:`DEFECTS`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

Order = dict[str, Any]


def say(kind: str, **fields: object) -> None:
    line = json.dumps({"type": kind, "t": time.monotonic(), **fields})
    print(line, flush=True)  # noqa: T201 - its protocol


def hello(order: Order) -> None:
    say("ready", version=1, n=order["n"], name="scripted")


def open_(order: Order) -> None:
    for kind, fields in (("attempt", {}), ("opened", {}), ("restored", {"how": "fresh"})):
        say(kind, client=order["client"], **fields)


def act(order: Order) -> None:
    say("acknowledged", client=order["client"], key=order["key"])


def stop(order: Order) -> None:
    say("ended")
    sys.exit(0)


ORDERS: dict[str, Callable[[Order], None]] = {"hello": hello, "open": open_, "act": act, "stop": stop}


def _without_session(order: Order) -> None:
    say("restored", client=order["client"], how="fresh")


def _older(order: Order) -> None:
    say("ready", version=7, n=order["n"])


def _late(order: Order) -> None:
    """Answers in order while its clock is measured, and then with a clock that jumps."""
    ahead = 5.0 if order["n"] > 8 else 0.0
    say("ready", version=1, n=order["n"], t=time.monotonic() + ahead)


def _silent(order: Order) -> None:
    if order["n"] <= 8:
        hello(order)


def _unasked(order: Order) -> None:
    say("acknowledged", client=order["client"], key="another")


def _stranger(order: Order) -> None:
    say("attempt", client="stranger")


def _future(order: Order) -> None:
    say("attempt", client=order["client"], t=time.monotonic() + 5.0)


def _chatter(order: Order) -> None:
    sys.stdout.write(f"connecting {order['client']}\n")
    sys.stdout.flush()


def _dies(order: Order) -> None:
    sys.exit("out of ideas")


def _cannot(order: Order) -> None:
    say("error", message="there is no such server")


def _received(order: Order) -> None:
    say("received", client=order["client"], text='{"type":"ping","id":1,"spread_ms":0,"step_ms":0,"cap_ms":0}')


def _records(order: Order) -> None:
    """As a client with ``quiz_records`` that has a connection and hears a message that only newer clients know."""
    for kind in ("transport.opening", "transport.opened", "session.joined"):
        line = {"type": "recorded", "t": time.monotonic(), "client": order["client"], "kind": kind, "connection_no": 1}
        print(json.dumps(line), flush=True)  # noqa: T201 - its protocol
    say("received", client=order["client"], text='{"type":"confetti","seq":7}')


def _hangs(order: Order) -> None:
    time.sleep(600)


DEFECTS: dict[str, dict[str, Callable[[Order], None]]] = {
    "none": {},
    "out_of_order": {"open": _without_session},
    "other_version": {"hello": _older},
    "clock_jumps": {"hello": _late},
    "falls_silent": {"hello": _silent},
    "wrong_key": {"act": _unasked},
    "stranger": {"open": _stranger},
    "future": {"open": _future},
    "chatter": {"open": _chatter},
    "receives": {"act": _received},
    "records": {"open": _records, "act": lambda _: None},
    "records_and_hangs": {"open": _records, "act": lambda _: None, "stop": _hangs},
    "dies": {"open": _dies},
    "cannot": {"open": _cannot},
    "never_ready": {"hello": _hangs},
    "hangs_at_the_end": {"stop": _hangs},
    "ends_early": {"open": stop},
}


def main() -> None:
    orders = ORDERS | DEFECTS[sys.argv[1]] if len(sys.argv) > 1 else ORDERS
    for line in sys.stdin:
        order = json.loads(line)
        orders[order["type"]](order)


if __name__ == "__main__":
    main()
