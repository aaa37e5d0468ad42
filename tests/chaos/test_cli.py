"""The command line: what it shows, what it refuses, and what it draws."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chaos import cli
from chaos.toxiproxy.provision import VARIABLE, Binary
from resilience.errors import ExitCode, HarnessError, ToxiproxyError, UsageError


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.chaos, [str(argument) for argument in arguments], standalone_mode=False)


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["run", "nowhere"], "no such file or bundled experiment"),
        (["run", "smoke", "--set", "cohorts.0.clients=0"], "cohorts[0].clients"),
        (["run", "smoke", "--scale", "0"], "--scale"),
        (["show", "smoek"], "did you mean smoke?"),
    ],
)
def test_bad_input_is_a_usage_error_before_anything_starts(arguments: list[str], complaint: str) -> None:
    """Exit code 2, with a message that names the place."""
    error = invoke(*arguments).exception
    assert isinstance(error, UsageError)
    assert complaint in str(error)


def test_a_toxiproxy_that_is_not_there_is_named_with_what_named_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option, or the variable; a run and the doctor say the same."""
    rule = "no such file; name the toxiproxy-server's program"
    error = invoke("run", "smoke", "--toxiproxy", "no/such").exception
    assert isinstance(error, ToxiproxyError)
    assert str(error).startswith(f"--toxiproxy: no/such: {rule}")
    monkeypatch.setenv(VARIABLE, "not/there")
    assert f"{VARIABLE}: not/there: {rule}" in " ".join(invoke("doctor").output.split())


def test_bad_input_ends_the_command_with_2_and_one_line(tmp_path: Path) -> None:
    """Through the root command, from a file with an unknown cohort."""
    file = tmp_path / "bad.toml"
    file.write_text(
        'name = "x"\nduration = 9.0\ncohorts = [{name = "a", clients = 1}]\nramp = 0.1\n'
        'hypothesis = {within = 1.0}\nfaults = [{kind = "cut", at = 2.0, cohorts = ["b"]}]\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "resilience", "chaos", "run", file], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "faults[0].cohorts" in done.stderr


def test_a_used_directory_is_refused(binary: Binary, tmp_path: Path) -> None:
    """A run never mixes with what is already there."""
    (tmp_path / "something").touch()
    error = invoke("run", "smoke", "--out", tmp_path, "--toxiproxy", binary.path).exception
    assert isinstance(error, UsageError)
    assert "not empty" in str(error)


def test_list_shows_the_catalogue() -> None:
    """Each bundled experiment with its size and title."""
    output = invoke("list").output
    for words in ("crash", "demo", "300", "smoke"):
        assert words in output


def test_show_resolves_the_experiment_and_its_timeline() -> None:
    """Defaults are spelt out, overrides are in, faults have their times."""
    output = invoke("show", "smoke", "--scale", "2", "--set", "client.preset=classic").output
    assert 'preset = "classic"' in output
    assert "clients = 20" in output
    assert "6.50 s  9.00 s  blackhole  solo" in output


def test_show_says_whether_the_design_can_ever_pass(tmp_path: Path) -> None:
    """The README's example can; with one cut in place of nine it never could, and what would do is printed."""
    readme = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    file = tmp_path / "lunch.toml"
    file.write_text(text)
    now = invoke("show", file).output
    assert now.index("cut        office") < now.index("success_rate ≥ 95 % can pass: at most ")
    before = invoke("show", file, "--set", "faults.1.times=1").output
    assert "success_rate ≥ 95 % can never pass: at most " in before
    assert "About 7 events of " in before
    assert "there is nothing to plan" in invoke("show", file, "--set", "expectations=[]").output


def test_doctor_ends_with_4_when_something_is_in_the_way(binary: Binary, tmp_path: Path) -> None:
    """A missing proxy is a finding, a usable one is not."""
    missing = invoke("doctor", "--toxiproxy", tmp_path / "none")
    assert missing.return_value == ExitCode.HARNESS
    assert "bad" in missing.output
    assert invoke("doctor", "--toxiproxy", binary.path).return_value == ExitCode.PASS


def test_doctor_predicts_whether_an_experiment_fits(binary: Binary, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit that is in the way, and what to change; --scale makes it fit."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 4096))
    found = invoke("doctor", "venue-5000", "--toxiproxy", binary.path)
    assert found.return_value == ExitCode.HARNESS
    assert "the server may need 5128" in " ".join(found.output.split())
    small = invoke("doctor", "venue-5000", "--scale", "0.01", "--toxiproxy", binary.path)
    assert "may need" not in small.output
    for wrong in (["venue-5000", "--clients", "7"], ["--scale", "2"], ["--clients", "7", "--set", "ramp=1"]):
        assert isinstance(invoke("doctor", *wrong).exception, UsageError)


@pytest.mark.parametrize("words", [("run", "venue-5000"), ("compare-systems", "smoke", "venue-5000", "quiz", "echo")])
def test_a_run_that_cannot_fit_is_refused_before_anything_starts(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a failure of the environment; no directory is made. --ignore-limits passes it on to what starts next."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 4096))
    out, missing = tmp_path / "run", tmp_path / "no-toxiproxy"
    refused = invoke(*words, "--out", out).exception
    assert isinstance(refused, HarnessError)
    assert "cannot carry a run of venue-5000" in str(refused)
    assert "ulimit -Hn 5128" in str(refused)
    assert "--ignore-limits" in str(refused)
    assert not out.exists()
    ignored = invoke(*words, "--ignore-limits", "--toxiproxy", missing).exception
    assert isinstance(ignored, ToxiproxyError)


def test_show_says_what_a_run_takes() -> None:
    assert "5,128 open files in one process (server) and 5,000 connections" in invoke("show", "venue-5000").output


def test_help_needs_no_analysis() -> None:
    """Asking for help loads neither pandas nor matplotlib."""
    code = "import sys, chaos.cli, chaos.real_lane; sys.exit(any(m in sys.modules for m in ('pandas', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
