"""The reference driver as one with ``quiz_records``: it reports the same of its clients as log records."""

from __future__ import annotations

import asyncio
import json
import time

from chaos.drivers.examples import reconnecting

KINDS = {
    "attempt": "transport.opening",
    "failed": "transport.failed",
    "opened": "transport.opened",
    "restored": "session.joined",
    "lost": "transport.lost",
    "acknowledged": "answer.acked",
}
say = reconnecting.report


def record(kind: str, **fields: object) -> None:
    """A report about a client as the record that stands in its place; any other as it is."""
    if kind not in KINDS:
        say(kind, **fields)
        return
    kept = {"client": fields["client"], "cause": fields.get("cause"), "ref": fields.get("key")}
    line = json.dumps({"type": "recorded", "t": time.monotonic(), "kind": KINDS[kind], **kept})
    print(line, flush=True)  # noqa: T201 - its protocol


if __name__ == "__main__":
    reconnecting.report = record
    asyncio.run(reconnecting.main())
