"""The commands of network profiles, as a user types them, and an exported schedule run by the real code."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from resilience.errors import ExitCode, HarnessError, UsageError
from resilience.experiment.loader import load_file
from sim import cli
from sim.profiles.schedule import timelines_of
from sim.profiles.trace import read_trace

MIX = ("home-wifi+access-point-restart=5", "lte-moving+carrier-outage=4", "office-wifi=3")


def resilience_sim(*arguments: object) -> Result:
    return CliRunner().invoke(cli.sim, [str(argument) for argument in arguments], standalone_mode=False)


def output_of(*arguments: object) -> str:
    result = resilience_sim(*arguments)
    assert result.exception is None, result.exception
    return result.output


def test_profiles_are_listed_with_how_often_they_strike() -> None:
    output = output_of("profiles")
    assert "carrier once, at 50% of the time for 30% of the population" in output
    assert "coverage 0.4% of the time in bursts of 8 s for each 80 participants" in output
    assert "deploy once, at 50% of the time for each of 8 groups" in output


def test_a_profile_is_shown_with_the_source_of_every_number() -> None:
    output = output_of("profiles", "lte-moving")
    assert "outages.hole.lengths[0].median = 25  assumed: a tunnel of 300 m at city speed" in output
    assert "median = 4.5  published: olgen2013, Handover measurements" in output
    assert "(LTE to 3G, measured over a WebSocket connection in the field)" in output


def test_outages_are_drawn_written_and_summarised(tmp_path: Path) -> None:
    output = output_of("outages", *MIX, "--horizon", 120, "--seed", 2, "--out", tmp_path / "o.csv")
    assert "12 participants" in output
    assert "silent" in output
    trace = read_trace(tmp_path / "o.csv")
    assert trace.timelines.participants == 12
    assert f"{trace.timelines.outages} outages" in output
    assert output == output_of("outages", *MIX, "--horizon", 120, "--seed", 2)
    assert output != output_of("outages", *MIX, "--horizon", 120, "--seed", 2, "--replication", 1)


def test_a_population_without_outages_has_a_summary_too() -> None:
    assert output_of("outages", "home-wifi=1", "--horizon", 1).strip() == (
        "1 participants, of which 0 have an outage; 0 outages, 0.00 each"
    )


def test_a_drawn_event_runs_against_the_real_code_in_virtual_time(tmp_path: Path) -> None:
    """Fourteen participants for a minute: every one that lost its connection is back, and every rule holds."""
    trace, experiment, run = tmp_path / "o.csv", tmp_path / "e.toml", tmp_path / "run"
    output_of("outages", "congested-venue=14", "--horizon", 60, "--seed", 2, "--out", trace)
    output = output_of("schedule", trace, "--out", experiment, "--success", 0.1, "--silent", "blackhole")
    assert "lanes: real, virtual, model" in output
    assert f"resilience sim run {experiment} --lane virtual" in output
    struck = [outages for outages in read_trace(trace).timelines if outages]
    assert sorted(struck) == sorted(outages for outages in timelines_of(load_file(experiment)) if outages)
    result = resilience_sim("run", experiment, "--lane", "virtual", "--out", run, "--quiet")
    summary = json.loads((run / "summary.json").read_text())
    assert summary["success_rate"]["restored"] == summary["success_rate"]["affected"] == len(struck)
    assert result.return_value == ExitCode.PASS


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (("profiles", "home"), "no such network profile; did you mean home-wifi"),
        (("outages", "home-wifi=5", "--horizon", "0"), "horizon = 0.0: must be above 0"),
        (("outages", "home-wifi=5", "--horizon", "nan"), "horizon = nan"),
        (("outages", "home-wifi"), "must be PROFILE=PARTICIPANTS"),
        (("schedule", "none.csv", "--out", "e.toml"), "none.csv: no such file"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: tuple[str, ...], complaint: str) -> None:
    result = resilience_sim(*arguments)
    assert isinstance(result.exception, UsageError)
    assert complaint in str(result.exception)
    assert "\n" not in str(result.exception)


def test_the_number_of_cohorts_is_limited_and_rounding_lowers_it(tmp_path: Path) -> None:
    trace = tmp_path / "o.csv"
    trace.write_text("participant,start,end\na,1,3\nb,1.04,3.04\nc,9,9.01\n")
    limited = ("schedule", trace, "--out", tmp_path / "e.toml", "--max-cohorts", 2)
    assert "3 different timelines" in str(resilience_sim(*limited).exception)
    assert not (tmp_path / "e.toml").exists()
    assert "2 cohorts, 1 fault windows" in output_of(*limited, "--round", 0.1).replace("left out", "")


def test_what_an_experiment_cannot_show_is_said(tmp_path: Path) -> None:
    trace = tmp_path / "o.csv"
    trace.write_text("participant,start,end,kind\na,1,3,silent\na,3.1,5,silent\na,6,6.4,silent\na,7,7.05,refused\n")
    output = output_of("schedule", trace, "--out", tmp_path / "e.toml")
    assert "left out: 2 outages too short for a canary to see (silent below 0.5 s, refused below 0.1 s)" in output
    assert "close: 1 outages less than 0.3 s after another of their cohort" in output


def test_files_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    trace = tmp_path / "o.csv"
    trace.write_text("participant,start,end\na,1,3\n")
    for arguments in (("outages", "5g=1", "--out", tmp_path), ("schedule", trace, "--out", tmp_path)):
        result = resilience_sim(*arguments)
        assert isinstance(result.exception, HarnessError)
        assert "cannot write the " in str(result.exception)


@pytest.mark.parametrize(
    "option, complaint",
    [
        (("--success", "2"), "a rate must be between 0 and 1"),
        (("--success", "nan"), "a rate must be between 0 and 1"),
        (("--round", "0"), "round = 0.0: must be from 0.1 to 60 s"),
        (("--round", "nan"), "round = nan: must be"),
        (("--name", "My run"), "name = 'My run': must be lower-case"),
        (("--max-cohorts", "0"), "0 is not in the range"),
    ],
)
def test_options_out_of_range_are_rejected(option: tuple[str, str], complaint: str, tmp_path: Path) -> None:
    trace, out = tmp_path / "o.csv", tmp_path / "e.toml"
    trace.write_text("participant,start,end\na,1,3\n")
    result = resilience_sim("schedule", trace, "--out", out, *option)
    assert isinstance(result.exception, UsageError | click.ClickException)
    assert complaint in str(result.exception)
    assert not out.exists()
