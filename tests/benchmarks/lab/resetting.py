"""``resilience`` with cuts that are resets: ``python resetting.py chaos run FILE --out DIR``.

Toxiproxy's ``reset_peer`` decides at a connection's start that its close will be a reset; at toxicity 0 it does nothing
else. With it in place before the first client dials, the ``cut`` of an experiment is a reset of every connection.
"""

from __future__ import annotations

import asyncio
from typing import NoReturn

import requests

from chaos.proxied_link import Address, ProxiedLink
from resilience.cli import main

_connect = ProxiedLink.connect


def make_closes_resets(link: ProxiedLink) -> None:
    """From now on a close of a new connection of this link is a reset; Toxiproxy only knows toxicity 0 by raw call."""
    url = f"http://{link.process.host}:{link.process.api_port}/proxies/{link.cohort}/toxics"
    for stream in ("upstream", "downstream"):
        toxic = {"name": f"hard-{stream}", "type": "reset_peer", "stream": stream, "toxicity": 0.0}
        requests.post(url, json=toxic | {"attributes": {"timeout": 0}}, timeout=5).raise_for_status()


async def _connect_hard(link: ProxiedLink, upstream: Address) -> None:
    await _connect(link, upstream)
    await asyncio.get_running_loop().run_in_executor(None, make_closes_resets, link)


def run() -> NoReturn:
    """Run the command line with every link's closes made resets."""
    ProxiedLink.connect = _connect_hard  # type: ignore[method-assign,assignment]
    main()


if __name__ == "__main__":
    run()
