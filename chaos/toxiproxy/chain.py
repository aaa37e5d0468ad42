"""The toxics of one proxy, added and removed under traffic so that Toxiproxy's control API does not hang.

Toxiproxy hands over what a removed toxic still holds to the next one of the chain, or to the connection itself, and
waits until that is taken. Where the client has gone nobody takes it, and the control API hangs for good: within
seconds when clients leave while the server sends. So every toxic that can hold bytes is followed by a *tail*, a
latency toxic of 0 ms whose queue takes what the removed one held. Toxiproxy adds toxics to the end of the chain only,
and interrupts the last one to do so, so a toxic is added inert (toxicity 0), then its tail, and then it is armed.

A tail stays until another one follows it. Toxics that throw bytes away hold none and need no tail.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, get_args

from .toxics import Latency, Stream, Timeout, Toxic

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilience.lab.system import CallTimes

    from .client import ToxiproxyApi


class ToxicChain:
    """What is in the chains of both streams, in Toxiproxy's order. Forget it with the proxy, or when all were removed.

    Every method raises ToxiproxyError when the server does not obey; what is in the chain is unknown then.
    """

    def __init__(self, api: Callable[[], ToxiproxyApi], proxy: str) -> None:
        self._api, self._proxy = api, proxy
        self._chains: dict[Stream, list[Toxic]] = {stream: [] for stream in get_args(Stream)}
        self._numbers = itertools.count(1)

    async def add(self, toxic: Toxic) -> CallTimes:
        """Have the toxic act on every connection; the times are those of the order that made it act."""
        chain = self._chains[toxic.stream]
        if not _holds_bytes(toxic):
            chain.append(toxic)
            return await self._api().add_toxic(self._proxy, toxic)
        chain.append(toxic)
        await self._api().add_inert_toxic(self._proxy, toxic)
        tail = Latency(stream=toxic.stream, latency_ms=0, jitter_ms=0, name=f"tail-{next(self._numbers)}")
        chain.append(tail)
        await self._api().add_toxic(self._proxy, tail)
        return await self._api().arm_toxic(self._proxy, toxic)

    async def remove(self, toxic: Toxic) -> CallTimes:
        """End the toxic: held bytes go through; a toxic that threw bytes away closes its connections."""
        chain = self._chains[toxic.stream]
        if toxic in chain:
            chain.remove(toxic)
        times = await self._api().remove_toxic(self._proxy, toxic.name, live=_holds_bytes(toxic))
        for first, second in itertools.pairwise(tuple(chain)):
            if _is_tail(first) and _is_tail(second):
                await self._api().remove_toxic(self._proxy, first.name, live=True)
                chain.remove(first)
        return times


def _holds_bytes(toxic: Toxic) -> bool:
    return not isinstance(toxic, Timeout)


def _is_tail(toxic: Toxic) -> bool:
    return isinstance(toxic, Latency) and toxic.name.startswith("tail-")
