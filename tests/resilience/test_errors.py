"""The hierarchy of errors and what a command ends with for each."""

from __future__ import annotations

import pytest

from resilience import errors
from resilience.errors import (
    ConfigError,
    ExitCode,
    ExperimentError,
    HarnessError,
    LocalProtocolError,
    PortInUseError,
    RemoteProtocolError,
    ResilienceError,
    StoreError,
    ToxiproxyError,
    UsageError,
)


@pytest.mark.parametrize(
    "error, code, text",
    [
        (UsageError("no"), ExitCode.USAGE, "no"),
        (ConfigError("grace", 3, "must exceed 5"), ExitCode.USAGE, "grace = 3: must exceed 5"),
        (ExperimentError("a.toml", "name", "is missing"), ExitCode.USAGE, "a.toml: name: is missing"),
        (ExperimentError("a.toml", "", "no such file"), ExitCode.USAGE, "a.toml: no such file"),
        (HarnessError("x"), ExitCode.HARNESS, "x"),
        (ToxiproxyError("x"), ExitCode.HARNESS, "x"),
        (StoreError("x"), ExitCode.HARNESS, "x"),
        (LocalProtocolError("x"), ExitCode.HARNESS, "x"),
        (RemoteProtocolError("id", "expected int"), ExitCode.HARNESS, "id: expected int"),
    ],
)
def test_code_and_text(error: ResilienceError, code: ExitCode, text: str) -> None:
    """One line for the user, and the exit code that goes with it."""
    assert (error.exit_code, str(error)) == (code, text)


def test_a_taken_port_says_what_to_do() -> None:
    """Host, port and the way out."""
    assert str(PortInUseError("h", 80)).startswith("port 80 on h is already in use")


def test_everything_raised_on_purpose_has_one_base() -> None:
    """A command catches one class."""
    raised = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(raised) > 8
    assert all(issubclass(kind, ResilienceError) for kind in raised)


def test_exit_codes_are_the_documented_numbers() -> None:
    """0 pass, 1 fail, 2 usage, 3 inconclusive, 4 harness."""
    assert [code.value for code in ExitCode] == [0, 1, 2, 3, 4]
