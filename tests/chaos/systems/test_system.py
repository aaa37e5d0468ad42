"""Systems are read from TOML, told apart from experiments, and put into them."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.placeholders import fill_placeholders
from chaos.systems.choice import tell_apart
from chaos.systems.system import bundled_systems, load_system, parse_system, with_system
from resilience.config import ClientConfig
from resilience.errors import ConfigError, ExperimentError, UsageError
from resilience.experiment.loader import load, parse
from resilience.experiment.targets import CommandTargetSpec

OWN = """
title = "Ours"
target = {kind = "command", command = ["ours", "{port}"]}
driver = {kind = "stdio", command = ["drive"]}
"""
EXPERIMENT = """
name = "tiny"
duration = 9.0
ramp = 0.2
hypothesis = {within = 1.0}
cohorts = [{name = "a", clients = 2}]
client = {probe_after = 1.0}
expectations = [
  {metric = "success_rate", op = ">=", threshold = 0.5}, {metric = "grace_expirations", op = "<=", threshold = 1.0},
]
"""


def test_every_bundled_system_runs_every_fault_of_the_shared_catalogue() -> None:
    """What they are compared by in the documentation."""
    for name, system in bundled_systems().items():
        assert (system.name, bool(system.title), bool(system.settings)) == (name, True, True)
        for experiment in ("abrupt-disconnects", "office-outage", "tunnel", "server-crash"):
            assert with_system(load(experiment), system).faults == load(experiment).faults


def test_an_experiment_keeps_its_schedule_and_takes_the_systems_settings() -> None:
    """A target that only this program's log tells is left out for another server."""
    experiment = parse(EXPERIMENT, "tiny.toml")
    foreign = with_system(experiment, parse_system(OWN, "ours.toml", "ours"))
    assert [item.metric for item in foreign.expectations] == ["success_rate"]
    assert (foreign.duration, foreign.cohorts, foreign.client) == (9.0, experiment.cohorts, ClientConfig())
    own = with_system(experiment, bundled_systems()["quiz"])
    assert (len(own.expectations), own.client) == (2, ClientConfig())


def test_what_a_system_cannot_carry_out_is_named_with_both() -> None:
    external = parse_system('title = "x"\ntarget = {kind = "external", address = "a:1"}', "x.toml", "x")
    with pytest.raises(UsageError, match=r"server-crash on x: faults\[0\]\.kind.*external target cannot be killed"):
        with_system(load("server-crash"), external)


def test_a_cohort_with_clients_of_its_own_takes_no_system() -> None:
    with pytest.raises(UsageError, match="browsers on quiz: its cohort pages has clients of its own, chromium, and a"):
        with_system(load("browsers"), bundled_systems()["quiz"])


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("title = ", "ours.toml: not TOML"),
        ("", "ours.toml: title"),
        ('title = "x"\ntargt = 1', "ours.toml: "),
        ('title = "x"\ncohorts = []', "ours.toml: cohorts: this is an experiment; a system is a file with"),
        ('title = "x"\ntarget = {kind = "command", command = ["x"]}', r"ours.toml: target\.command.*{port}"),
        (
            'title = "x"\ntarget = {kind = "socketio"}',
            "ours.toml: target.kind: 'socketio': must be one of: quiz, command, external",
        ),
    ],
)
def test_a_broken_file_is_named_with_the_key(text: str, complaint: str) -> None:
    with pytest.raises(ExperimentError, match=complaint):
        parse_system(text, "ours.toml", "ours")


def test_a_system_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="did you mean centrifugo"):
        load_system("centrifuge")
    with pytest.raises(ExperimentError, match="no such file"):
        load_system(str(tmp_path / "none.toml"))


def test_files_with_cohorts_are_experiments_and_others_systems(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text(OWN)
    (tmp_path / "tiny.toml").write_text(EXPERIMENT)
    names = ["tunnel", str(tmp_path / "tiny.toml"), "quiz", str(tmp_path / "ours.toml")]
    experiments, systems = tell_apart(names, 0.1)
    assert [(each.name, each.clients) for each in experiments] == [("tunnel", 3), ("tiny", 1)]
    assert [each.name for each in systems] == ["quiz", "ours"]


@pytest.mark.parametrize(
    "names, complaint",
    [
        (["quiz", "echo"], "no experiment among quiz, echo"),
        (["tunnel"], "no system among tunnel.*there are centrifugo, echo, quiz, socketio"),
        (["tunnel", "quiz", "quiz"], "the system quiz is there twice"),
        (["tunnel", "tunnel", "quiz"], "the experiment tunnel is there twice"),
        (["tunnel", "soketio"], "no such experiment, system or file; did you mean socketio"),
        (["tunel", "quiz"], "did you mean tunnel"),
        (["none.toml", "quiz"], "none.toml"),
    ],
)
def test_words_that_make_no_comparison_are_answered_with_what_would_be_right(names: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        tell_apart(names, 1.0)


def test_placeholders_stand_for_places_that_need_not_be_there_yet(tmp_path: Path) -> None:
    words = fill_placeholders(["{systems}/x", "{centrifugo}", "{port}"], {"XDG_CACHE_HOME": str(tmp_path)})
    assert words[0].startswith(str(tmp_path))
    assert words[1].startswith(str(tmp_path))
    assert words[2] == "{port}"
    assert not list(tmp_path.iterdir())


def test_a_target_without_its_port_is_rejected_as_in_an_experiment() -> None:
    with pytest.raises(ConfigError):
        load_system("echo").__class__(title="x", target=CommandTargetSpec(command=("x",)))
