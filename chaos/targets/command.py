"""A server of another project as the system under test, started by the runner. Its life is ``process_target``'s.

Every process of one run has the same address. The command is not run by a shell; signals reach everything that it
starts, since they go to its process group.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from resilience.errors import ConfigError, HarnessError, PortInUseError, require
from resilience.experiment.targets import PORT, CommandTargetSpec, host_port
from resilience.runtime import RunClock
from resilience.units import Seconds

from ..placeholders import fill_placeholders
from ..ports import require_free
from ..proxied_link import Address
from . import foreign
from .process_target import ProcessTarget, StartupTimeoutError

_SHELL_OFFSET = 128
"""What a shell adds to the number of the signal that ended its program."""


class CommandTarget(ProcessTarget):
    """The server of one run that ``spec`` says how to start."""

    may_start_others = True

    def __init__(self, spec: CommandTargetSpec, run_dir: Path, *, clock: RunClock) -> None:
        super().__init__(run_dir / "logs" / "server.log", clock, foreign.health_of(spec))
        self._spec = spec
        self.stop_signal = signal.Signals[spec.stop_signal.value]

    @property
    def url_path(self) -> str:
        """Where on the server clients connect."""
        return self._spec.path

    @property
    def end_timeout(self) -> Seconds:
        """The spec's ``stop_timeout``."""
        return self._spec.stop_timeout

    @property
    def stop_timeout(self) -> Seconds:
        """The spec's ``stop_timeout``."""
        return self._spec.stop_timeout

    async def start(self) -> None:
        """Start the first server; the run starts a moment after it is ready."""
        try:
            await self.launch(by=time.monotonic() + self._spec.start_timeout)
        except StartupTimeoutError as error:
            within = f"target.start_timeout = {self._spec.start_timeout:g} s"
            raise HarnessError(f"the server did not {foreign.awaited(self._spec)} within {within}: {error}") from error
        self._clock.epoch = time.monotonic() + foreign.START_LEAD_S

    def _choose_address(self) -> Address:
        fixed = host_port(self._spec.address or "")
        if fixed is None:
            return super()._choose_address()
        try:
            require_free(fixed.port, fixed.host)
        except PortInUseError as taken:
            rule = f"another process listens on port {fixed.port}: stop it, or leave the address out and use {PORT}"
            raise HarnessError(f"target.address = {self._spec.address!r}: {rule}") from taken
        return Address(*fixed)

    async def _is_ready(self) -> bool:
        return await foreign.is_ready(self._spec, self.address)

    def _is_orderly(self, exit_code: int) -> bool:
        return exit_code in {0, -self.stop_signal, _SHELL_OFFSET + self.stop_signal}

    @property
    def _directory(self) -> Path | None:
        return None if self._spec.directory is None else Path(self._spec.directory).absolute()

    def _command(self, *, is_first: bool) -> list[str]:
        _ = is_first  # the same command each time: what outlives a process is the program's own affair
        words = fill_placeholders([self._with_port(word) for word in self._spec.command])
        return [find_program(self._spec), *words[1:]]

    def _environment(self) -> Mapping[str, str]:
        values = fill_placeholders([self._with_port(value) for value in self._spec.environment.values()])
        return {**os.environ, **dict(zip(self._spec.environment, values, strict=True))}

    def _with_port(self, text: str) -> str:
        return text.replace(PORT, str(self.address.port))


def find_program(spec: CommandTargetSpec) -> str:
    """The absolute path of the program; ConfigError when the directory or the program is not there."""
    directory = Path(spec.directory or ".").absolute()
    require(directory.is_dir(), "target.directory", spec.directory, f"no such folder: {directory}")
    (program,) = fill_placeholders(spec.command[:1])
    path = spec.environment.get("PATH", os.environ.get("PATH"))
    has_folder = os.sep in program
    found = shutil.which(str(directory / program)) if has_folder else shutil.which(program, path=path)
    if found is None:
        where = f"in {directory}" if has_folder else "on PATH"
        rule = f"no executable program of this name {where}; the command is not run by a shell"
        raise ConfigError("target.command", program, rule)
    return str(Path(found).absolute())
