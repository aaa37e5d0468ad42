"""Every fault kind as one declaration: its target, its begin and end as primitive operations, its symptom. Pure.

``declaration`` is what all kinds share; a new kind is one class in the module of its target (plus a primitive where one
is missing). When a fault strikes and whom is the schedule's affair (``schedule``), how an operation is carried out each
lane's. What the kinds do on the wire:

``cut``          every connection of the cohort is closed once (FIN at both ends); new ones are accepted at once.
``reset``        the same with RST.
``refuse``       every connection is closed and new ones are refused until the window ends.
``blackhole``    bytes vanish while connections stay open; new connections are accepted but never answered; a close by
                 either end still passes. When the window ends every connection is closed, since bytes are missing.
``server_kill``  the server process ends at once (SIGKILL); one on the same database starts when the window ends.
``server_suspend``  the server process stops where it is (SIGSTOP) and continues when the window ends (SIGCONT): nothing
                 is lost, nothing is answered, new connections wait in the system's queue.
``server_drain`` the server is asked to end (SIGTERM): it closes each connection with advice; one on the same database
                 starts when the window ends.
``client_suspend``  the clients stand still (SIGSTOP) and continue when the window ends (SIGCONT): what was sent to them
                 waits in their system's buffers.
``client_duplicate``  each client that has a session opens a second tab with a copy of it, which stays.
``token_replay`` an old token of each client that has a session is presented from elsewhere; nothing else happens.

Each kind says by when its connections are closed (``connections_end``): where it does, no connection survives a window,
and one that is alive afterwards was not on the link that the fault acted on. A connection can survive the others:

``stall``            bytes wait, and a close behind them; when the window ends all arrive, in order.
``freeze``           nothing passes, closes and new connections included; when the window ends all arrive, in order.
``latency``          bytes take longer each way, more or less; none overtakes.
``bandwidth``        each connection passes a limited number of bytes a second each way.
``slice``            bytes arrive in small pieces, one after the other.
``cut_mid_message``  each connection is closed after so many bytes, which tears a message.
``slow_close``       a close arrives later at the other end; bytes do not.

Each kind also says in which directions nothing arrives (``silent_ways``), and which lanes can carry it out (``lanes``).
"""

from __future__ import annotations

from typing import get_args

from resilience.experiment.faults.client_faults import ClientDuplicateFault, ClientSuspendFault, TokenReplayFault
from resilience.experiment.faults.declaration import CODE_LANES, EVERY_LANE, Fault, FaultEdge
from resilience.experiment.faults.link_faults import (
    BandwidthFault,
    BlackholeFault,
    CutFault,
    CutMidMessageFault,
    FreezeFault,
    LatencyFault,
    RefuseFault,
    ResetFault,
    SliceFault,
    SlowCloseFault,
    StallFault,
)
from resilience.experiment.faults.server_faults import ServerDrainFault, ServerKillFault, ServerSuspendFault

__all__ = [
    "CODE_LANES",
    "EVERY_LANE",
    "REPLACES_SERVER",
    "AnyFault",
    "BandwidthFault",
    "BlackholeFault",
    "ClientDuplicateFault",
    "ClientSuspendFault",
    "CutFault",
    "CutMidMessageFault",
    "Fault",
    "FaultEdge",
    "FreezeFault",
    "LatencyFault",
    "RefuseFault",
    "ResetFault",
    "ServerDrainFault",
    "ServerKillFault",
    "ServerSuspendFault",
    "SliceFault",
    "SlowCloseFault",
    "StallFault",
    "TokenReplayFault",
    "connections_end",
    "kinds",
    "kinds_of",
]

AnyFault = (
    CutFault
    | ResetFault
    | RefuseFault
    | BlackholeFault
    | StallFault
    | FreezeFault
    | LatencyFault
    | BandwidthFault
    | SliceFault
    | CutMidMessageFault
    | SlowCloseFault
    | ServerKillFault
    | ServerSuspendFault
    | ServerDrainFault
    | ClientSuspendFault
    | ClientDuplicateFault
    | TokenReplayFault
)


def kinds() -> dict[str, type[AnyFault]]:
    """Every kind of fault by its name."""
    return {str(fault.__struct_config__.tag): fault for fault in get_args(AnyFault)}


def connections_end(kind: str) -> FaultEdge | None:
    """By which end of a window of this kind its connections are closed; ``None`` where they may survive it."""
    return next((fault.connections_end for fault in get_args(AnyFault) if fault.__struct_config__.tag == kind), None)


def kinds_of(*faults: type[Fault]) -> frozenset[str]:
    """The names of these kinds."""
    return frozenset(str(fault.__struct_config__.tag) for fault in faults)


REPLACES_SERVER = kinds_of(ServerKillFault, ServerDrainFault)
"""The kinds that end the server and start another one on the same database."""
