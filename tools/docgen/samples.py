"""One plausible value of every message, made from its JSON Schema and the names of its fields."""

from __future__ import annotations

import typing
from typing import Any

import msgspec

from docgen import schema
from resilience.protocol.messages import ClientMessage, Roster, ServerMessage

_QUESTION = {"id": "q2", "text": "At what temperature does water boil?", "choices": ["90 °C", "100 °C"]}
_ADA = {"participant": "p7", "name": "Ada"}
_GRACE = {"participant": "p3", "name": "Grace"}

_BY_NAME: dict[str, Any] = _QUESTION | {
    "event": "friday", "title": "Friday quiz", "participant": "p7", "name": "Ada", "instance": "1f6c0d9e",
    "token": "hB3wTq0rJ2sXn8Vd5mZk1uYc", "key": "1f6c0d9e-3", "generation": 2, "connection_no": 2, "attempt": 1,
    "epoch": "9c1d.1", "seq": 41, "id": 5, "question": "q2", "choice": 1, "correct": 1, "answer": 1, "points": 830,
    "score": 882, "count": 2, "step": 4, "time_s": 20.0, "time_ms": 20_000, "remaining_ms": 13_400,
    "server_time_ms": 95_210, "heartbeat_ms": 15_000, "grace_ms": 30_000, "cleanup_ms": 60_000, "spread_ms": 100,
    "step_ms": 300, "cap_ms": 3000, "phase": "question", "state": "connected", "reason": "retired",
    "verdict": "accepted", "action": "reveal", "questions": 6, "connected": 118, "away": 2, "gone": 1, "answered": 64,
    "code": "malformed", "field": "choice", "rule": "Expected `int`, got `str`",
}  # fmt: skip
_ABSENT: Any = object()
_BY_PLACE: dict[str, Any] = {
    "Host.key": "a-host-key-of-16-or-more",
    "Question.id": "q2",
    "OpenQuestion.id": "q2",
    "OpenQuestion.correct": _ABSENT,
    "Snapshot.question": "OpenQuestion",
    "QuestionOpened.question": "OpenQuestion",
    "QuizPlan.questions": ["Question"],
    "Pace.reveal": 4.0,
    "HostStatus.question": 2,
    "HostStatus.correct": _ABSENT,
    "HostResult.verdict": "done",
    "HostResult.rule": _ABSENT,
    "Hosting.status": "HostStatus",
    "PresenceChanged.joined": [],
    "PresenceChanged.changed": [_GRACE | {"state": "temporarily_disconnected"}],
    "Roster.players": [_ADA | {"state": "connected"}, _GRACE | {"state": "temporarily_disconnected"}],
    "Snapshot.roster": "Roster",
}

_COMPONENTS = schema.components(*typing.get_args(ClientMessage), *typing.get_args(ServerMessage), Roster)


def sample_json(message: type) -> str:
    """A value of this message as JSON on one line, the same at every call; a value that is invalid raises."""
    data = msgspec.json.encode({"type": message.__struct_config__.tag} | _struct(message.__name__))  # type: ignore[attr-defined]
    return msgspec.json.encode(msgspec.json.decode(data, type=message)).decode()


def _struct(name: str) -> dict[str, Any]:
    fields: dict[str, schema.Schema] = _COMPONENTS[name]["properties"]
    values = {key: _value(f"{name}.{key}", field) for key, field in fields.items() if key != "type"}
    return {key: value for key, value in values.items() if value is not _ABSENT}


def _value(place: str, field: schema.Schema) -> Any:  # noqa: ANN401 - any JSON
    if place in _BY_PLACE:
        return _expanded(_BY_PLACE[place])
    if "$ref" in field and "enum" not in _COMPONENTS[field["$ref"]]:
        return _struct(field["$ref"])
    if "$ref" in (items := field.get("items", {})):
        return [_struct(items["$ref"])]
    return _BY_NAME.get(place.partition(".")[2], field.get("default", _ABSENT))


def _expanded(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """The struct that a place names, or the value itself."""
    if isinstance(value, list):
        return [_expanded(item) for item in value]
    return _struct(value) if isinstance(value, str) and value in _COMPONENTS else value
