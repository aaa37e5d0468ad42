"""What the server would reject is an error at the call, by the server's own rule; what it accepts is sent."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.client.client import connect
from resilience.client.host_client import host
from resilience.client.sendable import UNENCODABLE, require_sendable
from resilience.errors import ConfigError, RemoteProtocolError, UsageError
from resilience.protocol import codec
from resilience.protocol.messages import Host, Join
from resilience.quiz.plan import QuizPlan
from resilience.quiz.questions import arithmetic_questions
from resilience.validation import RULES_IN_WORDS, VISIBLE
from tests.support.virtual_server import URL, VirtualServerHarness, play

HALF_AN_EMOJI, LATIN_1, CONTROL = "\ud83d", "J\udcf6rg", "a\tb"
PLAN = QuizPlan(arithmetic_questions(1, 1, 5.0))


@given(st.text(st.characters(), max_size=70), st.text(st.characters(exclude_categories=()), max_size=70))
def test_a_name_is_sendable_exactly_if_the_server_accepts_it(event: str, name: str) -> None:
    message = Join(event=event, name=name, instance="i")
    try:
        codec.decode_client(codec.encode(message))
    except (RemoteProtocolError, UnicodeEncodeError):
        with pytest.raises(ConfigError):
            require_sendable(message)
    else:
        require_sendable(message)


@pytest.mark.parametrize(
    "name, rule",
    [
        ("", "must have 1 to 64 characters"),
        ("x" * 65, "must have 1 to 64 characters"),
        (CONTROL, f"must have {RULES_IN_WORDS[VISIBLE]}"),
        ("a\x9b2J", f"must have {RULES_IN_WORDS[VISIBLE]}"),
        (" \u200b", f"must have {RULES_IN_WORDS[VISIBLE]}"),
        (HALF_AN_EMOJI, UNENCODABLE),
        (LATIN_1, UNENCODABLE),
    ],
)
async def test_names_and_events_are_checked_before_any_dial(name: str, rule: str) -> None:
    """The message names the argument, its value and the rule, and can be printed."""
    for key, arguments in (("name", {"name": name}), ("event", {"name": "Ada", "event": name})):
        with pytest.raises(UsageError) as caught:
            connect(URL, **arguments)  # type: ignore[arg-type]
        assert str(caught.value) == f"{key} = {name!r}: {rule}"
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("key", ["", "k" * 257, "secret \udcf6 key"])
async def test_a_key_is_checked_and_never_shown(key: str) -> None:
    with pytest.raises(UsageError, match=r"^host key = '...': must") as caught:
        host(URL, key=key, plan=None)
    assert "kkk" not in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_plan_is_checked_before_any_dial() -> None:
    """It would end every dial of the host that creates its event."""
    (question,) = PLAN.questions
    broken = msgspec.structs.replace(PLAN, questions=(msgspec.structs.replace(question, text=LATIN_1),))
    with pytest.raises(UsageError, match=f"plan = '...': {UNENCODABLE}"):
        host(URL, key="a key that is long enough", plan=broken)
    host(URL, key="a key that is long enough", plan=PLAN)


@pytest.mark.parametrize(
    "question, choice, told",
    [(LATIN_1, 0, "question"), ("", 0, "question"), ("q" * 65, 0, "question"), ("q1", 2**40, "choice")],
)
def test_an_answer_that_no_message_can_hold_is_rejected_at_the_call(question: str, choice: int, told: str) -> None:
    """Kept for a resend, it would end every later connection of the client."""

    async def script(harness: VirtualServerHarness) -> None:
        client = harness.client(url=URL)
        client.start()
        with pytest.raises(UsageError, match=f"^{told} = "):
            client.answer(question, choice)
        assert not client.machine.pending
        await client.stop()

    play(script)


@pytest.mark.parametrize("change", [{"token": ""}, {"token": "t" * 300}, {"generation": -1}])
async def test_an_identity_file_holds_only_what_the_server_accepts(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "me.json"
    path.write_text(json.dumps({"event": "quiz", "participant": "p1", "token": "t", "generation": 1} | change))
    with pytest.raises(UsageError, match="holds no identity"):
        connect(URL, name="Ada", identity_file=path)


def test_a_host_message_is_checked_like_any_other() -> None:
    with pytest.raises(ConfigError, match=r"event = .*: must have at least one visible character"):
        require_sendable(Host(event=CONTROL, key="k"))
