"""What a simulated server and its links cost: the table `[costs]` of an experiment. Values only.

The lanes that run on a model of a server read it (``model`` and ``population``); in the others time is what it is.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from resilience.errors import require
from resilience.units import Seconds

MOST_PROCESSORS = 1000
"""The most that a machine may have, those of the server or those that are shared."""

_DURATIONS = ("latency", "connect", "handshake", "join", "restore", "message", "commit", "startup", "close_timeout")
_CLIENT_WORK = ("client_loss", "client_dial", "client_message")
_LATENESSES = (
    "detach",
    "commit_wait",
    "reply",
    "relay",
    *_CLIENT_WORK,
    "timer",
    "injection",
    "injection_call",
    "healing",
    "kill",
)
_LATER = (*_CLIENT_WORK, "commit_wait", "reply", "shared_processors", "client_processes")
"""Costs that came after the first runs were kept: with their defaults they are no part of an experiment's digest."""
_MOST_WAITING = 1_000_000_000
_MOST_SIGMA = 4.0


class ServiceDistribution(StrEnum):
    """How the service times of one kind of work spread around their mean."""

    DETERMINISTIC = "deterministic"
    EXPONENTIAL = "exponential"
    LOGNORMAL = "lognormal"


class ModelCosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What links and the server cost; all durations in seconds.

    By default a server completes 1 / (``handshake`` + ``join``) = 4,167 joins a second, more than the default
    ``join_capacity``. Raises :class:`~resilience.errors.ConfigError` for the first rule that is broken.
    """

    latency: Seconds = 0.0005
    """One way from client to server, through the proxy, which is half way. Assumed: a loopback interface.

    The population lane has its own, `population.latency` and those of network profiles."""
    connect: Seconds = 0.0003
    """Until a client knows that the proxy accepted or refused its TCP connection. Assumed: a loopback interface."""
    handshake: Seconds = 0.00013
    """Mean processor time of one WebSocket handshake. Measured: a bare handshake and echo (docs/performance.md)."""
    join: Seconds = 0.00011
    """Mean processor time of a first join, from its message to its reply. Measured: a join less its handshake."""
    restore: Seconds = 0.000075
    """Mean processor time of a resume, from its message to its reply. Measured: a restore less its handshake."""
    message: Seconds = 0.00002
    """Processor time of one frame sent: a broadcast reaches its last receiver later than its first. Assumed."""
    commit: Seconds = 0.003
    """One database transaction, whatever the number of rows in it. Assumed: a solid-state disk."""
    commit_wait: Seconds = 0.0
    """For how long a commit at most waits for a server that has work: its thread needs the interpreter several times.

    CPython has a thread give way to another one after 5 ms (`sys.setswitchinterval`). No effect where
    `shared_processors` is 0."""
    startup: Seconds = 0.6
    """From the start of a server process until it listens. Assumed: a Python process with its imports."""
    close_timeout: Seconds = 1.0
    """How long the server waits for the reply to its close frame before it ends the TCP connection.

    The production server's close timeout."""
    detach: Seconds = 0.0
    """Mean processor time of the server for a connection that ended under a session. Assumed to be small."""
    reply: Seconds = 0.0
    """Processor time of the server for the reply to a join or a resume, after its commit; the next commit waits for it.

    Assumed to be part of ``join`` and ``restore``."""
    relay: Seconds = 0.0
    """For how long a link's proxy is busy with each dial that it accepts: it dials the server for one after another.

    Toxiproxy does so. 0 for participants that reach the server without one."""
    client_loss: Seconds = 0.0
    """Processor time of a client's process for a connection that ended. Assumed: clients on machines of their own."""
    client_dial: Seconds = 0.0
    """Processor time of a client's process for a dial, until its request leaves."""
    client_message: Seconds = 0.0
    """Processor time of a client's process for the response to its handshake, and for the reply to a join or resume."""
    timer: Seconds = 0.0
    """How late a client's timers ring, those that detect a silent peer and those that retry."""
    injection: Seconds = 0.0
    """From the order to close a link's connections until they are closed."""
    injection_call: Seconds = 0.0
    """From the order to close a link's connections until it is reported as carried out."""
    healing: Seconds = 0.0
    """From the order to lift a condition of a link until it is lifted."""
    kill: Seconds = 0.0
    """From the order to kill the server until its connections end."""
    shared_processors: int = 0
    """Processors that the server, the proxies and the processes of clients share, as in a laboratory on one machine.

    Those that have work progress alike, at full speed while there is a processor for each. The server is one thread
    then, which accepts a connection when it has nothing else to do, and its commits are another. 0: one for each."""
    client_processes: int = 0
    """Processes to which the clients are dealt in turn; those of one process wait for one another. 0: one each."""
    processors: int = 1
    """Handshakes, joins and resumes that are served at once, in the order of their arrival."""
    service: ServiceDistribution = ServiceDistribution.DETERMINISTIC
    """How the times of handshakes, joins and resumes spread around their means."""
    service_sigma: float = 1.0
    """Standard deviation of the logarithm of a lognormal service time; the mean stays the same."""
    backlog: int = 0
    """Connections that may wait for their handshake; 0 for no limit.

    One that finds them all taken sends its first packet again, 1 s and 3 s after the first."""
    wasted_work: bool = True
    """Whether a handshake whose client has left costs its full service, as it does when the request is read already.

    Without it such a request is skipped at no cost."""

    @property
    def return_service(self) -> Seconds:
        """How long each of ``processors`` is busy with a return: its handshake, its resume and its reply, seconds.

        One thread replies: to all that the processors serve, or, where processors are shared, it serves as well.
        """
        served = self.handshake + self.restore
        return served + self.reply if self.shared_processors else max(served, self.processors * self.reply)

    @property
    def returns_per_s(self) -> float:
        """How many returns the server completes in a second at most."""
        return self.processors / self.return_service

    @property
    def canonical(self) -> dict[str, object]:
        """The costs of which an experiment's digest is made, by name: a run is found again after costs were added."""
        return {
            field.name: getattr(self, field.name)
            for field in msgspec.structs.fields(self)
            if field.name not in _LATER or getattr(self, field.name) != field.default
        }

    def __post_init__(self) -> None:
        """Check each rule once."""
        for key in _DURATIONS:
            value = getattr(self, key)
            require(0 < value < float("inf"), key, value, "must be a positive, finite number of seconds")
        for key in _LATENESSES:
            value = getattr(self, key)
            require(0 <= value < float("inf"), key, value, "must be a finite number of seconds, at least 0")
        self._check_numbers()

    def _check_numbers(self) -> None:
        processors, backlog, sigma = self.processors, self.backlog, self.service_sigma
        rule = f"must be from 1 to {MOST_PROCESSORS}"
        require(1 <= processors <= MOST_PROCESSORS, "processors", processors, rule)
        shared, processes = self.shared_processors, self.client_processes
        require(0 <= shared <= MOST_PROCESSORS, "shared_processors", shared, f"must be from 0 to {MOST_PROCESSORS}")
        require(0 <= processes <= _MOST_WAITING, "client_processes", processes, f"must be from 0 to {_MOST_WAITING:,}")
        rule = "must be 1 where shared_processors is set: the server is one thread of those that share them"
        require(processors == 1 or not shared, "processors", processors, rule)
        rule = "must be true where shared_processors is set: a thread does what is in its queue"
        require(self.wasted_work or not shared, "wasted_work", self.wasted_work, rule)
        require(0 <= backlog <= _MOST_WAITING, "backlog", backlog, f"must be from 0 to {_MOST_WAITING:,}")
        require(0 < sigma <= _MOST_SIGMA, "service_sigma", sigma, f"must be above 0 and at most {_MOST_SIGMA:g}")
