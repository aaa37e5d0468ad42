"""Packages of Node are fetched once, whole or not at all. ``node`` and ``npm`` are fakes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import pytest

from chaos.systems import node_programs
from chaos.systems.node_programs import node_folder, provide_node_programs
from resilience.errors import ExitCode, HarnessError

from ...support.deadlines import HANG_S
from ...support.processes import eventually_sync, lives
from . import fakes
from .fakes import script


def install_fakes(tmp_path: Path, npm: str = fakes.NPM) -> Path:
    """Put both programs on PATH; returns the file of npm's calls."""
    calls = tmp_path / "calls"
    script(tmp_path / "bin" / "node", fakes.NODE)
    script(tmp_path / "bin" / "npm", npm.format(calls=calls, pid=tmp_path / "pid", begun=tmp_path / "begun"))
    return calls


def test_packages_are_fetched_once_next_to_the_programs(tmp_path: Path, env: dict[str, str]) -> None:
    calls, cache, said = install_fakes(tmp_path), tmp_path / "cache", list[str]()
    provide_node_programs(cache, env, said.append)
    folder = node_folder(cache)
    assert calls.read_text().split() == list(node_programs.INSTALL)
    assert {"package-lock.json", "lines.mjs", "socketio-server.mjs", "centrifugo.json", "node_modules"} <= {
        path.name for path in folder.iterdir()
    }
    assert any("npm" in line for line in said)
    (tmp_path / "bin" / "npm").unlink()
    provide_node_programs(cache, env, said.append)
    assert list(cache.iterdir()) == [folder]


def test_without_node_or_npm_the_error_names_what_to_install(tmp_path: Path, env: dict[str, str]) -> None:
    with pytest.raises(HarnessError, match=r"no node on PATH: install Node\.js 18") as caught:
        provide_node_programs(tmp_path / "cache", env, print)
    assert caught.value.exit_code is ExitCode.HARNESS
    script(tmp_path / "bin" / "node", fakes.NODE)
    with pytest.raises(HarnessError, match=r"no npm on PATH"):
        provide_node_programs(tmp_path / "cache", env, print)
    script(tmp_path / "bin" / "node", fakes.OLD_NODE)
    with pytest.raises(HarnessError, match=r"is Node\.js v16\.20\.2: install 18 or newer"):
        provide_node_programs(tmp_path / "cache", env, print)


def test_a_failure_has_npms_words_and_leaves_no_file(tmp_path: Path, env: dict[str, str]) -> None:
    install_fakes(tmp_path, fakes.OFFLINE_NPM)
    with pytest.raises(HarnessError, match=r"exit code 1: npm error network request failed.*registry"):
        provide_node_programs(tmp_path / "cache", env, print)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, env: dict[str, str]) -> None:
    install_fakes(tmp_path)
    (tmp_path / "cache").write_text("")
    with pytest.raises(HarnessError, match=r"cache.*XDG_CACHE_HOME"):
        provide_node_programs(tmp_path / "cache", env, print)


def test_the_second_caller_waits_and_finds_them(tmp_path: Path, env: dict[str, str]) -> None:
    calls, said = install_fakes(tmp_path), list[str]()
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(provide_node_programs, tmp_path / "cache", env, said.append) for _ in range(3)]:
            done.result()
    assert calls.read_text().count("ci ") == 1


def test_what_a_killed_caller_left_is_removed(tmp_path: Path, env: dict[str, str]) -> None:
    install_fakes(tmp_path)
    (tmp_path / "cache" / "build-left").mkdir(parents=True)
    provide_node_programs(tmp_path / "cache", env, print)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [node_folder(tmp_path / "cache").name]


def test_sigterm_ends_npm_with_all_that_it_started(tmp_path: Path, env: dict[str, str]) -> None:
    install_fakes(tmp_path, fakes.SLOW)
    cache = tmp_path / "cache"
    code = (
        "from pathlib import Path; from chaos.systems import node_programs; "
        f"node_programs.provide_node_programs(Path({str(cache)!r}), {env!r}, print)"
    )
    caller = subprocess.Popen([sys.executable, "-c", code])
    assert eventually_sync((tmp_path / "begun").exists)
    started = int((tmp_path / "pid").read_text())
    caller.send_signal(signal.SIGTERM)
    assert caller.wait(HANG_S) == 128 + signal.SIGTERM
    assert eventually_sync(lambda: not lives(started))
    assert list(cache.iterdir()) == []


def test_the_lock_has_a_hash_of_every_package_and_no_address() -> None:
    """A registry's address would be one that a user may not reach."""
    folder = files(node_programs.__package__).joinpath("node")
    lock, package = (json.loads(folder.joinpath(name).read_text()) for name in ("package-lock.json", "package.json"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert not any("resolved" in entry for entry in packages.values())
    assert "://" not in json.dumps([{**entry, "funding": None} for entry in packages.values()])
    for name, version in package["dependencies"].items():
        assert packages[f"node_modules/{name}"]["version"] == version
