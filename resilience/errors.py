"""Every error this project raises on purpose, and the exit code a command ends with when one reaches the top.

::

    ResilienceError
    ├── UsageError              2   what the user wrote cannot be done
    │   ├── ConfigError             a setting: names the key, the value and the rule
    │   └── ExperimentError         an experiment file: names the file, the key and the rule
    ├── HarnessError            4   the laboratory or its machine failed, never the system under test
    │   ├── InjectionError          an operation of a fault could not be carried out, or did not last
    │   │   └── ToxiproxyError          the proxy is missing, hung, crashed or refused an order
    │   └── PortInUseError          somebody else listens there
    ├── ProtocolError
    │   ├── LocalProtocolError      our own code broke the protocol's rules
    │   └── RemoteProtocolError     the peer did: names the field
    └── StoreError              4   the database did not take a commit
        └── FencedError             another server has taken up a run that the commit wrote for

Messages say what was wrong, where, and what would be right.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the commands end with; the five are never confused."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    INCONCLUSIVE = 3
    HARNESS = 4


class ResilienceError(Exception):
    """Base of everything raised on purpose; ``str()`` of it is one line for the user."""

    exit_code = ExitCode.HARNESS


class UsageError(ResilienceError):
    """What the user asked for cannot be done as written."""

    exit_code = ExitCode.USAGE


class ConfigError(UsageError):
    """A setting breaks its rule."""

    def __init__(self, key: str, value: object, rule: str) -> None:
        super().__init__(f"{key} = {value!r}: {rule}")
        self.key, self.value, self.rule = key, value, rule


def require(ok: bool, key: str, value: object, rule: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise :class:`ConfigError` unless the rule holds."""
    if not ok:
        raise ConfigError(key, value, rule)


class ExperimentError(UsageError):
    """An experiment file cannot be used; ``key`` is a dotted path such as ``faults[2].cohorts``."""

    def __init__(self, file: str, key: str, rule: str) -> None:
        super().__init__(f"{file}: {key}: {rule}" if key else f"{file}: {rule}")
        self.file, self.key, self.rule = file, key, rule


class HarnessError(ResilienceError):
    """The laboratory failed; says nothing about the system under test."""


class InjectionError(HarnessError):
    """An operation of a fault could not be carried out, or what it did was undone by something else."""


class ToxiproxyError(InjectionError):
    """Toxiproxy is missing, hung, crashed or refused an order."""


class PortInUseError(HarnessError):
    """A listener could not be opened because somebody else has the port."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"port {port} on {host} is already in use; stop its owner or choose another with --port")
        self.host, self.port = host, port


class ProtocolError(ResilienceError):
    """The wire protocol was broken."""


class LocalProtocolError(ProtocolError):
    """Our own code asked for something the protocol does not allow in this state."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something the protocol does not allow."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field, self.rule = field, rule


class StoreError(ResilienceError):
    """The database did not take a commit; nothing of it was acknowledged."""


class FencedError(StoreError):
    """A commit wrote for runs, by their ``keys``, that are no longer this server's; nothing of it was written."""

    def __init__(self, keys: tuple[str, ...], why: str = "another server has taken it up since") -> None:
        super().__init__(f"this server may no longer write for {', '.join(keys)}: {why}")
        self.keys = keys
