"""``resilience chaos driver``: the examination of a client driver on the terminal, and the one that holds browsers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from resilience.errors import ExitCode, HarnessError
from resilience.extras import needs_extra
from resilience.terminal import make_console

if TYPE_CHECKING:
    from rich.console import Console

    from .check import Examination, RuleFinding

_MARKS = {True: ("ok", "green"), False: ("broken", "bold red"), None: ("not seen", "yellow")}


@click.group()
def driver() -> None:
    """Client drivers, programs that run the clients of an experiment: examine one, or be the one for Chromium."""


@driver.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--system", metavar="NAME|FILE", help="Start this system's server in place of the echo server.")
@click.option("--quiz", is_flag=True, help="Start the quiz server in its place, for a driver with quiz_records.")
@click.option("--clients", type=click.IntRange(1, 1000), default=4, show_default=True, help="How many it is to hold.")
@click.option(
    "--slower",
    type=click.FloatRange(1.0),
    default=1.0,
    show_default=True,
    help="Wait so many times as long for everything, as on a busy machine.",
)
@needs_extra("chaos")
def check(command: tuple[str, ...], system: str | None, quiz: bool, clients: int, slower: float) -> int:
    """Start the driver COMMAND against a small echo server, and check the rules of its protocol.

    The server cuts its connections and refuses new ones, the driver is suspended, gets unknown messages, and is
    stopped. With --system the driver is examined with the server of that system; COMMAND is then the system's own
    driver, unless given. With --quiz it is examined with the quiz server; COMMAND is then the quiz's own page in
    Chromium, unless given. Options stand before COMMAND; the driver gets what follows it. {python}, {examples},
    {systems} and {centrifugo} in COMMAND are replaced as in an experiment.

    Exit codes: 0 every rule holds, 1 a rule is broken, 2 there is no such program, 4 it could not be examined.
    """
    import asyncio
    import shutil
    import tempfile

    from resilience.lab.command import interruptible

    from .examined import examine_driver

    console = make_console()
    folder = Path(tempfile.mkdtemp(prefix="resilience-driver-"))
    log = folder / "driver.log"
    keeps = False
    try:
        with interruptible() as begun:
            begun.remedy = "the driver was ended"
            found = asyncio.run(examine_driver(command, system, log, clients=clients, slower=slower, quiz=quiz))
        _show(found, console)
        keeps = log.stat().st_size > 0 and not found.holds
    except HarnessError:
        keeps = (folder / "logs").exists()  # a message names the log of the server
        raise
    finally:
        if not keeps:
            shutil.rmtree(folder, ignore_errors=True)
    if keeps:
        console.print(f"its standard error: {log}", markup=False, highlight=False, soft_wrap=True)
    return ExitCode.PASS if found.holds else ExitCode.FAIL


@driver.command()
@click.argument("page")
@click.option("--script", type=click.Path(path_type=Path), help="JavaScript that runs in each page before its own.")
@click.option("--tabs", is_flag=True, help="Clients are tabs of one profile, which share its storage; lighter.")
@click.option("--browser", help="The program.  [default: CHROME_PATH, or Chromium or Chrome on PATH]")
@click.option("--window", metavar="WxH", help="A page's window in CSS pixels.  [default: 360x640, a phone's]")
@click.option("--flag", "flags", multiple=True, help="One more flag of Chromium's, such as --flag=--lang=de.")
@needs_extra("chromium")
def chromium(
    page: str, script: Path | None, tabs: bool, browser: str | None, window: str | None, flags: tuple[str, ...]
) -> int:
    """Be a client driver whose clients are pages in a real Chromium, for the command of an experiment's [driver].

    PAGE is an HTML file or a URL. It takes orders and reports through the object `resilience`, which each document
    is given. {address} in a URL stands for the host and port of the proxy at which the client is to connect.

    Exit codes: 0 it was stopped, 2 there is no such page, script or program, 4 a page, a tab or Chromium failed.
    """
    from .chromium.program import WINDOW, PageSettings, run_driver

    run_driver(PageSettings(page, script, tabs=tabs, browser=browser, flags=flags, window=window or WINDOW))
    return ExitCode.PASS


def _show(examination: Examination, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    seen = ", ".join(f"{name} {count}" for name, count in examination.seen.items() if count)
    console.print(f"messages: {seen or 'none'}", markup=False, highlight=False, soft_wrap=True)
    table = Table("", "rule", "found", "what would be right", box=None, pad_edge=False)
    for finding in examination.findings:
        mark, style = _MARKS[finding.holds]
        found = " ".join(finding.found.split())
        table.add_row(Text(mark, style=style), Text(finding.rule), Text(found), Text(finding.right))
    console.print(table)
    console.print(_conclusion(examination.findings), markup=False, highlight=False, soft_wrap=True)


def _conclusion(findings: tuple[RuleFinding, ...]) -> str:
    broken = sum(finding.holds is False for finding in findings)
    if broken:
        return f"{broken} of {len(findings)} rules are broken"
    unseen = sum(finding.holds is None for finding in findings)
    return f"{len(findings) - unseen} rules hold" + (f", {unseen} not seen" if unseen else "")
