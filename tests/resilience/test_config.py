"""Every rule of the settings, and what the machines are given."""

from __future__ import annotations

import msgspec
import pytest

from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.errors import ConfigError, ExitCode
from resilience.policy.backoff import CLASSIC, WINDOW, Jitter, Preset

NAN, INF = float("nan"), float("inf")

Case = tuple[type[msgspec.Struct], dict[str, object], str]


def each(config: type[msgspec.Struct], keys: str, *values: object) -> list[Case]:
    """Each of these settings with each of these values."""
    return [(config, {key: value}, key) for key in keys.split() for value in values]


BROKEN: list[Case] = [
    *each(
        ServerConfig,
        "heartbeat_interval grace_period cleanup_interval join_capacity first_message_deadline",
        0.0,
        -1.0,
        NAN,
        INF,
    ),
    *each(ServerConfig, "strike_limit max_message_bytes write_buffer_bytes backlog", 0, -1),
    (ServerConfig, {"grace_period": 15.0}, "grace_period"),
    (ServerConfig, {"heartbeat_interval": 30.0}, "grace_period"),
    (ServerConfig, {"cleanup_interval": 29.9}, "cleanup_interval"),
    (ServerConfig, {"presence_interval": 0.24}, "presence_interval"),
    (ServerConfig, {"presence_interval": NAN}, "presence_interval"),
    (ServerConfig, {"presence_interval": INF}, "presence_interval"),
    (ServerConfig, {"late_window": 2.1}, "late_window"),
    (ServerConfig, {"late_window": -0.1}, "late_window"),
    (ServerConfig, {"flap_hidden": -1.0}, "flap_hidden"),
    (ServerConfig, {"flap_hidden": INF}, "flap_hidden"),
    (ServerConfig, {"participants_cap": -1}, "participants_cap"),
    (ServerConfig, {"leaderboard_size": -1}, "leaderboard_size"),
    (ServerConfig, {"drain_window": -1.0}, "drain_window"),
    (ServerConfig, {"drain_window": INF}, "drain_window"),
    *each(ServerConfig, "restart_pause admission_seconds", -1.0, NAN, INF),
    *each(ServerConfig, "send_buffer_bytes checkpoint_interval admission_seconds interval_floor grace_floor", 0, -1),
    *each(ServerConfig, "max_connections max_events message_rate address_rate address_failures", -1),
    *each(ServerConfig, "message_rate address_rate address_failures", NAN, INF),
    *each(ServerConfig, "message_burst address_burst", 0, -1, NAN),
    *each(
        ServerConfig,
        "allowed_origins",
        ("quiz.example",),
        ("https://quiz.example/",),
        ("ftp://quiz.example",),
        ("https://quiz.example/path",),
        ("https://good.example", ""),
        ("*",),
    ),
    *each(ServerConfig, "backlog send_buffer_bytes write_buffer_bytes max_message_bytes strike_limit", 2**31, 10**400),
    *each(ServerConfig, "message_burst address_burst max_connections max_events participants_cap", 2**31, 10**400),
    *each(ClientConfig, "attempts", 2**31, 10**400),
    *each(QuizConfig, "questions", 10_001, 10**400),
    (ServerConfig, {"adaptive_heartbeat": True, "interval_floor": 15.1}, "interval_floor"),
    (ServerConfig, {"adaptive_heartbeat": True, "grace_floor": 5.0}, "grace_floor"),
    (ServerConfig, {"adaptive_heartbeat": True, "grace_floor": 30.1}, "grace_floor"),
    *each(ClientConfig, "initial maximum budget probe_after probe_deadline", 0.0, -1.0, NAN, INF),
    *each(ClientConfig, "open_timeout join_timeout stable_after", 0.0, NAN, INF),
    (ClientConfig, {"attempts": 0}, "attempts"),
    (ClientConfig, {"multiplier": 0.9}, "multiplier"),
    (ClientConfig, {"multiplier": INF}, "multiplier"),
    (ClientConfig, {"initial": 31.0}, "maximum"),
    (ClientConfig, {"maximum": 0.5}, "maximum"),
    (QuizConfig, {"questions": 0}, "questions"),
    (QuizConfig, {"question_time": 0.0}, "question_time"),
    (QuizConfig, {"reveal_time": INF}, "reveal_time"),
    (QuizConfig, {"leaderboard_time": -1.0}, "leaderboard_time"),
    (QuizConfig, {"lobby": -1.0}, "lobby"),
    (QuizConfig, {"lobby": INF}, "lobby"),
    *each(QuizConfig, "answer_share fastest slowest", -0.1, 1.1, NAN),
    (QuizConfig, {"fastest": 0.9}, "fastest"),
]


@pytest.mark.parametrize("config, values, key", BROKEN)
def test_a_broken_rule_names_key_value_and_rule(
    config: type[msgspec.Struct], values: dict[str, object], key: str
) -> None:
    """One line, and the exit code of bad input."""
    with pytest.raises(ConfigError) as caught:
        config(**values)
    assert caught.value.key == key
    assert str(caught.value).startswith(f"{key} = ")
    assert caught.value.rule in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    "config, values",
    [
        (ServerConfig, {"cleanup_interval": 30.0}),
        (ServerConfig, {"grace_period": 15.1}),
        (ServerConfig, {"presence_interval": 0.25, "flap_hidden": 0.0, "participants_cap": 0, "leaderboard_size": 0}),
        (ServerConfig, {"late_window": 2.0, "drain_window": 0.0}),
        (ServerConfig, {"message_rate": 0.0, "address_rate": 0.0, "address_failures": 0.0, "max_connections": 0}),
        (ServerConfig, {"message_burst": 1, "address_burst": 1, "restart_pause": 0.0, "max_events": 0}),
        (ServerConfig, {"adaptive_heartbeat": True, "interval_floor": 15.0, "grace_floor": 30.0}),
        (ServerConfig, {"interval_floor": 1000.0, "grace_floor": 1.0}),
        (ClientConfig, {"multiplier": 1.0, "initial": 30.0}),
        (QuizConfig, {"lobby": 0.0, "answer_share": 0.0, "fastest": 0.85}),
        (QuizConfig, {"answer_share": 1.0, "fastest": 0.0, "slowest": 1.0}),
    ],
)
def test_the_edges_are_allowed(config: type[msgspec.Struct], values: dict[str, object]) -> None:
    """A rule's own limit keeps it."""
    assert msgspec.to_builtins(config(**values)) == msgspec.to_builtins(config()) | values


def test_the_defaults_are_the_contracts() -> None:
    """15, 30 and 60 s; the window preset; everything valid."""
    server, client = ServerConfig(), ClientConfig()
    assert (server.heartbeat_interval, server.grace_period, server.cleanup_interval) == (15, 30, 60)
    assert (client.preset, client.backoff) == (Preset.WINDOW, WINDOW)
    assert ClientConfig(preset=Preset.CLASSIC).backoff == CLASSIC
    assert QuizConfig().questions > 0


def test_a_preset_takes_ones_own_numbers() -> None:
    """Each that is given replaces the preset's, the others stay."""
    backoff = ClientConfig(
        preset=Preset.CLASSIC,
        attempts=5,
        initial=0.5,
        maximum=8.0,
        multiplier=3.0,
        jitter=Jitter.FULL,
        budget=90.0,
        stable_after=2.0,
    ).backoff
    assert (backoff.attempts, backoff.budget, backoff.stable_after) == (5, 90.0, 2.0)
    ladder = backoff.ladder
    assert (ladder.initial, ladder.maximum, ladder.multiplier, ladder.jitter) == (0.5, 8.0, 3.0, Jitter.FULL)


def test_the_machines_get_every_number() -> None:
    """Nothing is lost between a setting and the rules that the machines work by."""
    server = ServerConfig(11.0, 22.0, 33.0, 44.0, 0.55, 0.66, 77, 88, 9.0)
    room = server.room
    assert (room.heartbeat.interval, room.heartbeat.grace, room.heartbeat.cleanup) == (11.0, 22.0, 33.0)
    assert (room.join_capacity, room.presence_interval, room.flap_hidden) == (44.0, 0.55, 0.66)
    assert (room.participants_cap, room.leaderboard_size, room.max_return_spread) == (77, 88, 9.0)
    rules = ClientConfig(probe_after=1.0, probe_deadline=2.0, open_timeout=3.0, join_timeout=4.0).rules
    assert (rules.probe.silence, rules.probe.deadline, rules.open_timeout, rules.join_timeout) == (1.0, 2.0, 3.0, 4.0)
    quiz = QuizConfig(questions=2, lobby=1.0, question_time=3.0, reveal_time=4.0, leaderboard_time=5.0)
    game = quiz.game(1, late_window=1.5)
    assert (len(game.questions), game.questions[0].time_s, game.late_window) == (2, 3.0, 1.5)
    assert (game.pace.lobby, game.pace.reveal, game.pace.leaderboard) == (1.0, 4.0, 5.0)
    player = QuizConfig(answer_share=0.5, fastest=0.2, slowest=0.4).player
    assert (player.answer_share, player.fastest, player.slowest) == (0.5, 0.2, 0.4)


def test_the_adaptive_floors_reach_the_room_only_when_wanted() -> None:
    """Off means that the room has no floors at all."""
    assert ServerConfig(interval_floor=2.0, grace_floor=4.0).room.adaptive is None
    adaptive = ServerConfig(adaptive_heartbeat=True, interval_floor=2.0, grace_floor=4.0).room.adaptive
    assert adaptive is not None
    assert (adaptive.interval_floor, adaptive.grace_floor) == (2.0, 4.0)


@pytest.mark.parametrize("config", [ServerConfig, ClientConfig, QuizConfig])
def test_unknown_settings_are_refused(config: type[msgspec.Struct]) -> None:
    """A misspelt key must not be passed over in silence."""
    with pytest.raises(msgspec.ValidationError, match="heartbeat_intervall"):
        msgspec.convert({"heartbeat_intervall": 5}, config)
