"""A plan with pages needs a Chromium, and says what opening them costs; any other plan needs none."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.doctor import browser
from chaos.doctor.browser import browser_findings
from chaos.doctor.needs import FleetNeeds, describe_needs, needs_of
from chaos.limits import planned_needs, require_room
from resilience.errors import HarnessError
from resilience.experiment.loader import load
from resilience.experiment.spec import Cohort, Experiment


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has, the packages of the driver are there."""
    monkeypatch.setattr(browser, "missing_of", lambda _: None)


def needs(driver: str | None) -> FleetNeeds:
    return needs_of(Experiment("x", 60.0, (Cohort("a", 20, driver=driver),)), 1, 2)


def test_a_plan_without_pages_needs_no_browser() -> None:
    assert browser_findings(needs(None), {"PATH": ""}) == []
    assert browser_findings(None, {"PATH": ""}) == []


def test_a_plan_with_pages_needs_a_browser(tmp_path: Path) -> None:
    (found,) = browser_findings(needs("chromium"), {"PATH": str(tmp_path)})
    assert (found.verdict, found.value) == ("bad", "not found")
    assert "none of chromium, chromium-browser" in found.advice


def test_a_name_without_a_program_is_said(tmp_path: Path) -> None:
    (found,) = browser_findings(needs("chromium"), {"PATH": str(tmp_path), "CHROME_PATH": "nothing"})
    assert "CHROME_PATH: 'nothing': no such program" in found.advice


def test_what_opening_the_pages_costs_is_said_beforehand(tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    program.touch(0o755)
    (found,) = browser_findings(needs("chromium"), {"PATH": str(tmp_path)})
    cost = "opening 20 pages in Chromium takes about 30 s of a processor"
    assert (found.verdict, found.value, found.advice) == ("ok", str(program), cost)
    assert cost[1:] in describe_needs(needs("chromium"))
    assert "Chromium" not in describe_needs(needs(None))


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "missing_of", lambda extra: f"install {extra}")
    (found,) = browser_findings(needs("chromium"), {"PATH": ""})
    assert (found.verdict, found.advice) == ("bad", "install chromium")


def test_a_run_without_its_browser_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROME_PATH", raising=False)
    needs = planned_needs(load("browsers", ("cohorts.0.clients=1", "cohorts.1.clients=1")), 1, 1)
    with pytest.raises(
        HarnessError, match=r"cannot carry a run of browsers\. .*chromium: not found; no Chromium: none"
    ):
        require_room("browsers", needs, tmp_path)
