"""What a console prints where there is no terminal, and what counts as one."""

from __future__ import annotations

import io

import pytest
from rich.table import Table
from rich.text import Text

from resilience.terminal import UNWRAPPED_COLUMNS, make_console


class FakeTerminal(io.StringIO):
    """A stream that says that it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE"])
def test_without_a_terminal_no_variable_brings_control_characters(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Build servers set such variables for other programs."""
    monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("COLUMNS", "40")
    console = make_console()
    assert not console.is_terminal
    table = Table("a", "b", box=None)
    table.add_row(Text("fail", style="bold red"), "x" * 300)
    console.print(Text("FAIL", style="bold red reverse"), "\x1b[31mred\x1b[0m\x07 bell\x08", table, soft_wrap=True)
    printed = capsys.readouterr().out
    assert not [char for char in printed if ord(char) < 32 and char not in "\n\t"]
    assert "red bell" in printed
    assert "x" * 300 in printed


def test_a_terminal_that_cannot_move_its_cursor_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", FakeTerminal())
    monkeypatch.setenv("TERM", "xterm")
    assert make_console().is_terminal
    monkeypatch.setenv("TERM", "dumb")
    plain = make_console()
    assert (plain.is_terminal, plain.width) == (False, UNWRAPPED_COLUMNS)


def test_a_quiet_console_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    make_console(quiet=True).print("words")
    assert capsys.readouterr().out == ""


def test_a_console_may_outlive_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is raised when the stream below is closed first."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace")
    monkeypatch.setattr("sys.stdout", stream)
    console = make_console()
    console.print("≥ 95 %")
    assert console.encoding == "ascii"
    stream.close()
    console.file.flush()
