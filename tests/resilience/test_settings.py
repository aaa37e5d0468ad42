"""Where settings come from, and what is said of bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilience.errors import ResilienceError
from resilience.settings import server_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A settings file."""
    path = tmp_path / "quiz.toml"
    path.write_text("[server]\nheartbeat_interval = 5\ngrace_period = 11\n[quiz]\nquestions = 2\n")
    return path


def test_flags_win_over_environment_over_file_over_defaults(file: Path) -> None:
    """Each level fills what the one above it left open."""
    environ = {"GRACE_PERIOD": "12", "HEARTBEAT_INTERVAL": "6", "RESILIENCE_BACKLOG": "128"}
    server, quiz = server_settings(file, environ, {"heartbeat_interval": 7.0, "grace_period": None})
    assert (server.heartbeat_interval, server.grace_period, server.backlog) == (7, 12, 128)
    assert (server.cleanup_interval, quiz.questions) == (60, 2)


@pytest.mark.parametrize(
    "text, environ, flags, told",
    [
        ("[server]\ngrace_period = 3\n", {}, {}, "server.grace_period = 3.0: must exceed heartbeat_interval (15 s)"),
        ("[server]\ngrace = 3\n", {}, {}, "unknown field `grace`"),
        ("[server]\nbacklog = 'x'\n", {}, {}, "server.backlog: expected `int`, got `str`"),
        ("[serve]\n", {}, {}, "serve: unknown table; there are: server, quiz"),
        ("server = 3\n", {}, {}, "server: must be a table"),
        ("[server\n", {}, {}, "cannot be read as TOML"),
        ("", {"GRACE_PERIOD": "soon"}, {}, "GRACE_PERIOD = 'soon': must be a number"),
        ("", {}, {"cleanup_interval": 10.0}, "cleanup_interval = 10.0: must be at least grace_period (30 s)"),
        ("[quiz]\nquestions = 0\n", {}, {}, "quiz.questions = 0: must be a positive"),
    ],
)
def test_a_bad_setting_is_named_with_its_rule(
    tmp_path: Path, text: str, environ: dict[str, str], flags: dict[str, object], told: str
) -> None:
    """One line that says which key, which value and which rule."""
    path = tmp_path / "quiz.toml"
    path.write_text(text)
    with pytest.raises(ResilienceError) as caught:
        server_settings(path, environ, flags)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The path that was given is in the message."""
    with pytest.raises(ResilienceError, match=r"nowhere\.toml: no such file"):
        server_settings(tmp_path / "nowhere.toml", {}, {})
