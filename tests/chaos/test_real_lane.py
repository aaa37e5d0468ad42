"""Whole runs over real processes: one that passes, and everything that can go wrong around one."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from chaos import limits, real_system
from chaos.proxied_link import ProxiedLink
from chaos.real_lane import RealLane
from chaos.targets import quiz
from chaos.toxiproxy.provision import Binary
from reports.build import analyse, build_report
from reports.cli import report_own_run
from reports.frames import load_history
from resilience.errors import ExitCode, HarnessError
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role, Verdict
from resilience.experiment.loader import load, load_file, parse
from resilience.experiment.spec import Experiment
from resilience.lab.cancellation import Cancellation
from resilience.lab.health import LabHealth
from resilience.lab.participants import participants_of
from resilience.lab.progress import Progress, ProgressListener, ignore_progress
from resilience.lab.recording import read_stored_run_file
from resilience.lab.run import RunOutcome, execute
from resilience.lab.run_directory import RunStatus, read_run_info
from resilience.lab.server_watch import SilenceMeter
from tests.support.stored_lines import read_observations

from ..support.deadlines import HANG_S
from ..support.processes import descendants, eventually_sync, kinds, lives, logged
from ..support.prompt_runs import kept_up, prompt_run
from .long_refusal import LONG_REFUSAL

K = LogEventKind

KILL = """
name = "kill"
duration = 12.0
ramp = 0.2

[server]
drain_window = 0.0
restart_pause = 0.0

[client]
stable_after = 1.0

[quiz]
questions = 30
lobby = 0.5
question_time = 0.4
reveal_time = 0.1
leaderboard_time = 0.1
answer_share = 1.0
fastest = 0.0

[[cohorts]]
name = "alpha"
clients = 2

[[cohorts]]
name = "beta"
clients = 4

[hypothesis]
joined = 0.5
within = 1.5

[[faults]]
kind = "server_kill"
at = 2.5
duration = 0.5
"""

SHARE = """
name = "share"
duration = 5.0
ramp = 0.2
cohorts = [{name = "beta", clients = 4}]
hypothesis = {joined = 0.5, within = 2.0}
faults = [{kind = "cut", at = 3.0, cohorts = ["beta"], share = 0.5}]
"""


def experiment(*overrides: str) -> Experiment:
    return parse(LONG_REFUSAL, "long.toml", overrides)


def run(chosen: Experiment, run_dir: Path, binary: Binary, progress: ProgressListener = ignore_progress) -> RunOutcome:
    outcome = execute(RealLane(toxiproxy=binary.path, workers=2), chosen, chosen.seed, run_dir, progress=progress)
    info = read_run_info(run_dir)
    assert (info.status, info.cause) == outcome_fields(outcome)
    return outcome


def outcome_fields(outcome: RunOutcome) -> tuple[RunStatus, str | None]:
    return outcome.status, outcome.cause


OTHERS: set[int] = set()
"""What other tests keep running, such as a database."""


@pytest.fixture(autouse=True)
def others() -> None:
    """Tell the processes of a run from those that were there before."""
    OTHERS.clear()
    OTHERS.update(descendants(os.getpid()))


def children() -> set[int]:
    """The processes that the test has started, and theirs."""
    return descendants(os.getpid()) - OTHERS


def pids_of(words: bytes) -> list[int]:
    """This process's descendants with these words in their command lines."""
    return [pid for pid in children() if words in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_the_smoke_experiment_passes_through_the_command_line(binary: Binary, tmp_path: Path) -> None:
    """`chaos run smoke` ends with 0 and leaves a complete run directory and its report; a starved one never fails."""

    def run_smoke(out: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "resilience", "chaos", "run", "smoke", "--out", str(out)]
        command += ["--toxiproxy", str(binary.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in {ExitCode.PASS, ExitCode.INCONCLUSIVE, ExitCode.HARNESS}, done.stdout + done.stderr
        return done

    done, out = prompt_run(run_smoke, tmp_path)
    if done.returncode == ExitCode.INCONCLUSIVE:  # who is away when the next fault strikes is one episode less
        done, out = prompt_run(run_smoke, tmp_path / "again")
    if not kept_up(out):
        return  # so starved a machine can be asked for no more than that no run failed
    assert done.returncode == ExitCode.PASS, done.stdout + done.stderr
    assert "PASS" in done.stdout
    info = read_run_info(out)
    assert (info.status, info.lane, info.seed) == (RunStatus.COMPLETED, Lane.REAL, 11)
    assert load_file(out / "experiment.toml") == load("smoke")
    assert {"summary.json", "summary.md", "junit.xml", "report.html"} <= {path.name for path in out.iterdir()}
    events = logged(out)
    assert {event.role for event in events} == set(Role)
    assert [kinds(out).count(kind) for kind in (K.FAULT_CONFIRMED, K.FAULT_CLEARED, K.FAULT_INVALID)] == [3, 3, 0]
    (ended,) = (event for event in events if event.kind is K.RUN_ENDED)
    assert ended.outcome == "completed"
    (health,) = (event for event in events if event.kind is K.LAB_HEALTH)
    workers = [process for process in decode_health(health).processes if process.role == "worker"]
    assert workers
    assert load_history(out).lab_lag == max(process.lag_max or 0.0 for process in workers) > 0.0


def test_without_a_steady_state_nothing_is_injected(
    binary: Binary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet that has not joined in time is a run that did not start: exit code 4. Its listener saw it all."""
    monkeypatch.setattr(real_system, "RECORDED_LAG_S", -1.0)
    seen: list[Progress] = []
    slow = experiment("ramp=2.0", "hypothesis.joined=1.0", "cohorts.0.clients=40", "server.join_capacity=2")
    outcome = run(slow, tmp_path, binary, seen.append)
    assert outcome.status is RunStatus.NOT_STARTED
    (steady,) = (event for event in logged(tmp_path) if event.kind is K.RUN_STEADY)
    assert steady.outcome == "fail"
    assert K.FAULT_STARTED not in kinds(tmp_path)
    assert [progress.phase for progress in seen if progress.phase != "joining"] == ["starting", "ending"]
    assert not children()
    measured = {event.actor for event in logged(tmp_path) if event.kind is K.LAB_LAG}
    assert {"runner", "clients-1", "clients-2", "server", "toxiproxy-alpha", "toxiproxy-beta"} <= measured
    (health,) = (event for event in logged(tmp_path) if event.kind is K.LAB_HEALTH)
    assert {process.name for process in decode_health(health).processes} == measured
    monkeypatch.setattr(
        "reports.build.build_report", lambda run_dir, _=None: analyse(run_dir)[2]
    )  # without the pictures
    drawn = Console(file=io.StringIO(), width=200)
    assert report_own_run(tmp_path, drawn) == 4
    assert "wanted 100.0%; nothing was injected" in (outcome.cause or "")


def test_a_worker_that_dies_ends_the_run_as_the_laboratorys_failure(binary: Binary, tmp_path: Path) -> None:
    """Its clients are gone through no fault of the server; nothing stays behind."""
    mine: set[int] = set()

    def listener(progress: Progress) -> None:
        if progress.phase == "running" and not mine:
            mine.update(children())
            os.kill(pids_of(b"chaos.worker_main")[0], signal.SIGKILL)

    with pytest.raises(HarnessError, match=r"clients-[12] is gone"):
        run(experiment(), tmp_path, binary, listener)
    assert read_run_info(tmp_path).status == RunStatus.HARNESS_FAILED
    assert mine
    assert not any(lives(pid) for pid in mine)


SERVER, PROXY = b"resilience\0serve", b"toxiproxy-server"


class Strike:
    """Sends the first process with this in its command line a signal, once, from outside, when the run is under way."""

    def __init__(self, command: bytes, number: signal.Signals) -> None:
        self._command, self._number = command, number
        self.struck: int | None = None

    def __call__(self, progress: Progress) -> None:
        """Listen to the run."""
        if progress.phase == "running" and self.struck is None:
            self.struck = pids_of(self._command)[0]
            os.kill(self.struck, self._number)


def test_a_proxy_that_dies_between_faults_is_replaced_and_recorded(
    binary: Binary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run continues; its record says what failed in the laboratory."""
    monkeypatch.setattr(real_system, "LINK_CHECK_S", 0.2)
    short = experiment("duration=8.0", "faults.0.duration=0.5", "faults.0.at=5.5")
    assert run(short, tmp_path, binary, Strike(PROXY, signal.SIGKILL)).status is RunStatus.COMPLETED
    (failed,) = [event for event in logged(tmp_path) if event.kind is K.HARNESS_FAILED]
    assert "ended (killed by SIGKILL)" in (failed.cause or "")
    assert kinds(tmp_path).count(K.FAULT_STARTED) == 2


def test_a_proxy_that_dies_ends_its_clients_sessions_and_the_record_says_why(binary: Binary, tmp_path: Path) -> None:
    """Every client of the link lost its session to the laboratory: the run decides nothing, and no check accuses."""
    short = experiment("duration=9.0", "faults.0.duration=0.5", "faults.0.at=6.5", "hypothesis.joined=1.0")
    assert run(short, tmp_path, binary, Strike(PROXY, signal.SIGKILL)).status is RunStatus.COMPLETED
    (replaced,) = [event for event in logged(tmp_path) if event.kind is K.LINK_REPLACED]
    assert replaced.actor in {"alpha", "beta"}
    assert replaced.cause == f"toxiproxy of {replaced.actor} ended (killed by SIGKILL)"
    died, back = replaced.t, replaced.t + (replaced.value or 0.0)
    losses = [event.t for event in logged(tmp_path) if event.kind is K.TRANSPORT_LOST and event.role is Role.CLIENT]
    assert any(died <= t <= back for t in losses)
    summary = build_report(tmp_path)
    verdicts = {item.name: item.verdict for item in summary.invariants}
    assert (verdicts["losses_have_faults"], verdicts["losses_have_causes"]) == (Verdict.PASS, Verdict.PASS)
    assert summary.verdict is Verdict.INCONCLUSIVE
    died_words = f"ended (killed by SIGKILL), at {died:.1f} s of the run"
    assert any(died_words in reason for reason in summary.reasons)


def decode_health(event: LogEvent) -> LabHealth:
    return msgspec.json.decode(event.detail or "", type=LabHealth)


@pytest.mark.parametrize(
    "number, cause",
    [
        (signal.SIGKILL, r"the server ended by itself \(killed by SIGKILL\) at \d\.\d s"),
        (signal.SIGSTOP, r"the server stopped answering at \d\.\d s, for 2 s"),
    ],
    ids=["dies", "hangs"],
)
def test_a_server_that_fails_by_itself_is_a_fail_with_a_report(
    binary: Binary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, cause: str
) -> None:
    """The run ends at once, the first reason names it, JUnit is red, and what the database holds is kept."""
    if number is signal.SIGSTOP:  # only a server that is to hang is soon taken to hang
        monkeypatch.setattr("resilience.lab.server_watch.HANG_S", 2.0)
        monkeypatch.setattr("chaos.real_system.SilenceMeter", lambda: SilenceMeter(2.0))
        monkeypatch.setattr("chaos.targets.quiz.STOP_TIMEOUT_S", 1.0)
    outcome = run(experiment("duration=600.0"), tmp_path, binary, Strike(SERVER, number))
    assert outcome.status is RunStatus.COMPLETED
    assert re.fullmatch(cause, outcome.cause or "")
    (failed,) = (event for event in logged(tmp_path) if event.kind is K.SERVER_FAILED)
    assert failed.cause == outcome.cause
    assert logged(tmp_path)[-1].t < 60.0
    assert read_stored_run_file(tmp_path) is not None
    assert not children()
    summary = build_report(tmp_path)
    assert (summary.verdict, summary.exit_code) == (Verdict.FAIL, 1)
    assert summary.reasons[0] == outcome.cause
    assert "<failure" in (tmp_path / "junit.xml").read_text()


def test_a_proxy_that_hangs_between_faults_is_replaced_and_recorded(
    binary: Binary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No operation has to find it: its control API is asked all the time."""
    monkeypatch.setattr(real_system, "LINK_CHECK_S", 0.2)
    strike, sound = Strike(PROXY, signal.SIGSTOP), ProxiedLink.revive

    async def revive(link: ProxiedLink) -> str | None:
        if link.process.pid == strike.struck:  # only the proxy that hangs gets little time to answer
            link.api.timeout_s = 0.5
        return await sound(link)

    monkeypatch.setattr(ProxiedLink, "revive", revive)
    short = experiment("duration=8.0", "faults.0.duration=0.5", "faults.0.at=5.5")
    assert run(short, tmp_path, binary, strike).status is RunStatus.COMPLETED
    causes = [event.cause or "" for event in logged(tmp_path) if event.kind is K.HARNESS_FAILED]
    assert any("was replaced" in cause for cause in causes)
    assert analyse(tmp_path)[2].verdict is Verdict.INCONCLUSIVE


def test_a_server_that_is_killed_and_restarted_loses_nothing(binary: Binary, tmp_path: Path) -> None:
    """The new process recovers the run of the event; what clients saw and what the database holds are stored."""
    chosen = parse(KILL, "kill.toml")
    outcome, run_dir = prompt_run(lambda where: run(chosen, where, binary), tmp_path)
    assert outcome_fields(outcome) == (RunStatus.COMPLETED, None)
    starts = [event.outcome for event in logged(run_dir) if event.kind is K.SERVER_STARTED]
    assert starts == ["fresh", "recovered"]
    assert [kinds(run_dir).count(kind) for kind in (K.FAULT_CONFIRMED, K.FAULT_INVALID)] == [1, 0]
    stored = read_stored_run_file(run_dir)
    assert stored is not None
    assert stored.incarnation == 2
    assert len(stored.scores) == chosen.clients
    assert stored.answers
    everybody = {participant.actor for participant in participants_of(chosen, chosen.seed)}
    assert {observation.actor for observation in read_observations(run_dir)} == everybody
    _, _, summary = analyse(run_dir)
    assert [item.name for item in summary.invariants if item.verdict is Verdict.FAIL] == []


def test_a_share_of_a_cohort_has_a_link_of_its_own(binary: Binary, tmp_path: Path) -> None:
    """Half of beta is cut; the other half keeps its connections."""
    chosen = parse(SHARE, "share.toml")
    outcome, run_dir = prompt_run(lambda where: run(chosen, where, binary), tmp_path)
    assert outcome.status is RunStatus.COMPLETED
    assert {path.name for path in (run_dir / "logs").glob("toxiproxy-*.log")} == {
        f"toxiproxy-{name}.log" for name in ("beta.1", "beta.2")
    }
    (window,) = chosen.windows()
    (struck,) = (group for group in chosen.links() if group.name in window.links)
    lost = {
        event.actor
        for event in logged(run_dir)
        if event.kind is K.TRANSPORT_LOST and event.role is Role.CLIENT and event.t < chosen.duration
    }
    assert lost == {f"beta-{number:04d}" for number in struck.indices}
    assert len(lost) == 2


def test_a_server_that_starts_too_slowly_gets_more_time_once(
    binary: Binary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch that has come too close is given up for a later one; twice too late is the machine's fault."""
    monkeypatch.setattr(quiz, "START_LEADS_S", (0.5, 0.5))
    with pytest.raises(HarnessError, match="too slow or too busy"):
        run(experiment(), tmp_path, binary)
    assert not children()
    assert K.RUN_STARTED not in kinds(tmp_path)
    assert read_run_info(tmp_path).status is RunStatus.HARNESS_FAILED


@pytest.mark.parametrize("phase", ["starting", "joining", "running"])
def test_a_run_may_be_executed_in_any_thread_and_cancelled_from_another(
    binary: Binary, tmp_path: Path, phase: str
) -> None:
    """The request ends it in order in every phase, and nothing is left running."""
    cancellation, seen, outcomes = Cancellation(), list[str](), list[RunOutcome]()

    def work() -> None:
        driver = RealLane(toxiproxy=binary.path, workers=1)
        outcomes.append(
            execute(
                driver,
                experiment(),
                1,
                tmp_path,
                progress=lambda progress: seen.append(progress.phase),
                cancellation=cancellation,
            )
        )

    thread = threading.Thread(target=work)
    thread.start()
    assert eventually_sync(lambda: phase in seen and len(children()) >= 2, HANG_S)
    assert cancellation.request("the test")
    thread.join(HANG_S)
    assert not thread.is_alive()
    assert outcomes == [RunOutcome(RunStatus.INTERRUPTED, "interrupted by the test")]
    assert read_run_info(tmp_path).status is RunStatus.INTERRUPTED
    assert not children()


# --- open files -------------------------------------------------------------------------------------------------------


def test_open_files_are_counted_before_the_run_and_missing_ones_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too low a hard limit says what is needed, what is there and what to do; an ample one is made use of."""
    big = experiment("cohorts.0.clients=5000")
    assert limits.files_needed(big, 1) == 2 * 5000 + 128
    made: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr("resource.setrlimit", lambda what, value: made.append((what, value)))
    monkeypatch.setattr("resource.getrlimit", lambda what: (1024, 4096))
    with pytest.raises(HarnessError, match=r"10128 open files .* limit here is 4096: raise it .* --scale"):
        limits.raise_open_files(limits.files_needed(big, 1))
    assert not made
    limits.raise_open_files(2000)
    assert [value for _, value in made] == [(4096, 4096)]


def test_too_few_open_files_stop_no_run_whose_user_ignores_the_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts what comes next; here that is missing."""
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)
    monkeypatch.setattr("resource.getrlimit", lambda _: (64, 64))
    complaints = {True: "no-toxiproxy does not work", False: "the hard limit here is 64"}
    for ignores, complaint in complaints.items():
        driver = RealLane(toxiproxy=tmp_path / "no-toxiproxy", ignores_limits=ignores)
        with pytest.raises(HarnessError, match=complaint):
            execute(driver, experiment(), 1, tmp_path / str(ignores))
