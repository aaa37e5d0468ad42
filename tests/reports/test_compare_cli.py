"""The commands that compare: exit codes, first lines, files, and what a user may type."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reports.cli import report
from reports.compare_cli import read_margins
from resilience.errors import UsageError
from resilience.eventlog.vocabulary import Lane, LogEventKind
from resilience.lab.run_directory import RunStatus

from ..support.log_builder import LogBuilder, clean_history, experiment, sample_history
from ..support.made_sweep import made_table, write_sweep


@pytest.fixture(scope="module", name="runs")
def _runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("runs")
    empty, stopped = LogBuilder(experiment(())), clean_history(clients=30)
    stopped.status = RunStatus.HARNESS_FAILED
    histories = {
        "good": sample_history(clients=30, losing=0.0),
        "bad": sample_history(clients=30, losing=0.4),
        "virtual": sample_history(Lane.VIRTUAL, clients=30, losing=0.0),
        "clean": clean_history(clients=60),
        "broken": clean_history(clients=60).server(40.0, "c1", LogEventKind.PARTICIPANT_ANNOUNCED),
        "empty": empty.join("c0").join("c1").join("c2").join("c3").end(),
        "stopped": stopped,
    }
    return {name: str(history.write(root / name)) for name, history in histories.items()}


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(report, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    "pair, flag, code",
    [
        (("good", "good"), "", 0),
        (("good", "good"), "--fail-on-worse", 0),
        (("good", "bad"), "--fail-on-worse", 1),
        (("bad", "good"), "--fail-on-worse", 0),
        (("good", "virtual"), "--fail-on-worse", 0),
        (("clean", "broken"), "", 1),
        (("broken", "clean"), "", 0),
        (("clean", "empty"), "", 3),
        (("empty", "clean"), "--fail-on-worse", 3),
        (("clean", "stopped"), "", 4),
        (("stopped", "clean"), "", 4),
    ],
)
def test_compare_ends_with_its_exit_code(
    runs: dict[str, str], tmp_path: Path, pair: tuple[str, str], flag: str, code: int
) -> None:
    arguments = ["compare", *(runs[name] for name in pair), "--out", str(tmp_path / "out"), *filter(None, [flag])]
    done = _run(*arguments)
    assert done.exit_code == code, done.output
    assert "compare.html" in done.output


def test_the_first_line_says_that_experiments_are_different(runs: dict[str, str], tmp_path: Path) -> None:
    done = _run("compare", runs["good"], runs["clean"], "--out", tmp_path)
    assert done.output.strip().startswith("Different experiments: ")


def test_a_baseline_stands_for_the_first_run(runs: dict[str, str], tmp_path: Path) -> None:
    stored, out = tmp_path / "deep" / "baseline.json", tmp_path / "out"
    assert _run("baseline", runs["good"], "--out", stored).exit_code == 0
    done = _run("compare", "--baseline", stored, runs["good"], "--out", out, "--fail-on-worse")
    assert (done.exit_code, "baseline" in done.output) == (0, True)
    assert _run("compare", "--baseline", stored, runs["bad"], "--out", out, "--fail-on-worse").exit_code == 1


@pytest.mark.parametrize("name, code, said", [("empty", 3, "no affected episode"), ("stopped", 4, "harness failed")])
def test_a_run_that_says_nothing_is_no_baseline(
    runs: dict[str, str], tmp_path: Path, name: str, code: int, said: str
) -> None:
    done = _run("baseline", runs[name], "--out", tmp_path / "baseline.json")
    assert (done.exit_code, said in done.output) == (code, True)
    assert not (tmp_path / "baseline.json").exists()


def test_a_trend_prints_its_headline(runs: dict[str, str], tmp_path: Path) -> None:
    done = _run("trend", runs["good"], runs["bad"], "--out", tmp_path, "--fail-on-worse")
    assert done.exit_code == 1
    assert done.output.strip().startswith("The newest run is worse: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trend.html", "trend.json", "trend.md"]


@pytest.mark.parametrize("processes, replications, code", [((8, 10), 8, 0), ((6, 8), 8, 1), ((8, 10), 1, 3)])
def test_capacity_ends_with_its_answer(
    tmp_path: Path, processes: tuple[int, ...], replications: int, code: int
) -> None:
    table = made_table(processes=processes, replications=replications)
    done = _run("capacity", write_sweep(tmp_path / "sweep", table=table))
    assert done.exit_code == code, done.output
    assert (tmp_path / "sweep" / "capacity.html").is_file()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["compare", "nowhere", "nowhere"], "no such run directory"),
        (["compare", "nowhere"], "at least two"),
        (["compare", "--baseline", "nowhere.json", "a", "b"], "one run directory, not 2"),
        (["compare", "--baseline", "nowhere.json", "a"], "cannot read the baseline"),
        (["compare", "a", "b", "--margin", "seconds"], "must be NAME=VALUE"),
        (["trend", "nowhere"], "at least two"),
        (["capacity", "nowhere"], "no such sweep directory"),
        (["baseline", "nowhere", "--out", "x.json"], "no such run directory"),
    ],
)
def test_bad_input_is_a_usage_error(arguments: list[str], said: str) -> None:
    done = _run(*arguments)
    assert isinstance(done.exception, UsageError)
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize(
    "setting, said",
    [
        ("seconds=x", "positive number"),
        ("seconds=-1", "positive number"),
        ("seconds=nan", "positive number"),
        ("seconds=inf", "positive number"),
        ("minutes=1", "no such name"),
        ("metrics=1", "no such name"),
        ("=1", "no such name"),
    ],
)
def test_a_margin_that_is_none_is_named(setting: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_margins((setting,))


def test_margins_are_general_or_of_a_metric() -> None:
    margins = read_margins(("seconds=0.5", "excess_s.p50=0.1", "share=0.01"))
    assert [margins.of(metric) for metric in ("excess_s.p50", "downtime_s.restricted_mean", "success_rate")] == [
        0.1,
        0.5,
        0.01,
    ]
    assert margins.of("excess_s.p95") == 0.5
