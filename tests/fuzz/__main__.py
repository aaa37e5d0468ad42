"""Fuzz the codec or a whole room: ``python -m tests.fuzz codec|room -max_total_time=60`` (options are libFuzzer's).

A finding is an uncaught exception; libFuzzer writes the input that caused it to a file, which as an argument replays
it. The decoder itself is native code that coverage does not see: give it a folder of messages to start from.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

CHOICES = 255


def codec_target(data: bytes) -> None:
    """Any bytes are read, or refused with the one error; what is read can be said again."""
    codec, errors = _room("protocol.codec"), _room("errors")
    for decode in (codec.decode_client, codec.decode_server, codec.decode_server_lenient):
        try:
            message = decode(data)
        except errors.RemoteProtocolError as error:
            if not error.field:
                raise AssertionError("a complaint names no field") from error
            continue
        if decode is codec.decode_client and decode(codec.encode(message)) != message:
            raise AssertionError("what was read is not what is said")


def room_target(data: bytes) -> None:
    """Every two bytes are one thing that is done to a room, which keeps its promises and ends empty."""
    hostile = importlib.import_module("tests.resilience.protocol.room_fuzz_model").RoomFuzzModel()
    for what, how in zip(data[::2], data[1::2], strict=False):
        _do(hostile, what % 9, how)
    hostile.empty()
    hostile.check_baseline()


def _do(hostile: Any, what: int, how: int) -> None:  # noqa: ANN401 - imported late, to be instrumented
    m, words = _room("protocol.messages"), "abc"
    connection, word, game = 1 + how % 24, words[how % 3], hostile.room.game
    if what == 0:
        hostile.say(connection, m.Join(event="quiz", name=word, instance=word))
    elif what == 1:
        token = hostile.tokens[how % len(hostile.tokens)]
        hostile.say(1 + how // 8, m.Resume(event="quiz", token=token))
    elif what == 2:
        question = game.question.id if game.question else "q1"
        hostile.say(connection, m.Answer(question, how % 5, word))
    elif what == 3:
        said = (m.Leave(), m.Probe(1), m.Pong(how // 8), m.TokenStored(1 + how // 64))
        hostile.say(connection, said[how % len(said)])
    elif what == 4:
        hostile.lose(connection)
    elif what == 5:
        hostile.host(1000 + hostile.room.seq * 256 + how) if not how % 4 else hostile.settle(well=True)
    elif what == 6:
        host = next(iter(hostile.room._stream._host_commands._heard), 1)
        actions = list(m.HostAction)
        hostile.say(host, m.HostCommand(actions[how % len(actions)], game.progress.step))
    elif what == 7:
        hostile.settle(well=bool(how % 4))
    else:
        hostile.sleep((how // 2) / 4, soundly=bool(how % 2))


def _room(name: str) -> Any:  # noqa: ANN401 - imported late, to be instrumented
    return importlib.import_module(f"resilience.{name}")


TARGETS: dict[str, Callable[[bytes], None]] = {"codec": codec_target, "room": room_target}


def main() -> None:
    """Fuzz until told to stop or something is found."""
    try:
        atheris = importlib.import_module("atheris")
    except ModuleNotFoundError:
        sys.exit("fuzzing needs the package atheris: pip install atheris")
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"what to fuzz: {' or '.join(TARGETS)}")
    target = TARGETS[sys.argv.pop(1)]
    with atheris.instrument_imports(include=["resilience"]):
        for name in ("protocol.codec", "protocol.room", "protocol.messages", "config"):
            _room(name)
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
