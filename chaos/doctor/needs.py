"""What a planned fleet takes of a machine: open files, connections, memory, disk, processors. Pure.

The figures per client are measured with ``venue-5000`` (five links of 1,000 clients, two client processes) and one link
of 5,000 clients, on two cores of AMD EPYC with Linux 6.18, CPython 3.11 and Toxiproxy 2.12; each is the greatest that
was seen at any time of a run, rounded up. They are about our own clients and server: what another project's programs
take is not known, and is counted as if they took as much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from resilience.experiment.drivers import CHROMIUM
from resilience.experiment.spec import Cohort, Experiment
from resilience.policy.backoff import BackoffPolicy, Jitter, Preset
from resilience.units import Seconds

from ..client_worker import shards

FILES_IN_PROXY = 2
"""Of each client: the proxy holds both its connections."""

SPARE_FILES = 128
"""Files that a process needs in addition to its clients' sockets: logs, database, pipes, libraries."""

MEMORY_OF_A_CLIENT: Mapping[str, int] = {
    "proxies": 260_000,
    "workers": 40_000,
    "server": 40_000,
    "runner": 60_000,
    "kernel": 40_000,
}
"""Bytes. The runner's are those of its report; the kernel's are the buffers of four sockets.

Measured: 1,000 clients of one proxy 150 to 280 MB and 5,000 of one 935 MB, in a storm; 2,500 of one worker 136 MB and
5,000 210 MB, less 50 MB without any; the server with 5,000 225 MB and with 10,000 270 MB, less 60 MB; the runner with
5,000 470 MB and with 10,000 640 MB, less 230 MB.
"""

MEMORY_OF_A_PROCESS: Mapping[str, int] = {
    "proxies": 20_000_000,
    "workers": 55_000_000,
    "server": 60_000_000,
    "runner": 230_000_000,
}
"""Bytes, without any client."""

MEMORY_OF_A_PAGE, MEMORY_OF_A_BROWSER = 68_000_000, 470_000_000
"""Bytes, of a cohort of the quiz's own pages in Chromium: of each, with a profile of its own, and of what they share.

Measured as proportional set size with 2, 6, 12 and 20 pages of Chromium 156: 600, 881, 1,280 and 1,827 MB.
"""

FILES_OF_A_PAGE, FILES_OF_A_BROWSER = 15, 200
"""Open files of a browser's main process: for each page, and without any.

Measured: 190 with 2 pages, 238 with 6, 406 with 20.
"""

PAGE_CPU_S: Seconds = 1.5
"""Processor seconds to open such a page.

Measured: 3.3 s with 2 pages, 7.8 with 6, 16.7 with 12 and 32.2 with 20, opened one every 0.6 s, while other programs
kept two processors busy.
"""

DISK_OF_A_CLIENT_MINUTE = 40_000
DISK_OF_THE_REST = 200_000_000
"""Bytes: database, reports, logs."""

JOIN_CPU_S: Seconds = 0.006
"""Processor seconds of all processes together for one join or return, with what a client does until the next one.

Measured: 116 to 121 s for the 20,000 of three runs of ``venue-5000``, while other programs kept the processors busy.
"""

BURST_S: Seconds = 5.0
"""Returns that take no longer keep the processors busy for a moment only, whose lateness the run measures itself."""

LINGERING_S: Seconds = 60.0
"""How long a closed connection keeps its port (TCP's TIME_WAIT in Linux)."""

ASSUMED_DURATION_S: Seconds = 300.0
"""The length of a run of which only the number of clients is known."""


@dataclass(frozen=True, slots=True)
class FleetNeeds:
    """What a run takes at its greatest moment.

    ``files``: the most open files in one process, by role; ``files_in_all``: in all together. ``connections``: the most
    at once to one address; ``dials``: the most within a minute. ``memory``: bytes by role. ``disk``: bytes.
    ``busy``: by phase, how many processors it would keep busy; empty where nothing is known of the run but its size.
    ``pages``: how many of the clients are pages in a Chromium.
    """

    clients: int
    files: Mapping[str, int]
    files_in_all: int
    connections: int
    dials: int
    memory: Mapping[str, int]
    disk: int
    busy: Mapping[str, float] = field(default_factory=dict)
    pages: int = 0


def needs_of_clients(clients: int, workers: int) -> FleetNeeds:
    """The needs of so many clients behind one proxy, in a run of five minutes of which nothing else is known."""
    experiment = Experiment("planned", ASSUMED_DURATION_S, (Cohort("all", clients),))
    return _needs(experiment, [clients], workers, busy={})


def needs_of(experiment: Experiment, seed: int, workers: int) -> FleetNeeds:
    """The needs of this experiment with so many processes of clients."""
    links = [len(group.indices) for group in experiment.links(seed)]
    processes = len(shards(experiment, seed, workers))
    needs = _needs(experiment, links, processes, _busy(experiment))
    pages = _pages(experiment)
    if not pages:
        return needs
    memory = {**needs.memory, "browsers": MEMORY_OF_A_BROWSER + pages * MEMORY_OF_A_PAGE}
    files = {**needs.files, "browser": FILES_OF_A_BROWSER + pages * FILES_OF_A_PAGE}
    return replace(needs, memory=memory, files=files, pages=pages)


def _pages(experiment: Experiment) -> int:
    """How many clients are pages in a Chromium."""
    return sum(cohort.clients for cohort in experiment.cohorts if cohort.driver == CHROMIUM)


def _needs(experiment: Experiment, links: list[int], workers: int, busy: Mapping[str, float]) -> FleetNeeds:
    clients, largest = experiment.clients, max(links)
    counts = {"proxies": len(links), "workers": workers, "server": 1, "runner": 1}
    memory = {
        role: clients * each + counts.get(role, 0) * MEMORY_OF_A_PROCESS.get(role, 0)
        for role, each in MEMORY_OF_A_CLIENT.items()
    }
    files = {
        "proxy": FILES_IN_PROXY * largest + SPARE_FILES,
        "server": clients + SPARE_FILES,
        "worker": -(-clients // workers) + SPARE_FILES,
    }
    return FleetNeeds(
        clients,
        files,
        files_in_all=(2 + FILES_IN_PROXY) * clients,
        connections=clients,
        dials=clients * _dials_in_a_minute(experiment),
        memory=memory,
        disk=DISK_OF_THE_REST + round(clients * DISK_OF_A_CLIENT_MINUTE * experiment.duration / 60),
        busy=busy,
    )


def _dials_in_a_minute(experiment: Experiment) -> int:
    """How often within a minute each client connects at most: the faults that begin within one, and the time before."""
    starts = sorted({window.starts_at for window in experiment.windows()})
    inside = [sum(begin <= start < begin + LINGERING_S for start in starts) for begin in starts]
    return 1 + max(inside, default=1)


def _busy(experiment: Experiment) -> dict[str, float]:
    """Processors that the first joins, and the returns at the pace of admission or of the clients, keep busy."""
    joining = JOIN_CPU_S * experiment.clients + PAGE_CPU_S * _pages(experiment)
    busy = {"joining": joining / max(experiment.ramp, 1.0)}
    if experiment.faults:
        paced = max(experiment.clients / experiment.server.join_capacity, _spread(experiment.client.backoff))
        busy["returning"] = JOIN_CPU_S * experiment.clients / max(paced, BURST_S)
    return busy


def _spread(policy: BackoffPolicy) -> Seconds:
    """Over how long the first attempts after a loss are spread, where the clients' own ladder says so."""
    shares = {Jitter.NONE: 0.0, Jitter.EQUAL: 0.5}
    return shares.get(policy.ladder.jitter, 1.0) * policy.ladder.initial if policy.preset is Preset.CLASSIC else 0.0


def describe_needs(needs: FleetNeeds) -> str:
    """The needs in one sentence."""
    role, files = max(needs.files.items(), key=lambda item: item[1])
    memory, disk = (f"{amount / 1_000_000:,.0f} MB" for amount in (sum(needs.memory.values()), needs.disk))
    cost = cost_of_pages(needs)
    opening = "" if cost is None else f" {cost[0].upper()}{cost[1:]}."
    return (
        f"A run with real processes may take {memory} of memory, {disk} of disk, {files:,} open files in one process "
        f"({role}) and {needs.connections:,} connections to one address.{opening}"
    )


def cost_of_pages(needs: FleetNeeds) -> str | None:
    """What opening the pages of a plan costs, in words; ``None`` for a plan without any."""
    if not needs.pages:
        return None
    return f"opening {needs.pages} pages in Chromium takes about {needs.pages * PAGE_CPU_S:.0f} s of a processor"
