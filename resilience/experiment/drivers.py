"""Which program runs the clients of an experiment: this project's fleet, or any program that speaks JSON lines. Pure.

The lines themselves are described in ``docs/drivers.md``; here is only what an experiment file says about a driver.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from resilience.errors import require
from resilience.units import Seconds

MIN_ACT_EVERY_S: Seconds = 0.05
"""More orders to each client would measure the pipe, not the clients."""


class FleetDriver(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="fleet"):
    """This project's own quiz clients, configured by the table ``[client]``."""


class StdioDriver(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="stdio"
):
    """Any program that holds clients and speaks JSON lines over standard input and output."""

    command: tuple[str, ...]
    """The program and its arguments, without a shell. ``{python}`` is the interpreter of this program, ``{examples}``
    the folder of the drivers that ship with it, ``{systems}`` that of the ready-made systems. Relative names are
    relative to where the run is started."""
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    """Handed to the driver with each client, unread: whatever it wants to know."""
    act_every: Seconds = 1.0
    """Seconds between two orders ``act`` to each client that has a session; 0 gives none. What a client then
    acknowledges or observes proves that its connection lives."""
    must_resume: bool = False
    """Whether the system promises to resume sessions: then a client that comes back with a fresh one has lost its
    identity. Otherwise it counts as restored."""

    def __post_init__(self) -> None:
        """Check every rule."""
        require(bool(self.command) and all(self.command), "command", list(self.command), "must name a program")
        rule = f"must be 0 or at least {MIN_ACT_EVERY_S:g} s"
        in_range = self.act_every == 0 or MIN_ACT_EVERY_S <= self.act_every < float("inf")
        require(in_range, "act_every", self.act_every, rule)


ClientDriver = FleetDriver | StdioDriver
"""What the table ``[driver]`` of an experiment says."""

DRIVER_KINDS = tuple(str(driver.__struct_config__.tag) for driver in get_args(ClientDriver))
"""What ``driver.kind`` may be."""
