"""One examination of a driver as a user asks for it: with the echo server, or with the server of a system."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from resilience.errors import UsageError
from resilience.experiment.drivers import StdioDriver
from resilience.experiment.targets import CommandTargetSpec
from resilience.lab.command import say
from resilience.runtime import RunClock

from ..placeholders import provide_words
from ..systems.system import NamedSystem, load_system
from ..targets.command import CommandTarget, find_program
from .check import Examination, Limits, examine
from .forwarder import ForwarderTarget
from .process import resolve_command
from .trial_target import TrialTarget


async def examine_driver(
    command: Sequence[str], system_name: str | None, log: Path, *, clients: int, slower: float
) -> Examination:
    """Examine the driver ``command``, or the own one of a system, with the server of the system.

    Raises :class:`~resilience.errors.UsageError` for what cannot be examined,
    :class:`~resilience.errors.HarnessError` when a program cannot be had or started.
    """
    system = None if system_name is None else load_system(system_name)
    words, options = _driver_of(command, system)
    spec = None if system is None else _command_target(system)
    provide_words((*words, *(() if spec is None else spec.command)), say=say)
    resolved = resolve_command(words, "COMMAND" if command else "driver.command")
    target = None if spec is None else _served(spec, log.parent)
    server = "the echo server of this check" if system is None else f"the server of {system.name}"
    say(f"examining {shlex.join(resolved)} with {server}")
    return await examine(resolved, log, clients=clients, limits=Limits().times(slower), options=options, target=target)


def _driver_of(command: Sequence[str], system: NamedSystem | None) -> tuple[Sequence[str], Mapping[str, Any]]:
    """The words of the driver and what it hands to its clients."""
    own = system.driver if system is not None and isinstance(system.driver, StdioDriver) else None
    options = {} if own is None else own.options
    if command:
        return command, options
    if own is None:
        missing = "there is no COMMAND" if system is None else f"{system.name} has no driver that speaks lines"
        raise UsageError(f"{missing}: name the driver, such as: node my-driver.mjs")
    return own.command, options


def _command_target(system: NamedSystem) -> CommandTargetSpec:
    if not isinstance(system.target, CommandTargetSpec):
        raise UsageError(
            f"--system {system.name}: its target is of the kind {system.target.kind}; only a server that is started "
            "by a command can be used here"
        )
    return system.target


def _served(spec: CommandTargetSpec, folder: Path) -> AbstractAsyncContextManager[TrialTarget]:
    find_program(spec)
    return _forwarded(spec, folder)


@asynccontextmanager
async def _forwarded(spec: CommandTargetSpec, folder: Path) -> AsyncIterator[TrialTarget]:
    """The server, and before it what can cut and refuse."""
    server = CommandTarget(spec, folder, clock=RunClock())
    (folder / "logs").mkdir()
    await server.start()
    try:
        async with ForwarderTarget(server.address.host, server.address.port, spec.path) as forwarder:
            yield forwarder
    finally:
        await server.stop()
