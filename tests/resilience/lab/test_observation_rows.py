"""Observations come back as they were made, client by client, wherever they were kept."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from resilience.experiment.loader import load
from resilience.lab.observation import Observation, ObservationKind
from resilience.lab.observation_rows import PIECE_BYTES, ListedRows, ObservationSpool, SpooledRows
from resilience.lab.recording import DirectoryRecording
from tests.support.stored_lines import read_observations


def made(client: int, number: int) -> Observation:
    """One observation, of which no two are equal."""
    return Observation(float(number), f"all-{client}", "?", None, "q1", kind=ObservationKind.SENT, connection=number)


class Shown:
    """Clients that were shown this."""

    def __init__(self, rows: list[SpooledRows]) -> None:
        self.rows = rows

    def observations(self) -> list[Observation]:
        """As objects."""
        return [row for kept in self.rows for row in kept]

    def observation_lines(self) -> list[bytes]:
        """As lines."""
        return [piece for kept in self.rows for piece in kept.lines()]


def test_what_clients_are_shown_in_turn_comes_back_client_by_client(tmp_path: Path) -> None:
    """More of it than one piece, and a rest."""
    spool = ObservationSpool(tmp_path)
    spooled, listed = [SpooledRows(spool) for _ in range(3)], [ListedRows() for _ in range(3)]
    for number in range(100):
        for client in range(3):
            spooled[client].append(made(client, number))
            listed[client].append(made(client, number))
    assert [list(rows) for rows in spooled] == listed
    assert [b"".join(rows.lines()) for rows in spooled] == [b"".join(rows.lines()) for rows in listed]
    assert all(len(piece) < 2 * PIECE_BYTES for rows in spooled for piece in rows.lines())
    spool.close()


def test_nothing_is_left_in_the_directory(tmp_path: Path) -> None:
    """Not while it is used either: a process that is killed leaves nothing."""
    spool = ObservationSpool(tmp_path)
    rows = SpooledRows(spool)
    for number in range(100):
        rows.append(made(1, number))
    assert len(list(rows)) == 100
    assert not list(tmp_path.iterdir())
    spool.close()


def test_a_full_disk_is_met_by_who_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the client whose observation it was: it would take the error for one of its own."""
    spool = ObservationSpool(tmp_path)
    monkeypatch.setattr("resilience.lab.observation_rows.WRITE_BYTES", 1)
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, spool.descriptor)
    os.close(full)
    rows = SpooledRows(spool)
    for number in range(100):
        rows.append(made(1, number))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        list(rows.lines())
    spool.close()


def test_a_run_directory_gets_the_lines_and_their_marker(tmp_path: Path) -> None:
    recording = DirectoryRecording(tmp_path / "run", load("smoke"))
    rows = [recording.rows_of_a_client(), recording.rows_of_a_client()]
    for number in range(50):
        rows[number % 2].append(made(number % 2, number))
    recording.write_observations("shown", Shown([kept for kept in rows if isinstance(kept, SpooledRows)]))
    files = {file.path: file for file in recording.close()}
    assert (files["observations/shown.jsonl"].lines, files["observations/shown.jsonl"].complete) == (50, True)
    found = read_observations(tmp_path / "run")
    assert found == [made(number % 2, number) for number in [*range(0, 50, 2), *range(1, 50, 2)]]
