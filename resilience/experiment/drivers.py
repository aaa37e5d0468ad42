"""Which program runs the clients of an experiment: this project's fleet, or any program that speaks JSON lines. Pure.

The table ``[driver]`` is about all clients, ``[drivers.NAME]`` about those of the cohorts that name it. The lines that
a driver speaks are described in ``docs/drivers.md``; here is only what an experiment file says about one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec

from resilience.errors import require
from resilience.units import Seconds

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")

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
    processes: int | None = None
    """How many processes of the driver its clients are spread over; without it, as many as ``--workers`` says. Clients
    of a link that is suspended have one of their own in any case."""
    quiz_records: bool = False
    """Whether its clients are this project's own machine in another program, and report each of its log records as
    ``recorded``: then they are judged as the fleet is. What they were shown is judged where ``received`` and ``sent``
    report their messages."""

    def __post_init__(self) -> None:
        """Check every rule."""
        require(bool(self.command) and all(self.command), "command", list(self.command), "must name a program")
        rule = f"must be 0 or at least {MIN_ACT_EVERY_S:g} s"
        in_range = self.act_every == 0 or MIN_ACT_EVERY_S <= self.act_every < float("inf")
        require(in_range, "act_every", self.act_every, rule)
        has_any = self.processes is None or self.processes >= 1
        require(has_any, "processes", self.processes, "must be at least 1, or left out")


ClientDriver = FleetDriver | StdioDriver
"""What the table ``[driver]`` of an experiment says."""

DRIVER_KINDS = tuple(str(driver.__struct_config__.tag) for driver in get_args(ClientDriver))
"""What ``driver.kind`` may be."""

FLEET, CHROMIUM = "fleet", "chromium"

_QUIZ_PAGES = (
    *("{python}", "-m", "resilience", "chaos", "driver", "chromium", "--script", "{examples}/quiz-pages.js"),
    "http://{address}/play?event=quiz",
)

BUNDLED_DRIVERS: Mapping[str, ClientDriver] = {
    FLEET: FleetDriver(),
    CHROMIUM: StdioDriver(_QUIZ_PAGES, act_every=2.5, must_resume=True, processes=1, quiz_records=True),
}
"""What a cohort may name without a table: this project's fleet, and the quiz's own page in a real Chromium.

A page answers what it shows when it acts, so it misses some of the questions that are open for less than ``act_every``.
"""


def records_all(driver: ClientDriver) -> bool:
    """Whether its clients leave the records of this project's own machine."""
    return isinstance(driver, FleetDriver) or driver.quiz_records


def check_drivers(own: Mapping[str, ClientDriver], named: Sequence[str | None], *, has_pages: bool) -> None:
    """Check the tables ``[drivers.NAME]`` and what each cohort has ``named``. Raises ConfigError.

    ``has_pages``: the server under test is the quiz server, which serves the page of :data:`CHROMIUM`.
    """
    bundled = ", ".join(BUNDLED_DRIVERS)
    for name in own:
        require(bool(_NAME.fullmatch(name)), f"drivers.{name}", name, "must be lower-case letters, digits, - and _")
        taken = f"is the name of a bundled driver (there are: {bundled}); choose another"
        require(name not in BUNDLED_DRIVERS, f"drivers.{name}", name, taken)
    there = ", ".join([bundled, *own])
    for i, choice in enumerate(named):
        key, unknown = f"cohorts[{i}].driver", f"unknown; must be one of: {there}, or that of a table [drivers.NAME]"
        require(choice is None or choice in BUNDLED_DRIVERS or choice in own, key, choice, unknown)
        loads = "needs the quiz server, whose page it loads; for another page write a table [drivers.NAME]"
        require(choice != CHROMIUM or has_pages, key, choice, loads)
