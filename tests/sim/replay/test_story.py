"""The story has network, client and server in the order of time, from every lane, and names near names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from resilience.errors import EvidenceError, ExitCode, UsageError
from resilience.eventlog.vocabulary import Lane, LogEventKind
from resilience.experiment.loader import load, parse
from resilience.experiment.spec import Experiment
from resilience.lab.run import execute
from sim import cli
from sim.cli import driver_of
from sim.population.run import PopulationRun
from sim.replay.cli import lines
from sim.replay.story import Story, story_of
from sim.replay.words import WORDINGS

GOLDEN = Path(__file__).parents[2] / "golden" / "small"
SMOKE: Experiment = msgspec.structs.replace(load("smoke"), expectations=())
HALL = """
name = "hall"
duration = 120.0
cohorts = [{ name = "homes", clients = 30 }]
[[faults]]
kind = "refuse"
at = 20.0
duration = 20.0
cohorts = ["homes"]
"""


@pytest.fixture(scope="module", params=[Lane.VIRTUAL, Lane.MODEL], ids=str)
def run_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored run of each lane with events."""
    path = tmp_path_factory.mktemp("run")
    execute(driver_of(request.param), SMOKE, SMOKE.seed, path)
    return path


def replayed(*arguments: str) -> str:
    """What the command prints."""
    result = CliRunner().invoke(cli.sim, ["replay", *arguments], standalone_mode=False)
    assert result.return_value is ExitCode.PASS, result.exception
    return result.output


def test_a_story_has_every_side_and_every_fault(run_dir: Path) -> None:
    """Each of the three faults with its begin and end, the losses, the dials, the restores, and an episode for each."""
    story = story_of(run_dir, "solo-0003")
    whos = {entry.who for entry in story.entries}
    assert whos == {"network", "client", "server", "run"}
    kinds = [entry.kind for entry in story.entries]
    assert kinds.count(LogEventKind.FAULT_STARTED) == kinds.count(LogEventKind.FAULT_ENDED) == 3
    assert kinds.count(LogEventKind.SESSION_RESTORED) == 3
    assert LogEventKind.SESSION_RESUMED in kinds
    assert LogEventKind.BACKOFF_SCHEDULED in kinds
    assert [episode.outcome for episode in story.episodes] == ["restored"] * 3
    assert [entry.t for entry in story.entries] == sorted(entry.t for entry in story.entries)
    actors = {entry.event.actor for entry in story.entries if entry.event is not None and entry.who == "client"}
    assert actors == {"solo-0003"}


def test_a_public_id_and_a_tab_name_their_participant(run_dir: Path) -> None:
    story = story_of(run_dir, "solo-0003")
    (public_id,) = story.ids
    assert story_of(run_dir, public_id) == story
    assert story_of(run_dir, "solo-0003.tab2") == story


def test_lines_are_read_in_order_of_time_and_leave_out_routine(run_dir: Path) -> None:
    story = story_of(run_dir, "solo-0003")
    short, full = list(lines(story, everything=False)), list(lines(story, everything=True))
    assert short[0].startswith(f"solo-0003 (solo, {story.ids[0]}) in smoke, lane ")
    assert any("left out; --all shows them" in line for line in short)
    assert len(full) > len(short)
    assert any("the fault begins" in line for line in short)
    assert short[-1].startswith("episode 2.0:blackhole@solo at 6.500 s: restored;")


def test_json_holds_what_the_log_holds(run_dir: Path) -> None:
    """Machine-readable, with the log's own events."""
    printed = replayed(str(run_dir), "solo-0003", "--json")
    assert msgspec.json.decode(printed, type=Story) == story_of(run_dir, "solo-0003")
    assert {entry["event"]["kind"] for entry in json.loads(printed)["entries"]} > {"session.restored"}


def test_every_ending_is_shown() -> None:
    """A stored run in which one gave up and one came back as another; a second id is named, and a broken rule."""
    stories = [story_of(GOLDEN, f"alpha-000{number}") for number in (1, 2, 3, 4)]
    outcomes = {episode.outcome for story in stories for episode in story.episodes}
    assert {"restored", "gave_up", "identity_lost"} <= outcomes
    (other,) = [story for story in stories if len(story.ids) > 1]
    said = list(lines(other, everything=False))
    assert " then " in said[0]
    assert any(line.startswith("broken: ") for line in said)


def test_a_story_that_could_not_be_written_is_an_error(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that reads half of the JSON learns of it from the exit code."""
    arguments = ["replay", str(run_dir), "solo-0001", "--json"]
    assert CliRunner().invoke(cli.sim, arguments, standalone_mode=False).return_value is ExitCode.PASS
    monkeypatch.setattr("sim.replay.cli.lost_output", lambda: "no space left on device")
    assert CliRunner().invoke(cli.sim, arguments, standalone_mode=False).return_value is ExitCode.HARNESS


def test_an_unknown_participant_lists_near_names(run_dir: Path) -> None:
    with pytest.raises(UsageError, match=r"solo-3: the run has no such participant; near: .*it has 10"):
        story_of(run_dir, "solo-3")


def test_a_directory_that_is_no_run_or_was_damaged_is_refused(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such run directory"):
        story_of(tmp_path / "nowhere", "solo-0001")
    with pytest.raises(UsageError, match="not a run directory"):
        story_of(tmp_path, "solo-0001")
    damaged = tmp_path / "damaged"
    shutil.copytree(run_dir, damaged)
    (damaged / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(EvidenceError):
        story_of(damaged, "solo-0001")


def test_a_population_has_its_outages_and_says_why_it_has_no_dials(tmp_path: Path) -> None:
    """Drawn again from the seed: they begin and end where the stored episodes say."""
    (tmp_path / "events").mkdir()
    PopulationRun(parse(HALL, "hall.toml"), 1).execute(tmp_path)
    story = story_of(tmp_path, "homes-0007")
    (episode,) = story.episodes
    assert [entry.t for entry in story.entries] == pytest.approx([episode.fault_at, episode.healed_at])
    said = "\n".join(lines(story, everything=False))
    assert "the server's queue" in said
    assert "0.0:refuse@homes" in said


@pytest.mark.parametrize(
    "kind, cohorts, who, said",
    [
        ("client_suspend", 'cohorts = ["homes"]', "client", "the client stands still: 20.000 s"),
        ("server_suspend", "", "server", "the server stands still: 20.000 s"),
        ("server_kill", "", "server", "the server is killed: the link breaks; dials are refused: 20.600 s"),
        ("refuse", 'cohorts = ["homes"]', "network", "the link breaks; dials are refused: 20.000 s"),
        ("blackhole", 'cohorts = ["homes"]', "network", "the link loses all bytes: 20.000 s"),
    ],
)
def test_an_outage_of_a_population_says_what_stands_still(
    tmp_path: Path, kind: str, cohorts: str, who: str, said: str
) -> None:
    text = HALL.replace('cohorts = ["homes"]', cohorts).replace("refuse", kind)
    PopulationRun(parse(text, "hall.toml"), 1).execute(tmp_path)
    entry, _ = story_of(tmp_path, "homes-0007").entries
    assert (entry.who, entry.what) == (who, said)


def test_every_kind_that_concerns_a_participant_has_words() -> None:
    """Those of hosts, of the laboratory and of the room as a whole have none."""
    of_room = ("host.", "question.", "connection.", "message.", "join.", "store.")
    elsewhere = (*of_room, "lab.", "link.", "harness.", "driver.")
    others = {LogEventKind.SERVER_LATE, LogEventKind.CLIENT_ACKNOWLEDGED, LogEventKind.CLIENT_OBSERVED}
    expected = {kind for kind in LogEventKind if not kind.value.startswith(elsewhere)} - others
    assert set(WORDINGS) == expected
