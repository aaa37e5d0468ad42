"""A run's directory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from resilience.errors import EvidenceError, UsageError
from resilience.eventlog.vocabulary import Lane
from resilience.lab.run_directory import RunInfo, RunStatus, create_run_dir, point_latest, read_run_info, write_run_info

INFO = RunInfo(
    experiment="demo",
    experiment_digest="d",
    lane=Lane.VIRTUAL,
    seed=7,
    started_at="2024-01-01T00:00:00Z",
    duration_s=60.0,
    status=RunStatus.COMPLETED,
    versions={"python": "3.11"},
)


def make(root: Path, stamp: str = "20240101T000000Z", out: Path | None = None) -> Path:
    """A run's directory under a root."""
    return create_run_dir("demo", lane=Lane.VIRTUAL, seed=7, stamp=stamp, out=out, root=root)


def test_the_name_tells_when_with_what_and_where_it_ran(tmp_path: Path) -> None:
    """Under the experiment's name."""
    path = make(tmp_path)
    assert path == tmp_path / "demo" / "20240101T000000Z-7-virtual"
    assert (path / "events").is_dir()


def test_out_is_the_directory_itself(tmp_path: Path) -> None:
    """Absent or empty; no ``latest`` is made next to it."""
    out = tmp_path / "mine"
    out.mkdir()
    assert make(tmp_path / "root", out=out) == out
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("there", ["file", "full"])
def test_a_run_overwrites_nothing(tmp_path: Path, there: str) -> None:
    """A file, or a directory with something in it, is refused by name."""
    out = tmp_path / "mine"
    if there == "file":
        out.write_text("precious")
    else:
        (out / "sub").mkdir(parents=True)
    with pytest.raises(UsageError, match="not empty") as caught:
        make(tmp_path, out=out)
    assert str(out) in str(caught.value)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """With the system's reason, on one line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot make the run directory"):
        make(tmp_path, out=tmp_path / "file" / "below")


def test_run_info_round_trip(tmp_path: Path) -> None:
    """Rewriting replaces it whole."""
    write_run_info(tmp_path, INFO)
    write_run_info(tmp_path, INFO)
    assert read_run_info(tmp_path) == INFO
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"{}", b'{"experiment":5}', b'"\xff"'])
def test_a_broken_run_info_is_named(tmp_path: Path, content: bytes) -> None:
    """The error names the file; it is the evidence's, not the user's."""
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(EvidenceError, match="not a run's description"):
        read_run_info(tmp_path)


def test_a_directory_without_run_info_is_no_run(tmp_path: Path) -> None:
    """Nor is a file, nor what does not exist."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(UsageError, match="not a run directory"):
            read_run_info(path)


def test_a_directory_that_holds_runs_is_answered_with_one_of_them(tmp_path: Path) -> None:
    """That of repetitions, or of all runs of an experiment."""
    for name in ("seed-2", "seed-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
    with pytest.raises(UsageError, match=rf"no run.json; it holds runs: name one, such as {tmp_path}/seed-1$"):
        read_run_info(tmp_path)


def test_runs_of_the_same_second_get_directories_of_their_own(tmp_path: Path) -> None:
    """Many threads at one instant: none is refused, none shares."""

    def make(_: int) -> Path:
        gate.wait()
        return create_run_dir("smoke", lane=Lane.MODEL, seed=1, stamp="20260101T000000Z", out=None, root=tmp_path)

    gate = Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(8)))
    assert len(set(made)) == 8


def test_one_directory_is_given_to_one_run(tmp_path: Path) -> None:
    """Looking and making are one step, also for a directory that the user named."""

    def make(out: Path) -> bool:
        gate.wait()
        try:
            create_run_dir("smoke", lane=Lane.MODEL, seed=1, stamp="s", out=out, root=tmp_path)
        except UsageError as error:
            assert "already there and not empty" in str(error)  # noqa: PT017 - in a thread
            return False
        return True

    gate = Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        for number in range(100):
            assert sum(pool.map(make, [tmp_path / str(number)] * 4)) == 1


def test_latest_points_at_the_newest_and_never_replaces_a_directory(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert point_latest(tmp_path / name) is None
    assert (tmp_path / "latest").resolve() == tmp_path / "b"
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").mkdir()
    assert "does not point at this run" in (point_latest(tmp_path / "a") or "")
    assert not (tmp_path / "latest").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "latest"]


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("notes", encoding="utf-8")
    with pytest.raises(UsageError, match=r"cannot make the run directory: .*demo is a file"):
        create_run_dir("demo", lane=Lane.MODEL, seed=1, stamp="now", out=None, root=tmp_path)
