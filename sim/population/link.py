"""One participant's own link: when what is sent arrives, and what a dial meets. Pure; its outages are known beforehand.

A silent outage holds bytes: what is under way or sent meanwhile arrives one latency after its end, unless its sender
has closed the connection before. A torn one loses them, and what it accepted of a dial it closes at its end. A refused
outage ends the connection, and with it everything under way; so does a deployment. A client or
server that stands still leaves the link as it is.
"""

from __future__ import annotations

from typing import NamedTuple

from resilience.units import Instant, Seconds

from ..profiles.timelines import Outage, OutageKind

_OF_ENDS = frozenset((OutageKind.SUSPENDED, OutageKind.FROZEN))
"""Outages in which one of the two ends stands still, and the link between them works."""


class Passage(NamedTuple):
    """When a message arrives; ``held``: an outage kept it."""

    at: Instant
    held: bool


class Knock(NamedTuple):
    """What the first packet of a dial leads to: the request's arrival at the server, or a failure at the client."""

    at: Instant
    arrives: bool


class Link:
    """The outages of one participant, in order, and its one-way latency in seconds."""

    __slots__ = ("_broken", "latency", "outages")

    def __init__(self, outages: list[Outage], latency: Seconds) -> None:
        self.outages, self.latency = outages, latency
        self._broken = [outage for outage in outages if outage.kind not in _OF_ENDS]

    def passage(self, sent: Instant) -> Passage | None:
        """Of a message sent at this instant; ``None``: it is lost."""
        leaves = sent
        for start, end, kind in self._broken:
            if end <= leaves:
                continue
            if start > leaves + self.latency:
                break
            if kind != OutageKind.SILENT:
                return None
            leaves = end
        return Passage(leaves + self.latency, leaves > sent)

    def close_passage(self, sent: Instant) -> Instant | None:
        """When the other end learns that a connection is closed now; ``None``: its own timers must tell it."""
        arrival = sent + self.latency
        for start, end, kind in self._broken:
            if start <= arrival and sent < end and kind != OutageKind.TORN:
                return None
        return arrival

    def knock(self, sent: Instant) -> Knock | None:
        """Of a first packet sent at this instant: a request follows its answer; ``None``: it is not answered."""
        arrival = sent + 3 * self.latency
        for start, end, kind in self._broken:
            if end <= sent:
                continue
            if start > arrival:
                break
            if kind == OutageKind.SILENT:
                return None
            if kind == OutageKind.TORN:
                return Knock(end, arrives=False)
            return Knock(sent + 2 * self.latency if start <= sent else start, arrives=False)
        return Knock(arrival, arrives=True)
