"""The limits of the system are compared with the settings before a client suffers from them (F19)."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from resilience.config import ServerConfig
from resilience.server import limits
from tests.support.deadlines import HANG_S


def allow(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> list[tuple[int, int]]:
    """Pretend that these are the limits on open files; returns what is set."""
    given = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: given[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: given.append(pair))
    return given


def test_nothing_to_say_on_a_roomy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, 20_000, 20_000)
    assert limits.limit_warnings(ServerConfig(), 4096) == []
    assert limits.limit_warnings(ServerConfig(), None) == []


@pytest.mark.parametrize(
    "soft, config, backlog, words",
    [
        (1024, ServerConfig(), 4096, "room for 896 connections, wanted 1000"),
        (20_000, ServerConfig(max_connections=50_000), 4096, "room for 19872 connections, wanted 50000"),
        (20_000, ServerConfig(), 128, "queues 128 connections at most, backlog is 4096"),
    ],
)
def test_each_shortcoming_says_what_would_be_right(
    monkeypatch: pytest.MonkeyPatch, soft: int, config: ServerConfig, backlog: int, words: str
) -> None:
    allow(monkeypatch, soft, soft)
    (sentence,) = limits.limit_warnings(config, backlog)
    assert words in sentence
    assert "raise" in sentence


def test_few_descriptors_are_shared_with_the_rest_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, 100, 100)
    assert limits.max_connections_by_open_files() == 50


def test_the_command_says_so_in_its_log() -> None:
    """A real process with few descriptors: one warning, then its own end for want of a good port."""
    lower = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))"
    code = f"{lower}; from resilience.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", "--db", "sqlite://", "--host", "203.0.113.1"]
    environ = os.environ | {"RESILIENCE_MAX_CONECTIONS": "5"}
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert "did you mean RESILIENCE_MAX_CONNECTIONS?" in ended.stderr
    assert '"a system limit is low"' in ended.stderr
    assert "room for 100 connections" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 4


def test_the_kernels_own_limit_can_be_read_here() -> None:
    """On Linux; elsewhere nothing is claimed."""
    known = limits.backlog_limit()
    assert known is None or known > 0
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0


@pytest.mark.parametrize("soft, connections, transports", [(400, 272, 336), (1024, 896, 960), (100, 50, 75)])
def test_unfinished_handshakes_use_half_of_the_spare_files(
    monkeypatch: pytest.MonkeyPatch, soft: int, connections: int, transports: int
) -> None:
    allow(monkeypatch, soft, soft)
    assert (limits.max_connections_by_open_files(), limits.max_transports_by_open_files()) == (connections, transports)
