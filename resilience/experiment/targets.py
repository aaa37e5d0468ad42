"""The system under test, as an experiment's ``[target]`` table describes it. Pure: starts and probes nothing.

``quiz``      this program's own server, on a database of its own; every lane can run it.
``command``   a program that the runner starts, and can therefore kill, suspend and drain.
``external``  an address at which something listens already; nothing of it is started or stopped.

Each kind also says which sources of evidence a run of it leaves behind for the checks (``evidence``).
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, NamedTuple, get_args

import msgspec

from resilience.errors import require
from resilience.units import Seconds

PORT = "{port}"
"""Where it stands in a command or in a value of its environment, the port is put on which the program is to listen."""

_LAST_PORT = 65_535


class EvidenceSource(StrEnum):
    """A source that a check may rest on and that not every system has; the value is its name in a sentence."""

    SERVER_LOG = "event log of the server"
    DATABASE = "database of the server"
    SERVER_SETTINGS = "settings of the server"
    QUIZ_CLIENTS = "records of this project's clients"
    OBSERVATIONS = "observations of this project's clients"


class StopSignal(StrEnum):
    """The signals that may ask a program to end in order."""

    SIGTERM = "SIGTERM"
    SIGINT = "SIGINT"
    SIGQUIT = "SIGQUIT"
    SIGHUP = "SIGHUP"
    SIGUSR1 = "SIGUSR1"
    SIGUSR2 = "SIGUSR2"


class HostPort(NamedTuple):
    """A host and a port."""

    host: str
    port: int


class _TargetSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all kinds share."""

    evidence: ClassVar[frozenset[EvidenceSource]] = frozenset()

    @property
    def kind(self) -> str:
        """The kind's name in experiment files."""
        return str(self.__struct_config__.tag)


class QuizTargetSpec(_TargetSpec, frozen=True, tag="quiz"):
    """This program's own quiz server, configured by the tables ``[server]`` and ``[quiz]``."""

    evidence: ClassVar[frozenset[EvidenceSource]] = frozenset(EvidenceSource)


class CommandTargetSpec(_TargetSpec, frozen=True, tag="command", kw_only=True):
    """A WebSocket server that the runner starts, and starts again with the same command after a kill or a drain.

    ``command``: the program and its arguments, no shell. ``directory``: where it runs; relative to the folder in which
    the runner was started. ``environment``: variables in addition to the runner's own. ``address``: ``host:port`` on
    which it listens whatever it is given; without one the runner chooses a free port of 127.0.0.1 and puts it in place
    of ``{port}``. ``path``: of the WebSocket URL. ``ready``: an HTTP path that answers 2xx when the server is ready;
    without one it is ready when it accepts a TCP connection. ``start_timeout`` and ``stop_timeout``: seconds until it
    must be ready, and until it must have ended after ``stop_signal``.
    """

    command: tuple[str, ...]
    directory: str | None = None
    environment: dict[str, str] = {}
    address: str | None = None
    path: str = "/"
    ready: str | None = None
    start_timeout: Seconds = 30.0
    stop_signal: StopSignal = StopSignal.SIGTERM
    stop_timeout: Seconds = 10.0


class ExternalTargetSpec(_TargetSpec, frozen=True, tag="external", kw_only=True):
    """A WebSocket server that is there already, at ``address`` (``host:port``); ``path`` and ``ready`` as above."""

    address: str
    path: str = "/"
    ready: str | None = None


TargetSpec = QuizTargetSpec | CommandTargetSpec | ExternalTargetSpec

TARGET_KINDS = tuple(str(spec.__struct_config__.tag) for spec in get_args(TargetSpec))
"""What ``target.kind`` may be."""


def host_port(text: str) -> HostPort | None:
    """The parts of ``host:port`` or ``[host]:port``; ``None`` when it is neither."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_host = bool(bare) and not (":" in bare and bare == host) and not any(c in bare for c in "/@ ")
    if not (colon and is_host and port.isascii() and port.isdecimal() and 0 < int(port) <= _LAST_PORT):
        return None
    return HostPort(bare, int(port))


def check_target(key: str, target: TargetSpec) -> None:
    """Raise :class:`~resilience.errors.ConfigError` for the first value that breaks a rule; ``key``: of the table."""
    if isinstance(target, QuizTargetSpec):
        return
    require(target.path.startswith("/"), f"{key}.path", target.path, "must begin with /, as in /ws")
    if target.ready is not None:
        rule = "must be an HTTP path that begins with /, such as /healthz; leave it out to wait for a TCP connection"
        require(target.ready.startswith("/"), f"{key}.ready", target.ready, rule)
    if target.address is not None:
        rule = "must be host:port, such as 127.0.0.1:9000, without a scheme or a path"
        require(host_port(target.address) is not None, f"{key}.address", target.address, rule)
    if isinstance(target, CommandTargetSpec):
        _check_command(key, target)


def _check_command(key: str, target: CommandTargetSpec) -> None:
    command = target.command
    rule = 'must be a list of words that begins with a program, such as ["node", "server.js", "{port}"]'
    require(bool(command) and bool(command[0]), f"{key}.command", list(command), rule)
    takes_port = any(PORT in word for word in (*command, *target.environment.values()))
    rule = f"must hold {PORT} where the port goes, or {key}.environment must, or {key}.address must name a fixed one"
    require(takes_port or target.address is not None, f"{key}.command", list(command), rule)
    words = (*command, *target.environment, *target.environment.values(), target.directory or "")
    require(not any("\0" in word for word in words), f"{key}.command", list(command), "must hold no zero byte")
    named = all(name and "=" not in name for name in target.environment)
    rule = "every name must be one that a variable can have: not empty, without ="
    require(named, f"{key}.environment", target.environment, rule)
    for name in ("start_timeout", "stop_timeout"):
        value = getattr(target, name)
        require(0 < value < float("inf"), f"{key}.{name}", value, "must be a positive number of seconds")
