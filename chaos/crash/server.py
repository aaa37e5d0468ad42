"""The server of a campaign: one process after another on the same port, database, run clock and event log."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from chaos.ports import free_ports
from chaos.proxied_link import HOST, Address
from chaos.supervised import SupervisedProcess
from chaos.target import STOP_TIMEOUT_S, clean_environment, settings_of
from resilience.errors import HarnessError
from resilience.experiment.spec import Experiment
from resilience.lab.participants import EVENT
from resilience.server.app import WEBSOCKET_PATH
from resilience.units import Instant

LOG = "server.jsonl"


class Server:
    """Made once per campaign; ``start`` brings it up, for the first time or again."""

    def __init__(self, experiment: Experiment, run_dir: Path, *, db: str | None, seed: int, epoch: Instant) -> None:
        self.address = Address(HOST, free_ports(1, HOST)[0])
        self.db = db or f"sqlite:///{(run_dir / 'quiz.db').absolute()}"
        self._run_dir, self._seed, self._epoch = run_dir, seed, epoch
        self._config = run_dir / "server.toml"
        self._config.write_text(settings_of(experiment), encoding="utf-8")
        self._child: SupervisedProcess | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"ws://{self.address}{WEBSOCKET_PATH}"

    def death(self) -> str | None:
        """How it ended by itself, if it did."""
        child = self._child
        if child is None or child.exit_code is None:
            return None
        return f"the server ended by itself with exit code {child.exit_code}; {child.log_tail()}"

    async def start(self, *, fresh: bool = False) -> None:
        """Start a process and return at once; ``fresh`` begins a new run whatever the database holds."""
        log = self._run_dir / "logs" / "server.log"
        command = [*self._command(), *(["--fresh"] if fresh else [])]
        self._child = await SupervisedProcess.spawn("server", command, log, env=clean_environment(os.environ))

    async def kill(self) -> None:
        """SIGKILL; it is gone on return."""
        if self._child is not None:
            self._child.kill()
            await self._child.process.wait()
            self._child = None

    async def stop(self) -> None:
        """SIGTERM; HarnessError when it had to be killed."""
        child, self._child = self._child, None
        if child is not None and child.exit_code is None and not await child.stop(STOP_TIMEOUT_S):
            raise HarnessError(f"the server did not stop within {STOP_TIMEOUT_S:g} s of SIGTERM; {child.log_tail()}")

    def _command(self) -> list[str]:
        options = {
            "host": self.address.host,
            "port": self.address.port,
            "db": self.db,
            "config": self._config,
            "event": EVENT,
            "seed": self._seed,
            "event-log": self._run_dir / "events" / LOG,
            "epoch": repr(self._epoch),
        }
        flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return [sys.executable, "-P", "-m", "resilience", "serve", *flags]
