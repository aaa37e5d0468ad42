"""One examination of a driver as a user asks for it: with the echo server, or with the server of a system."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from resilience.config import QuizConfig
from resilience.errors import UsageError
from resilience.experiment.drivers import BUNDLED_DRIVERS, CHROMIUM, ClientDriver, StdioDriver
from resilience.experiment.spec import Cohort, Experiment
from resilience.experiment.targets import CommandTargetSpec
from resilience.lab.command import say
from resilience.lab.recording import EVENTS
from resilience.runtime import RunClock

from ..placeholders import provide_words
from ..systems.system import NamedSystem, load_system
from ..targets.command import CommandTarget, find_program
from ..targets.quiz import QuizTarget
from .check import Examination, Limits, examine
from .forwarder import ForwarderTarget
from .process import resolve_command
from .trial_target import TrialTarget

_QUIZ = QuizConfig(questions=1, lobby=0.5, question_time=3500.0)
_TRIAL = Experiment("trial", 3600.0, (Cohort("client", 1),), quiz=_QUIZ)
"""The quiz with which a driver is examined: its only question outlasts every examination."""


async def examine_driver(  # noqa: PLR0913 - as the command's options
    command: Sequence[str], system_name: str | None, log: Path, *, clients: int, slower: float, quiz: bool = False
) -> Examination:
    """Examine the driver ``command``, or the own one of a system, with the server of the system.

    ``quiz``: with this program's quiz server, for a driver with ``quiz_records``; the own one is the quiz's page then.
    Raises :class:`~resilience.errors.UsageError` for what cannot be examined,
    :class:`~resilience.errors.HarnessError` when a program cannot be had or started.
    """
    if quiz and system_name is not None:
        raise UsageError("--quiz, --system: a driver is examined with one server; leave one of them out")
    system = None if system_name is None else load_system(system_name)
    words, options = _driver_of(command, system, BUNDLED_DRIVERS[CHROMIUM] if quiz else None)
    spec = None if system is None else _command_target(system)
    provide_words((*words, *(() if spec is None else spec.command)), say=say)
    resolved = resolve_command(words, "COMMAND" if command else "driver.command")
    target = _quiz_server(log.parent) if quiz else None if spec is None else _served(spec, log.parent)
    of_system = "the echo server of this check" if system is None else f"the server of {system.name}"
    say(f"examining {shlex.join(resolved)} with {'the quiz server' if quiz else of_system}")
    return await examine(resolved, log, clients=clients, limits=Limits().times(slower), options=options, target=target)


def _driver_of(
    command: Sequence[str], system: NamedSystem | None, pages: ClientDriver | None
) -> tuple[Sequence[str], Mapping[str, Any]]:
    """The words of the driver and what it hands to its clients: those given, the system's own, or the ``pages``."""
    of_server = pages if system is None else system.driver
    own = of_server if isinstance(of_server, StdioDriver) else None
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


@asynccontextmanager
async def _quiz_server(folder: Path) -> AsyncIterator[TrialTarget]:
    """The quiz server, with a question that stays open, and before it what can cut and refuse."""
    for name in ("logs", EVENTS):
        (folder / name).mkdir()
    server = QuizTarget(_TRIAL, _TRIAL.seed, folder, clock=RunClock())
    await server.start()
    try:
        address = server.address
        async with ForwarderTarget(address.host, address.port, server.url_path, serves_pages=True) as forwarder:
            yield forwarder
    finally:
        await server.stop()


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
