"""The client as a library: the printed example, iteration, the factory, suspend detection."""

from __future__ import annotations

import asyncio
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

import resilience.client
from resilience.client import ClientConfig, ClientState, connect
from resilience.client.suspend import SuspendDetector, elapsed_clock, suspend_detector, suspended
from resilience.config import QuizConfig
from resilience.errors import UsageError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.backoff import Preset
from resilience.protocol.messages import Joined, Message, QuizFinished, StateRestored
from tests.support.virtual_server import LINKED, URL, VirtualServerHarness, play

SHORT = QuizConfig(questions=2, lobby=1, question_time=4, reveal_time=1, leaderboard_time=1)


def example() -> str:
    """The program in the package's documentation."""
    (text,) = re.findall(r"::\n\n((?:    .*\n|\n)+)", inspect.getdoc(resilience.client) or "")
    return textwrap.dedent(text).strip()


def test_the_printed_example_joins_answers_and_survives() -> None:
    """As printed, with a last line that names a server."""
    program, run = example().rsplit("\n\n", 1)
    assert run.startswith("asyncio.run(take_part(")
    names: dict[str, Any] = {}
    exec(program, names)  # noqa: S102 - the documentation's own words

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=SHORT)
        playing = asyncio.get_running_loop().create_task(names["take_part"](LINKED))
        for _ in range(3):
            await asyncio.sleep(2.5)
            harness.link.cut()
        assert isinstance(await playing, int)

    harness = play(script)
    assert len(harness.events(LogEventKind.SESSION_RESUMED)) == 3
    assert len(harness.events(LogEventKind.ANSWER_COMMITTED)) == 2
    assert len(harness.events(LogEventKind.SESSION_LEFT)) == 1


def test_the_iteration_ends_after_giving_up_and_continues_after_a_start() -> None:

    async def script(harness: VirtualServerHarness) -> None:
        client = connect(URL, name="Ada", config=ClientConfig(preset=Preset.CLASSIC, attempts=2))
        async with client:
            assert [message async for message in client] == []
            assert client.state is ClientState.GAVE_UP
            await harness.serve(quiz=SHORT)
            client.start()
            heard = []
            async for message in client:
                heard.append(message)
                if isinstance(message, QuizFinished):
                    break
        assert isinstance(heard[0], Joined)
        assert [message async for message in client] == []

    play(script)


def test_an_error_in_the_block_does_not_leave_the_event() -> None:

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QuizConfig(lobby=100))
        with pytest.raises(ZeroDivisionError):
            await crash()
        await asyncio.sleep(1)

    async def crash() -> None:
        async with connect(URL, name="Ada") as client:
            async for _ in client:
                raise ZeroDivisionError

    assert play(script).events(LogEventKind.SESSION_LEFT) == []


def test_a_fault_in_the_callback_costs_no_connection() -> None:
    """The error is reported to the loop, once for each message."""
    reported: list[dict[str, Any]] = []

    def fail(_message: Message) -> None:
        raise ZeroDivisionError

    async def script(harness: VirtualServerHarness) -> None:
        harness.loop.set_exception_handler(lambda _loop, context: reported.append(context))
        await harness.serve(quiz=SHORT)
        async with connect(URL, name="Ada", deliver=fail) as client:
            await asyncio.sleep(3)
            assert client.state is ClientState.OPEN

    harness = play(script)
    assert len(harness.events(LogEventKind.SESSION_CREATED)) == 1
    assert reported
    assert all(isinstance(context["exception"], ZeroDivisionError) for context in reported)


@pytest.mark.parametrize(
    "key, arguments",
    [("name", {"name": ""}), ("name", {"name": "x" * 65}), ("event", {"name": "Ada", "event": ""})],
)
def test_arguments_that_no_server_accepts_are_rejected_at_once(key: str, arguments: dict[str, str]) -> None:

    async def script(_harness: VirtualServerHarness) -> None:
        with pytest.raises(UsageError, match=f"{key} = .*1 to 64 characters"):
            connect(URL, **arguments)  # type: ignore[arg-type]

    play(script)


# an identity that outlives the process ------------------------------------------------------------------------------


def test_a_later_process_takes_over(tmp_path: Path) -> None:
    """C1, F12: the same participant with the same score; the earlier client does not reconnect."""
    file = tmp_path / "me"

    async def script(harness: VirtualServerHarness) -> None:
        app = await harness.serve(quiz=SHORT)
        first = connect(LINKED, name="Ada", identity_file=file)
        first.start()
        await asyncio.sleep(1.5)
        first.answer("q1", 0)
        await asyncio.sleep(0.1)
        heard: list[Message] = []
        second = connect(LINKED, name="Ada", identity_file=file, deliver=heard.append)
        assert second.machine.identity.instance != first.machine.identity.instance
        second.start()
        await asyncio.sleep(1)
        assert (first.state, second.state) == (ClientState.CLOSED, ClientState.OPEN)
        assert isinstance(heard[0], StateRestored)
        assert heard[0].snapshot.answer == 0
        await second.stop()
        third = connect(LINKED, name="Ada", identity_file=file)
        third.start()
        await asyncio.sleep(1)
        assert third.machine.participant == "p1"
        assert list(app.hubs["quiz"].room.sessions) == ["p1"]
        await third.stop()

    play(script)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["me"]


def test_a_token_is_confirmed_only_after_it_is_stored(tmp_path: Path) -> None:
    """A client that cannot store the new token does not confirm it, so the stored one stays valid."""
    file = tmp_path / "folder" / "me"
    file.parent.mkdir()

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QuizConfig(lobby=100))
        client = connect(LINKED, name="Ada", identity_file=file)
        client.start()
        await asyncio.sleep(1)
        kept = file.read_text()
        file.rename(tmp_path / "me")
        file.parent.rmdir()
        harness.link.cut()
        await asyncio.sleep(2)
        await client.stop()
        (tmp_path / "me").write_text(kept)
        again = connect(LINKED, name="Ada", identity_file=tmp_path / "me")
        again.start()
        await asyncio.sleep(1)
        assert again.machine.participant == "p1"
        await again.stop()

    play(script)


@pytest.mark.parametrize(
    "content, rule",
    [
        ("", "holds no identity"),
        ("{}", "holds no identity"),
        ("\xff", "holds no identity"),
        ('{"event":"other","participant":"p1","token":"t","generation":1}', "for event 'other', not for 'quiz'"),
    ],
)
def test_an_invalid_identity_file_is_named_and_kept(content: str, rule: str, tmp_path: Path) -> None:
    file = tmp_path / "me"
    file.write_text(content, "latin-1")

    async def script(_harness: VirtualServerHarness) -> None:
        with pytest.raises(UsageError, match=f"me: .*{rule}"):
            connect(URL, name="Ada", identity_file=file)

    play(script)
    assert file.read_text("latin-1") == content


def test_a_file_that_cannot_be_written_is_named_at_once(tmp_path: Path) -> None:

    async def script(_harness: VirtualServerHarness) -> None:
        with pytest.raises(UsageError, match="cannot be written: No such file or directory"):
            connect(URL, name="Ada", identity_file=tmp_path / "nowhere" / "me")

    play(script)


# suspended computers -------------------------------------------------------------------------------------------------


def test_a_suspension_is_detected_within_a_second() -> None:
    """A small difference between two clock readings is no suspension."""
    asleep, woken = [0.0], []

    async def script(harness: VirtualServerHarness) -> None:
        def woke() -> None:
            woken.append(harness.loop.time())

        watch = SuspendDetector(lambda: asleep[0])
        watch.add(woke)
        await asyncio.sleep(10.5)
        asleep[0] += 0.5
        await asyncio.sleep(10)
        assert woken == []
        asleep[0] += 3600.0
        await asyncio.sleep(5)
        watch.remove(woke)
        asleep[0] += 3600.0
        await asyncio.sleep(5)

    play(script)
    assert woken == [pytest.approx(21.0)]


def test_all_clients_of_a_loop_are_woken_though_one_fails() -> None:
    asleep, woken = [0.0], list[str]()

    async def script(harness: VirtualServerHarness) -> None:
        watch = SuspendDetector(lambda: asleep[0])

        def fails() -> None:
            woken.append("fails")
            watch.remove(fails)
            raise ValueError

        def works() -> None:
            woken.append("works")

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        watch.add(fails)
        watch.add(works)
        await asyncio.sleep(1.5)
        asleep[0] += 60.0
        await asyncio.sleep(3)
        watch.remove(works)

    play(script)
    assert woken == ["fails", "works"]


def test_one_detector_serves_all_clients_of_a_loop() -> None:
    found: list[SuspendDetector] = []

    async def script(_harness: VirtualServerHarness) -> None:
        assert suspend_detector() is suspend_detector()
        found.append(suspend_detector())

    play(script)
    play(script)
    assert found[0] is not found[1]


def test_the_suspended_time_is_never_negative_or_decreasing() -> None:
    before = suspended()
    assert before > -1
    assert suspended() - before < 1


def test_what_is_left_is_counted_through_a_suspension(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of countdowns is the one that passes meanwhile; a machine without it has the monotonic one."""
    monkeypatch.setattr("time.clock_gettime", {"boot": 3600.0}.__getitem__)
    monkeypatch.setattr("time.monotonic", lambda: 5.0)
    monkeypatch.setattr("resilience.client.suspend._BOOT_CLOCK", "boot")
    assert elapsed_clock() == 3600.0
    monkeypatch.setattr("resilience.client.suspend._BOOT_CLOCK", None)
    assert elapsed_clock() == 5.0
