"""What a terminal and a log file show of a run under way."""

from __future__ import annotations

import io

from rich.console import Console

from resilience.lab.progress import Progress
from resilience.lab.progress_view import ProgressLines, line_of, show_progress, table_of

MOMENT = Progress("running", 12.0, 60.0, {"alpha": 7}, {"alpha": 10, "beta": 5}, ("0.0:refuse@alpha",))


def console() -> Console:
    return Console(file=io.StringIO(), width=120)


def text_of(drawn: Console) -> str:
    assert isinstance(drawn.file, io.StringIO)
    return drawn.file.getvalue()


def test_a_moment_as_a_line_and_as_a_table() -> None:
    """Both name time, cohorts and faults in force."""
    assert line_of(MOMENT) == " 12.0/60 s  running   connected: alpha 7/10  beta 0/5  faults: refuse@alpha"
    drawn = console()
    drawn.print(table_of(MOMENT))
    for word in ("running", "12 / 60 s", "7 / 10 connected", "0 / 5 connected", "refuse@alpha"):
        assert word in text_of(drawn)


def test_without_a_terminal_a_line_comes_at_most_every_five_seconds() -> None:
    """Logs of a build server stay short, whatever happens in the run."""
    drawn = console()
    with show_progress(drawn) as watcher:
        assert isinstance(watcher, ProgressLines)
        for tenths in range(120):
            news = (f"cut {tenths} at alpha strikes",) if tenths % 10 == 1 else ()
            watcher(Progress("joining" if tenths < 20 else "running", tenths / 10, 60.0, {}, {"a": 1}, news=news))
    lines = text_of(drawn).splitlines()
    assert [line.split("/")[0].strip() for line in lines] == ["0.0", "5.0", "10.0"]
    assert [line.count("strikes") for line in lines] == [0, 5, 5]
    assert "4.1 s cut 41 at alpha strikes" in lines[1]


def test_on_a_terminal_it_is_drawn_in_place() -> None:
    """The live display takes the same moments."""
    drawn = Console(file=io.StringIO(), force_terminal=True, width=100)
    with show_progress(drawn) as watcher:
        watcher(MOMENT)
    assert "alpha" in text_of(drawn)


def test_each_piece_of_news_is_printed_once_on_a_terminal_and_elsewhere() -> None:
    """Progress names each fault as it begins and ends."""
    for drawn in (console(), Console(file=io.StringIO(), force_terminal=True, width=100)):
        with show_progress(drawn) as watcher:
            watcher(Progress("running", 8.0, 60.0, {}, {"a": 1}, news=("cut at alpha strikes",)))
            watcher(Progress("running", 13.1, 60.0, {}, {"a": 1}))
        assert text_of(drawn).count("cut at alpha strikes") == 1
        assert "8.0" in text_of(drawn).partition("cut at alpha strikes")[0]
