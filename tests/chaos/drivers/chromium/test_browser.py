"""The program that is Chromium: where it is found, and what is said when it does not start."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

import pytest

from chaos.drivers.chromium import browser
from chaos.drivers.chromium.browser import BrowserProcess, find_chromium, remove_stale_profiles
from resilience.errors import HarnessError, UsageError


def program(folder: Path, name: str, script: str = "exit 0") -> str:
    """An executable of this name."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def profiles_in(folder: Path) -> list[Path]:
    """The profiles there."""
    return list(folder.glob("resilience-chromium-*"))


def test_it_is_found_under_its_names_on_path(tmp_path: Path) -> None:
    chrome = program(tmp_path / "bin", "google-chrome")
    assert find_chromium(None, {"PATH": str(tmp_path / "bin")}) == chrome
    chromium = program(tmp_path / "bin", "chromium")
    assert find_chromium(None, {"PATH": str(tmp_path / "bin")}) == chromium


def test_the_option_comes_before_the_environment_and_both_before_path(tmp_path: Path) -> None:
    mine, theirs = program(tmp_path, "mine"), program(tmp_path, "theirs")
    program(tmp_path / "bin", "chromium")
    environ = {"PATH": str(tmp_path / "bin"), "CHROME_PATH": theirs}
    assert find_chromium(None, environ) == theirs
    assert find_chromium(mine, environ) == mine


def test_a_name_of_no_program_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    with pytest.raises(UsageError, match=r"^--browser: 'nowhere': no such program, or not executable"):
        find_chromium("nowhere", {"PATH": ""})
    with pytest.raises(UsageError, match=r"^CHROME_PATH: .*text': no such program, or not executable"):
        find_chromium(None, {"PATH": "", "CHROME_PATH": str(tmp_path / "text")})


def test_a_machine_without_it_fails_the_laboratory() -> None:
    with pytest.raises(HarnessError, match=r"no Chromium: none of chromium, .* is on PATH; install it, or name"):
        find_chromium(None, {"PATH": ""})


async def test_one_that_does_not_start_is_quoted_and_leaves_no_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    process = await BrowserProcess.start(program(tmp_path, "chromium", "echo No usable sandbox! >&2; exit 7"), [])
    with pytest.raises(HarnessError, match=r"ended by itself \(exit code 7\); its log ends: No usable sandbox!"):
        await process.endpoint()
    await process.kill()
    assert profiles_in(tmp_path) == []


def test_complaints_about_a_message_bus_are_left_out_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "[1:ERROR:dbus/bus.cc:405] Failed to connect to the bus\nNo usable sandbox!\n[1:ERROR:dbus/bus.cc]\n"
    )
    assert browser.log_tail(log) == "No usable sandbox!"
    assert browser.log_tail(tmp_path / "none") == ""


async def test_one_that_never_listens_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(browser, "START_TIMEOUT_S", 0.05)
    process = await BrowserProcess.start(program(tmp_path, "chromium", "exec sleep 100"), [])
    with pytest.raises(HarnessError, match=r"was not ready within 0\.05 s; its log ends: \(empty\)"):
        await process.endpoint()
    await process.kill()


async def test_only_profiles_that_no_driver_uses_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    used, stale, strange = (tmp_path / f"resilience-chromium-{name}" for name in ("used", "stale", "strange"))
    for profile in (used, stale, strange):
        profile.mkdir()
    (stale / "in-use.lock").touch()
    lock = os.open(used / "in-use.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    await asyncio.to_thread(remove_stale_profiles)
    os.close(lock)
    assert (used.exists(), stale.exists(), strange.exists()) == (True, False, True)
