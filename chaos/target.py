"""The system under test: our own quiz server in a process of its own, started, proven healthy, stopped. Adapter of K7.

Knows how the server is configured and asked; knows nothing of faults and clients.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from resilience.errors import HarnessError, PortInUseError
from resilience.experiment.loader import to_toml
from resilience.experiment.spec import Experiment
from resilience.lab.canary import PROBE_INTERVAL_S, ProbeResult, probe
from resilience.lab.participants import EVENT
from resilience.server.app import WEBSOCKET_PATH
from resilience.settings import PLAIN_NAMES
from resilience.units import Instant, Seconds

from .ports import free_ports
from .proxied_link import HOST, Address
from .supervised import SupervisedProcess

STOP_TIMEOUT_S: Seconds = 10.0
"""How long the server may take to settle its commits and write its closing records."""

_TRIES = 5
_OWN_VARIABLES = ("RESILIENCE_", *(name.upper() for name in PLAIN_NAMES))


class Target:
    """A running quiz server; make one with :meth:`start`."""

    def __init__(self, child: SupervisedProcess, address: Address) -> None:
        self.child, self.address = child, address

    @classmethod
    async def start(cls, experiment: Experiment, seed: int, run_dir: Path, *, epoch: Instant, by: Instant) -> Target:
        """Start the experiment's server and return it once ``/healthz`` answers.

        ``epoch`` and ``by`` are instants of the system's monotonic clock: the run's start, and when to lose patience.
        Raises HarnessError with the end of the server's log, :class:`StartupTimeoutError` when it was not healthy in
        time.
        """
        config = run_dir / "server.toml"
        config.write_text(settings_of(experiment), encoding="utf-8")
        for _ in range(_TRIES):
            address = Address(HOST, free_ports(1, HOST)[0])
            (run_dir / "quiz.db").unlink(missing_ok=True)
            child = await SupervisedProcess.spawn(
                "server",
                _command(address, config, run_dir, seed, epoch),
                run_dir / "logs" / "server.log",
                env=clean_environment(os.environ),
            )
            target = cls(child, address)
            try:
                await target._healthy(by)
            except PortInUseError:
                continue
            except BaseException:
                child.kill()
                await child.process.wait()
                raise
            return target
        raise HarnessError(f"somebody took {_TRIES} free ports in a row; end other runs and try again")

    @property
    def url_path(self) -> str:
        """Where on the server clients connect."""
        return WEBSOCKET_PATH

    async def wait_for_exit(self) -> str:
        """Return, should it ever end by itself, how it did."""
        code = await self.child.process.wait()
        return f"the server ended by itself with exit code {code}; {self.child.log_tail()}"

    async def stop(self) -> None:
        """End it in order: it writes its closing records first. HarnessError when it had to be killed."""
        if self.child.exit_code is None and not await self.child.stop(STOP_TIMEOUT_S):
            log_tail = self.child.log_tail()
            raise HarnessError(f"the server did not stop within {STOP_TIMEOUT_S:g} s of SIGTERM; {log_tail}")

    async def _healthy(self, by: Instant) -> None:
        while await probe(self.address) is not ProbeResult.ANSWERED:
            if self.child.exit_code is not None:
                raise self._early_end()
            if time.monotonic() > by:
                raise StartupTimeoutError(f"the server was not healthy in time; {self.child.log_tail()}")
            await asyncio.sleep(PROBE_INTERVAL_S)

    def _early_end(self) -> HarnessError:
        words = self.child.log_tail()
        if "already in use" in words:
            return PortInUseError(*self.address)
        return HarnessError(f"the server ended at once with exit code {self.child.exit_code}; {words}")


class StartupTimeoutError(HarnessError):
    """The server works but was not ready in time."""


def settings_of(experiment: Experiment) -> str:
    """The experiment's server and quiz tables as a settings file of the server."""
    tables = tomllib.loads(to_toml(experiment))
    return msgspec.toml.encode({name: tables[name] for name in ("server", "quiz")}).decode()


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without the server's own settings, which would override the experiment's."""
    return {key: value for key, value in environ.items() if not key.startswith(_OWN_VARIABLES)}


def _command(address: Address, config: Path, run_dir: Path, seed: int, epoch: Instant) -> list[str]:
    options = {
        "host": address.host,
        "port": address.port,
        "db": f"sqlite:///{(run_dir / 'quiz.db').absolute()}",
        "config": config,
        "event": EVENT,
        "seed": seed,
        "event-log": run_dir / "events" / "server.jsonl",
        "epoch": repr(epoch),
    }
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-P", "-m", "resilience", "serve", *flags]
