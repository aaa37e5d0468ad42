"""Centrifugo as a ready-made system: built, examined with its own client, and run. It takes minutes the first time."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from chaos.cli import chaos
from reports.systems import SystemsComparison

pytestmark = pytest.mark.bench


def test_its_driver_passes_the_check() -> None:
    words = ["driver", "check", "--system", "centrifugo", "--slower", "20"]
    result = CliRunner().invoke(chaos, words, standalone_mode=False)
    assert result.output.endswith("17 rules hold\n"), result.output


def test_its_clients_recover_their_stream_from_every_short_fault(tmp_path: Path) -> None:
    CliRunner().invoke(chaos, ["compare-systems", "smoke", "centrifugo", "--out", str(tmp_path / "out")])
    (result,) = msgspec.json.decode((tmp_path / "out" / "systems.json").read_bytes(), type=SystemsComparison).results
    assert set(result.returns) == {"resumed"}
    assert result.figures[0].value == 1.0
