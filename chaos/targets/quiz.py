"""Our own quiz server as the system under test: how it is configured. Its life as a process is ``process_target``'s.

Every process of one run has the same port, database, event log and run clock. The server takes the run's start (epoch)
as an argument, so it is started with an epoch a few seconds ahead; when it was not healthy well before, it is started
again with more time.
"""

from __future__ import annotations

import os
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from resilience.errors import HarnessError
from resilience.experiment.loader import to_toml
from resilience.experiment.spec import Experiment
from resilience.lab.link_probes import QUIZ_HEALTH
from resilience.lab.participants import EVENT
from resilience.runtime import RunClock
from resilience.server.app import WEBSOCKET_PATH
from resilience.settings import PLAIN_NAMES
from resilience.units import Seconds

from .process_target import ProcessTarget, StartupTimeoutError

START_LEADS_S: tuple[Seconds, ...] = (3.0, 12.0)
"""How far ahead the run's start is set when the server is started: at first, and after a start that took too long."""

START_MARGIN_S: Seconds = 0.5
"""What must be left of the lead when the server is healthy: in it the proxies are opened and the clients instructed."""

STOP_TIMEOUT_S: Seconds = 10.0
"""How long, after its drain, the server may take to commit its answers and to write its final records."""

_OWN_VARIABLES = ("RESILIENCE_", *(name.upper() for name in PLAIN_NAMES))


class QuizTarget(ProcessTarget):
    """The quiz server of one run, with the experiment's settings.

    ``database`` is the URL of its database. ``clock`` is the run's; the server logs in its time.
    """

    def __init__(
        self, experiment: Experiment, seed: int, run_dir: Path, *, clock: RunClock, database: str | None = None
    ) -> None:
        super().__init__(run_dir / "logs" / "server.log", clock, QUIZ_HEALTH)
        self._url = database or f"sqlite:///{(run_dir / 'quiz.db').absolute()}"
        self.database = self._url
        self._own_database = run_dir / "quiz.db" if database is None else None
        self._seed = seed
        self._events = run_dir / "events" / "server.jsonl"
        self._config = run_dir / "server.toml"
        self._config.write_text(settings_of(experiment), encoding="utf-8")
        self._drain_s = experiment.server.drain.window(experiment.clients)

    @property
    def url_path(self) -> str:
        """Where on the server clients connect."""
        return WEBSOCKET_PATH

    @property
    def end_timeout(self) -> Seconds:
        """How long after the time of its drain it may still run."""
        return STOP_TIMEOUT_S

    @property
    def stop_timeout(self) -> Seconds:
        """How long its drain and its end may take together."""
        return STOP_TIMEOUT_S + self._drain_s

    async def start(self) -> None:
        """Start the first server, on a new run of the event; it receives the run's start."""
        for lead in START_LEADS_S:
            self._clock.epoch = time.monotonic() + lead
            try:
                await self.launch(by=self._clock.epoch - START_MARGIN_S)
            except StartupTimeoutError as error:
                late = error
                continue
            return
        raise HarnessError(f"the machine is too slow or too busy: {late}")

    def _left_behind(self) -> Sequence[Path]:
        return [self._events, *([] if self._own_database is None else [self._own_database])]

    def _environment(self) -> Mapping[str, str]:
        return {**clean_environment(os.environ), "RESILIENCE_DB": self._url}  # a URL may hold a password

    def _command(self, *, is_first: bool) -> list[str]:
        options = {
            "host": self.address.host,
            "port": self.address.port,
            "config": self._config,
            "event": EVENT,
            "seed": self._seed,
            "event-log": self._events,
            "epoch": repr(self._clock.epoch),
        }
        flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return [sys.executable, "-P", "-m", "resilience", "serve", *flags, *(["--fresh"] if is_first else [])]


def settings_of(experiment: Experiment) -> str:
    """The experiment's server and quiz tables as a settings file of the server."""
    tables = tomllib.loads(to_toml(experiment))
    return msgspec.toml.encode({name: tables[name] for name in ("server", "quiz")}).decode()


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without the server's own settings, which would override the experiment's."""
    return {key: value for key, value in environ.items() if not key.startswith(_OWN_VARIABLES)}
