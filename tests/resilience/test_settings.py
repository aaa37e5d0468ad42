"""Where settings come from, and what is said of bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from chaos.toxiproxy.provision import VARIABLE
from resilience.cli import root
from resilience.config import ServerConfig
from resilience.errors import ResilienceError
from resilience.settings import HOST_KEY, PLAIN_NAMES, PREFIX, host_key, server_settings, unknown_variables
from resilience.validation import one_line


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
    "text, environ, flags, message",
    [
        ("[server]\ngrace_period = 3\n", {}, {}, "server.grace_period = 3.0: must exceed heartbeat_interval (15 s)"),
        ("[server]\ngrace = 3\n", {}, {}, "unknown field `grace`"),
        ("[server]\nbacklog = 'x'\n", {}, {}, "server.backlog: expected `int`, got `str`"),
        ("[serve]\n", {}, {}, "serve: unknown table; the tables are server and quiz"),
        ("server = 3\n", {}, {}, "server: must be a table"),
        ("[server\n", {}, {}, "cannot be read as TOML"),
        ("", {"GRACE_PERIOD": "soon"}, {}, "GRACE_PERIOD = 'soon': must be a number"),
        ("", {}, {"cleanup_interval": 10.0}, "cleanup_interval = 10.0: must be at least grace_period (30 s)"),
        ("[quiz]\nquestions = 0\n", {}, {}, "quiz.questions = 0: must be a positive"),
    ],
)
def test_a_bad_setting_is_named_with_its_rule(
    tmp_path: Path, text: str, environ: dict[str, str], flags: dict[str, object], message: str
) -> None:
    """One line that says which key, which value and which rule."""
    path = tmp_path / "quiz.toml"
    path.write_text(text)
    with pytest.raises(ResilienceError) as caught:
        server_settings(path, environ, flags)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The path that was given is in the message."""
    with pytest.raises(ResilienceError, match=r"nowhere\.toml: no such file"):
        server_settings(tmp_path / "nowhere.toml", {}, {})


# the environment's kinds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, meant", [("true", True), ("TRUE", True), ("false", False), ("False", False)])
def test_a_yes_or_no_in_the_environment(text: str, meant: bool) -> None:
    """The words, in any case."""
    server, _ = server_settings(None, {"RESILIENCE_ADAPTIVE_HEARTBEAT": text}, {})
    assert server.adaptive_heartbeat is meant


@pytest.mark.parametrize("text", ["1", "0", "yes", "on", "truely"])
def test_a_yes_or_no_that_is_neither(text: str) -> None:
    """It is not guessed."""
    with pytest.raises(ResilienceError, match=f"RESILIENCE_TRUST_FORWARDED = '{text}': must be true or false"):
        server_settings(None, {"RESILIENCE_TRUST_FORWARDED": text}, {})


@pytest.mark.parametrize(
    "text, meant",
    [
        ("", ()),
        (" , ", ()),
        ("https://a.example", ("https://a.example",)),
        (" https://a.example , http://b.example:81,", ("https://a.example", "http://b.example:81")),
    ],
)
def test_a_list_in_the_environment(text: str, meant: tuple[str, ...]) -> None:
    """With commas; blanks around them and empty items mean nothing."""
    server, _ = server_settings(None, {"RESILIENCE_ALLOWED_ORIGINS": text}, {})
    assert server.allowed_origins == meant


def test_an_origin_that_is_none_is_named(tmp_path: Path) -> None:
    """From the environment and from a file alike."""
    message = "allowed_origins = 'quiz.example': must be origins such as https://quiz.example"
    with pytest.raises(ResilienceError, match=message):
        server_settings(None, {"RESILIENCE_ALLOWED_ORIGINS": "https://a.example,quiz.example"}, {})
    path = tmp_path / "quiz.toml"
    path.write_text('[server]\nallowed_origins = ["quiz.example"]\n')
    with pytest.raises(ResilienceError, match=message):
        server_settings(path, {}, {})


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "-inf", "1e999"])
def test_a_number_from_the_environment_is_held_to_its_rule(text: str) -> None:
    """As one from anywhere else."""
    with pytest.raises(ResilienceError, match=r"server\.message_rate = "):
        server_settings(None, {"RESILIENCE_MESSAGE_RATE": text}, {})


@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_an_empty_variable_counts_as_not_set(file: Path, empty: str) -> None:
    """Whatever it sets: a template of an unset variable leaves it so."""
    names = [*(name.upper() for name in PLAIN_NAMES), HOST_KEY, f"{PREFIX}UNHEARD_OF"]
    names += [f"{PREFIX}{field.upper()}" for field in ServerConfig.__struct_fields__ if field not in PLAIN_NAMES]
    environ = dict.fromkeys(names, empty)
    assert server_settings(file, environ, {}) == server_settings(file, {}, {})
    assert host_key(environ, None) is None
    assert unknown_variables(environ) == []


def test_an_empty_list_does_not_hide_that_of_the_file(tmp_path: Path) -> None:
    """As for every other setting; only commas make a list without items."""
    path = tmp_path / "quiz.toml"
    path.write_text('[server]\nallowed_origins = ["https://a.example"]\n')
    name = f"{PREFIX}ALLOWED_ORIGINS"
    assert server_settings(path, {name: ""}, {})[0].allowed_origins == ("https://a.example",)
    assert server_settings(path, {name: ","}, {})[0].allowed_origins == ()


@pytest.mark.parametrize(
    "name, said",
    [
        ("RESILIENCE_MAX_CONECTIONS", "; did you mean RESILIENCE_MAX_CONNECTIONS?"),
        ("RESILIENCE_HEARTBEAT_INTERVAL", "; did you mean HEARTBEAT_INTERVAL?"),
        ("RESILIENCE_LATEWINDOW", "; did you mean RESILIENCE_LATE_WINDOW?"),
        ("resilience_backlog", "; did you mean RESILIENCE_BACKLOG?"),
        ("RESILIENCE_HOSTKEY", "; did you mean RESILIENCE_HOST_KEY?"),
        ("RESILIENCE_", ""),
        ("RESILIENCE_A\nERROR", ""),
        ("RESILIENCE_QQQ", ""),
    ],
)
def test_a_variable_that_only_looks_like_a_setting_is_named_with_the_nearest(name: str, said: str) -> None:
    """Its value is not shown."""
    assert unknown_variables({name: "secret", "PATH": "x"}) == [f"{one_line(name)} is not the name of a setting{said}"]


def test_a_host_sees_that_the_name_of_the_key_is_misspelt() -> None:
    """As the server's log does; the value is not shown."""
    arguments = ["host", "ws://127.0.0.1:1/ws", "--questions", "nowhere.toml"]
    result = CliRunner().invoke(root, arguments, env={"RESILIENCE_HOSTKEY": KEY})
    assert (
        "warning: RESILIENCE_HOSTKEY is not the name of a setting; did you mean RESILIENCE_HOST_KEY?" in result.stderr
    )
    assert KEY not in result.output


def test_what_is_read_is_not_unknown() -> None:
    """Every variable that some command reads."""
    plain = [name.upper() for name in PLAIN_NAMES]
    names = [PREFIX + field.upper() for field in ServerConfig.__struct_fields__ if field not in PLAIN_NAMES]
    environ = dict.fromkeys((*names, *plain, "RESILIENCE_DB", HOST_KEY, VARIABLE, "PATH"), "1")
    assert unknown_variables(environ) == []


def test_every_setting_can_come_from_the_environment() -> None:
    """Under its own name, with its default's kind: nothing is forgotten when one is added."""
    plain = {"HEARTBEAT_INTERVAL": "15", "GRACE_PERIOD": "30", "CLEANUP_INTERVAL": "60"}
    environ = dict(plain)
    for field in ServerConfig.__struct_fields__:
        if field.upper() not in plain:
            default = getattr(ServerConfig(), field)
            text = ",".join(default) if isinstance(default, tuple) else str(default)
            environ[f"RESILIENCE_{field.upper()}"] = text
    assert server_settings(None, environ, {})[0] == ServerConfig()


# the host key ---------------------------------------------------------------------------------------------------------

KEY = "0123456789abcdef"


def test_without_a_key_no_client_can_host() -> None:
    """There is no default key."""
    assert host_key({}, None) is None


def test_the_key_comes_from_the_environment_or_from_a_files_first_line(tmp_path: Path) -> None:
    """The file wins; blanks around its line are no part of it, and further lines are for people."""
    path = tmp_path / "key"
    path.write_text(f"  {KEY}file \nthe key of the hosts\n")
    assert host_key({HOST_KEY: KEY}, None) == KEY
    assert host_key({HOST_KEY: KEY}, path) == f"{KEY}file"


@pytest.mark.parametrize("key", ["", "x", "x" * 15, "x" * 257])
def test_a_key_that_can_be_guessed_or_not_be_sent_is_refused_unquoted(tmp_path: Path, key: str) -> None:
    """Too short, or longer than a message may carry; the message says how to make one, never what it was."""
    path = tmp_path / "key"
    path.write_text(f"{key}\n")
    for environ, file, where in (({HOST_KEY: key or " x"}, None, HOST_KEY), ({}, path, str(path))):
        with pytest.raises(ResilienceError) as caught:
            host_key(environ, file)
        assert str(caught.value).startswith(
            f"{where}: a host key has 16 to 256 characters; generate one with: openssl rand -hex 16"
        )
        assert "xxx" not in str(caught.value)


def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a folder, or no text."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe" * 20)
    for path in (tmp_path / "nowhere", tmp_path, binary):
        with pytest.raises(ResilienceError, match="cannot be read as a host key"):
            host_key({}, path)


def test_the_key_is_no_setting(tmp_path: Path) -> None:
    """It cannot be in the settings file, where it would be shown and written with the others."""
    path = tmp_path / "quiz.toml"
    path.write_text(f'[server]\nhost_key = "{KEY}"\n')
    with pytest.raises(ResilienceError) as caught:
        server_settings(path, {}, {})
    assert KEY not in str(caught.value)
