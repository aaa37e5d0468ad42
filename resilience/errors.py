"""The errors that this project raises on purpose, and the exit code that each one gives a command.

::

    ResilienceError
    ├── UsageError              2   the user's input cannot be used
    │   ├── ConfigError             a setting: names the key, the value and the rule
    │   └── ExperimentError         an experiment file: names the file, the key and the rule
    ├── HarnessError            4   the laboratory or its machine failed, never the system under test
    │   ├── DriverError             a client driver broke its protocol: quotes the line
    │   ├── InjectionError          an operation of a fault failed, or its effect did not last
    │   │   └── ToxiproxyError          the proxy is missing, hung, crashed or rejected a request
    │   └── PortInUseError          another process listens on the port
    ├── EvidenceError           4   what a run left behind cannot be read: names the file
    ├── CommandInterruptedError 4   a signal ended the command
    ├── SystemFailedError       1   the system under test ended or stopped by itself
    ├── BundleError             4   the modules of the pages cannot be bundled: names the module
    ├── ProtocolError
    │   ├── LocalProtocolError      our own code broke the protocol's rules
    │   └── RemoteProtocolError     the peer broke them: names the field
    └── StoreError              4   the database did not store a commit
        └── FencedError             another server has recovered a run that the commit wrote for
            └── RecoveryNeededError     the outcome of an earlier commit is unknown: the run must be read again

A message says what is wrong, where, and what would be right.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command; no code has two meanings."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    INCONCLUSIVE = 3
    HARNESS = 4


GRAVITY = (ExitCode.HARNESS, ExitCode.USAGE, ExitCode.FAIL, ExitCode.INCONCLUSIVE, ExitCode.PASS)
"""The exit codes of several runs together, the gravest first."""


class ResilienceError(Exception):
    """Base of every error raised on purpose; ``str()`` of it is one line for the user."""

    exit_code = ExitCode.HARNESS


def describe_error(error: BaseException) -> str:
    """An error in one line; one that was not raised on purpose with its type."""
    text = str(error) if isinstance(error, ResilienceError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


class UsageError(ResilienceError):
    """The user's request cannot be carried out as written."""

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
    """The laboratory failed; this says nothing about the system under test."""


class EvidenceError(ResilienceError):
    """A run directory whose files cannot be read: a verdict on it would rest on nothing."""


class CommandInterruptedError(ResilienceError):
    """A signal ended the command before it was done."""


class DriverError(HarnessError):
    """A program that runs clients for the laboratory broke the protocol of its lines, fell silent or ended."""


class InjectionError(HarnessError):
    """An operation of a fault failed, or its effect did not last."""


class ToxiproxyError(InjectionError):
    """Toxiproxy is missing, hung or crashed, or rejected a request."""


class PortInUseError(HarnessError):
    """A listener cannot be opened because another process uses the port."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"port {port} on {host} is already in use; stop the process that uses it, or choose another with --port"
        )
        self.host, self.port = host, port


class SystemFailedError(ResilienceError):
    """The system under test ended, or stopped answering, without a fault that explains it.

    ``evidence``: what shows where it stands, such as a stack; too long for a message. ``has_ended``: its process is
    gone, or its simulation stood still; else it was only silent, which an observer may be wrong about.
    """

    exit_code = ExitCode.FAIL

    def __init__(self, message: str, evidence: str | None = None, *, has_ended: bool = True) -> None:
        super().__init__(message)
        self.evidence, self.has_ended = evidence, has_ended


class ProtocolError(ResilienceError):
    """The wire protocol was broken."""


class LocalProtocolError(ProtocolError):
    """Our own code asked for something that the protocol does not allow in this state."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something the protocol does not allow."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field, self.rule = field, rule


class StoreError(ResilienceError):
    """The database did not store a commit; nothing in it was acknowledged."""


class FencedError(StoreError):
    """A commit wrote for runs (``keys``) that this server no longer owns; none of it was stored."""

    def __init__(self, keys: tuple[str, ...], why: str = "another server has recovered it since") -> None:
        super().__init__(f"this server may no longer write for {', '.join(keys)}: {why}")
        self.keys = keys


class RecoveryNeededError(FencedError):
    """The outcome of an earlier commit for runs (``keys``) is unknown: this server must recover them from the database.

    None of this commit was stored.
    """
