"""The toxics of one proxy, switched on and off under traffic so that Toxiproxy neither hangs nor crashes.

Toxiproxy hands over what a removed toxic still holds to the next one of the chain, or to the connection itself, and
waits until that is taken. Where the client has left, nothing takes it, and the control API hangs for good: within
seconds when clients leave while the server sends. A connection that is closing meanwhile keeps the removed toxic in its
own chain, and the next addition crashes the server. So a toxic that can hold bytes is never removed:

* it is added inert (toxicity 0), then followed by a *tail*, a latency toxic of 0 ms whose queue takes what it held, and
  armed last, since Toxiproxy interrupts the end of the chain to add to it;
* it is switched off by disarming it, and armed again, with other settings, when the next one of its kind is wanted.

``timeout`` toxics throw bytes away and hold none; removing one closes its connections, which is what it is for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .toxics import Latency, LimitData, Timeout, Toxic

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilience.lab.system import CallTimes

    from .client import ToxiproxyApi


@dataclass(slots=True)
class _Slot:
    """A toxic in the server's chain, and the one that it acts as; ``None``: it is inert."""

    present: Toxic
    acts_as: Toxic | None


class ToxicChain:
    """What was added to the chains of one proxy. Forget it with the proxy, or when all toxics were removed.

    Every method raises ToxiproxyError when the server does not obey; what is in the chain is unknown then.
    """

    def __init__(self, api: Callable[[], ToxiproxyApi], proxy: str) -> None:
        self._api, self._proxy = api, proxy
        self._slots: list[_Slot] = []

    async def add(self, toxic: Toxic) -> CallTimes:
        """Have the toxic act on every connection; the times are those of the order that made it act."""
        if isinstance(toxic, Timeout):
            return await self._api().add_toxic(self._proxy, toxic)
        slot = next((slot for slot in self._slots if _can_act_as(slot, toxic)), None)
        if slot is None:
            slot = _Slot(toxic, None)
            await self._api().add_inert_toxic(self._proxy, toxic)
            await self._api().add_toxic(self._proxy, _tail(toxic))
            self._slots.append(slot)
        slot.acts_as = toxic
        return await self._api().arm_toxic(self._proxy, replace(toxic, name=slot.present.name))

    async def remove(self, toxic: Toxic) -> CallTimes:
        """End the toxic: held bytes go through; one that threw bytes away closes its connections."""
        if isinstance(toxic, Timeout):
            return await self._api().remove_toxic(self._proxy, toxic.name)
        slot = next((slot for slot in self._slots if slot.acts_as == toxic), None)
        if slot is None:  # it was added in part, and acts on nothing
            return await self._api().disarm_toxic(self._proxy, toxic)
        slot.acts_as = None
        return await self._api().disarm_toxic(self._proxy, replace(toxic, name=slot.present.name))


def _can_act_as(slot: _Slot, toxic: Toxic) -> bool:
    """Whether the slot is free and of the same kind; a limit keeps the count of the one before."""
    alike = (slot.present.kind, slot.present.stream) == (toxic.kind, toxic.stream)
    return slot.acts_as is None and alike and not isinstance(toxic, LimitData)


def _tail(toxic: Toxic) -> Latency:
    return Latency(stream=toxic.stream, latency_ms=0, jitter_ms=0, name=f"tail-{toxic.name}")
