"""The checker: the drivers that ship pass, and each defect is found under the rule that it breaks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from chaos.cli import chaos
from chaos.drivers.check import Examination, Limits, examine
from chaos.drivers.process import EXAMPLES
from chaos.drivers.trial import Trial
from resilience.errors import UsageError

from ...support import defective_driver, recording_driver
from ...support.deadlines import HANG_S

PATIENT = Limits(load=HANG_S, answer=HANG_S, recover=HANG_S, refusal=0.1, suspension=0.1, stop=HANG_S)
"""Only what really never happens is missed."""

MOST_LINES = 60

SPOKEN_BY_OTHERS = {"gave_up", "observed", "recorded", "received", "sent"}
"""Messages that the reference drivers have no use for."""


def node() -> list[str]:
    """How to run a script of Node's that uses its WebSocket; skips where there is no such Node."""
    program = shutil.which("node")
    for flags in ([], ["--experimental-websocket"]) if program else ():
        command = [str(program), *flags, "-e", "process.exit(typeof WebSocket === 'function' ? 0 : 1)"]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return [str(program), *flags]
    pytest.skip("needs Node 22, or 20.10 with its experimental WebSocket")


def broken(examination: Examination) -> list[str]:
    return [finding.rule for finding in examination.findings if finding.holds is False]


async def test_the_reference_driver_in_python_passes(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "reconnecting.py")]
    found = await examine(command, tmp_path / "log", clients=3, limits=PATIENT)
    assert [finding for finding in found.findings if not finding.holds] == []
    assert all(count for name, count in found.seen.items() if name not in SPOKEN_BY_OTHERS), found.seen


async def test_the_reference_driver_in_javascript_passes(tmp_path: Path) -> None:
    command = [*node(), str(EXAMPLES / "reconnecting.mjs")]
    found = await examine(command, tmp_path / "log", clients=3, limits=PATIENT)
    assert [finding for finding in found.findings if not finding.holds] == []
    assert all(count for name, count in found.seen.items() if name not in SPOKEN_BY_OTHERS), found.seen


@pytest.mark.parametrize("name", ["reconnecting.py", "reconnecting.mjs"])
def test_a_reference_driver_is_short(name: str) -> None:
    assert len((EXAMPLES / name).read_text("utf-8").splitlines()) <= MOST_LINES


IMPATIENT = Limits(load=HANG_S, answer=0.4, recover=1.0, refusal=0.1, suspension=0.1, stop=0.4)
"""For drivers that never do what is waited for."""


@pytest.mark.parametrize(
    "defect, rules, limits",
    [
        ("backwards", ["time is monotonic, and that of the event"], PATIENT),
        ("chatters", ["every line is a message"], PATIENT),
        ("dies_of_strangers", ["it ignores unknown fields", "it lives until it receives stop"], PATIENT),
        ("dies_when_suspended", ["it answers after it was suspended", "it lives until it receives stop"], PATIENT),
        ("ignores_unknown", ["it says in words that it does not know a message"], IMPATIENT),
        ("hides_the_end", ["it reports its end"], PATIENT),
        ("does_not_stop", ["it ends within 0.4 s of stop, with exit code 0"], IMPATIENT),
        ("pretends", ["it opens every client", "it notices a cut"], IMPATIENT),
        ("hides_losses", ["it notices a cut", "messages follow one another"], IMPATIENT),
        ("receives_over_nothing", ["messages follow one another"], PATIENT),
        ("records_half", ["it reports what its clients were shown", "messages follow one another"], PATIENT),
        ("tries_once", ["it comes back after a cut", "it comes back after refusals"], IMPATIENT),
    ],
)
async def test_a_defect_is_found_under_its_rule(tmp_path: Path, defect: str, rules: list[str], limits: Limits) -> None:
    command = [sys.executable, defective_driver.__file__, defect]
    found = await examine(command, tmp_path / "log", clients=2, limits=limits)
    assert set(rules) <= set(broken(found)), found.findings
    assert all(finding.right for finding in found.findings if finding.holds is False)


async def test_a_driver_that_acknowledges_nothing_breaks_no_rule(tmp_path: Path) -> None:
    """Not every system confirms something; the report says what is missing."""
    command = [sys.executable, defective_driver.__file__, "hides_acts"]
    limits = msgspec.structs.replace(PATIENT, answer=IMPATIENT.answer)
    found = await examine(command, tmp_path / "log", clients=2, limits=limits)
    acts = next(finding for finding in found.findings if "acknowledges" in finding.rule)
    assert (acts.holds, acts.found) == (None, "0 of 2 acts")
    assert "no sign that a silent connection lives" in acts.right


async def test_a_driver_that_records_is_examined_by_its_records(tmp_path: Path) -> None:
    """Losses, returns and acknowledgements count as if they were reported; its messages are missed, and no rule is."""
    command = [sys.executable, recording_driver.__file__]
    found = await examine(command, tmp_path / "log", clients=2, limits=PATIENT)
    unseen = "it reports what its clients were shown"
    assert [finding.rule for finding in found.findings if not finding.holds] == [unseen]
    assert found.holds
    assert found.seen["recorded"] > found.seen["lost"] == 0
    losses = [finding.found for finding in found.findings if finding.rule.startswith("it notices")]
    assert losses == ["2 of 2 clients"] * 2


def test_a_driver_is_examined_with_one_server() -> None:
    result = CliRunner().invoke(chaos, ["driver", "check", "--quiz", "--system", "socketio"])
    assert isinstance(result.exception, UsageError)
    assert "--quiz, --system: a driver is examined with one server" in str(result.exception)


async def test_a_driver_of_another_protocol_is_led_to_its_own_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clients connect and get no session; the check waits long for that once, not after each fault again."""
    waits: list[float] = []
    sound = Trial.sees

    async def sees(self: Trial, condition: Callable[[], bool], within: float) -> bool:
        waits.append(within)
        return await sound(self, condition, within)

    monkeypatch.setattr(Trial, "sees", sees)
    command = [sys.executable, defective_driver.__file__, "expects_a_greeting"]
    found = await examine(command, tmp_path / "log", clients=2, limits=IMPATIENT)
    opening = next(finding for finding in found.findings if finding.rule == "it opens every client")
    assert not opening.holds
    assert opening.right.endswith("name it: --system FILE")
    assert waits.count(IMPATIENT.recover) == 1


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(chaos, ["driver", "check", *arguments], standalone_mode=False)


def test_the_command_says_what_it_found_and_ends_with_0() -> None:
    result = invoke("--slower", "50", "--clients", "2", "{python}", "{examples}/reconnecting.py")
    assert result.return_value == 0, result.output
    assert result.stderr.startswith(f"examining {sys.executable} {EXAMPLES}/reconnecting.py with the echo server")
    assert result.stdout.startswith("messages: ready ")
    assert result.stdout.endswith("17 rules hold\n")


@pytest.mark.parametrize(
    "command, found",
    [
        (["cat"], "unknown message type 'hello'"),
        (["true"], "ended by itself (exit code 0)"),
        ([sys.executable, "-c", "raise SystemExit('no configuration')"], "no configuration"),
    ],
)
def test_a_program_that_is_no_driver_ends_the_command_with_1(command: list[str], found: str) -> None:
    result = invoke(*command)
    assert result.return_value == 1
    assert found in result.output
    assert "1 of 1 rules are broken" in result.output


def test_a_program_that_does_not_exist_is_bad_input() -> None:
    error = invoke("no-such-program", "--flag").exception
    assert isinstance(error, UsageError)
    assert "COMMAND: 'no-such-program': no such program" in str(error)
