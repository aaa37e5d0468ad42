"""A whole run against a server that is started by its command, through a Toxiproxy that is there already."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from chaos.real_lane import RealLane
from chaos.toxiproxy.client import ToxiproxyApi
from chaos.toxiproxy.external import ExternalToxiproxy
from chaos.toxiproxy.process import ToxiproxyProcess
from chaos.toxiproxy.provision import Binary
from reports.build import build_report
from resilience.eventlog.vocabulary import Verdict
from resilience.experiment.loader import parse
from resilience.experiment.spec import Experiment
from resilience.lab.manifest import DATABASE
from resilience.lab.participants import EVENT
from resilience.lab.run import execute
from resilience.lab.run_directory import RunStatus, read_run_info

from ..support.prompt_runs import prompt_run

TEXT = """
name = "foreign"
duration = 6.2
ramp = 0.2
cohorts = [{name = "alpha", clients = 4}]
hypothesis = {joined = 1.0, within = 1.2}
faults = [{kind = "cut", cohorts = ["alpha"], at = 1.4}, {kind = "server_kill", at = 3.4, duration = 0.3}]

[target]
kind = "command"
path = "/ws"
ready = "/healthz"
"""


def experiment(run_dir: Path) -> Experiment:
    """The quiz server as another project's: of it nothing is known but its address."""
    words = [sys.executable, "-m", "resilience", "serve", "--port", "{port}", "--event", EVENT, "--config", "x.toml"]
    (run_dir.parent / "x.toml").write_text("[server]\ndrain_window = 0.0\nrestart_pause = 0.0\n")
    database = f"sqlite:///{run_dir.parent / run_dir.name}.db"
    rest = f'command = {[*words, "--db", database]}\ndirectory = "{run_dir.parent}"\n'
    return parse(TEXT + rest.replace("'", '"'), "foreign.toml")


def test_a_run_of_a_foreign_server_through_a_foreign_proxy_is_judged(binary: Binary, tmp_path: Path) -> None:
    """Checks without evidence do not apply, the others hold; nothing is left in the proxy.

    All return from the cut; a busy machine may still start the server again when the run ends.
    """

    async def with_toxiproxy() -> tuple[ToxiproxyProcess, ExternalToxiproxy]:
        process = await ToxiproxyProcess.start(binary)
        return process, ExternalToxiproxy(process.host, process.api_port)

    process, external = asyncio.run(with_toxiproxy())
    lane = RealLane(toxiproxy=external, workers=1)
    try:
        outcome, run_dir = prompt_run(lambda where: execute(lane, experiment(where), 1, where), tmp_path)
        left = asyncio.run(proxies_of(external))
    finally:
        process.kill()
    assert (outcome.status, outcome.cause, left) == (RunStatus.COMPLETED, None, [])
    assert external.where in read_run_info(run_dir).versions["toxiproxy"]
    assert not (run_dir / DATABASE).exists()
    assert not (run_dir / "events" / "server.jsonl").exists()
    summary = build_report(run_dir)
    verdicts = {item.name: item.verdict for item in summary.invariants}
    assert summary.laboratory.failures == ()
    assert [name for name, verdict in verdicts.items() if verdict is Verdict.FAIL] == []
    assert verdicts["restored_state_true"] is Verdict.NOT_APPLICABLE
    assert verdicts["server_lives"] is Verdict.PASS
    outcomes = summary.success_rate.outcomes
    assert (outcomes.restored >= 4, outcomes.corrupt, outcomes.identity_lost) == (True, 0, 0)
    assert any("on its own word" in warning for warning in summary.laboratory.warnings)


async def proxies_of(external: ExternalToxiproxy) -> list[str]:
    with contextlib.closing(ToxiproxyApi(external.host, external.port)) as api:
        return list(await api.list_proxies())
