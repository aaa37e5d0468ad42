"""The root command. The only module of this package that prints or exits.

``serve``, ``host`` and ``play`` live here; the laboratory's commands are found by the entry-point group
``resilience.commands``, so nothing here imports upwards. An error that a command raises on purpose ends it with one
line on standard error and an exit code.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NoReturn

import click

from resilience import __version__
from resilience.errors import ExitCode, ResilienceError, UsageError
from resilience.extras import missing_package
from resilience.terminal import describe_unexpected, lost_output, tolerate_lost_output

COMMANDS = "resilience.commands"


class RootGroup(click.Group):
    """The built-in commands and the commands that installed packages register."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Built-in commands first, then the laboratory's."""
        return [*super().list_commands(ctx), *sorted(_installed())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, imported on first use."""
        own = super().get_command(ctx, cmd_name)
        entry = _installed().get(cmd_name)
        return own if own is not None or entry is None else _load(entry)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """One line per command, without importing the commands."""
        own = [(name, command.get_short_help_str(90)) for name, command in sorted(self.commands.items())]
        others = [(name, _SUMMARIES.get(name, "")) for name in sorted(_installed())]
        with formatter.section("Commands"):
            formatter.write_dl([*own, *others])


_SUMMARIES = {
    "chaos": "inject faults into the network and the server under real clients: run, list, show, export, doctor",
    "sim": "run the same experiment in a simulator, or crash it with many seeds: run, explore",
    "report": "build a run's report, compare two runs: build, compare",
}


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=COMMANDS)}


def _load(entry: EntryPoint) -> click.Command:
    command = entry.load()
    if not isinstance(command, click.Command):
        raise UsageError(f"'{entry.name}' is registered by {entry.value}, which is not a command")
    return command


@click.group(cls=RootGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="resilience")
def root() -> None:
    """A live-quiz server that survives bad networks, and the laboratory that proves it.

    Exit codes: 0 pass, 1 target missed or invariant broken, 2 usage or bad input, 3 inconclusive, 4 harness or
    environment failed.
    """


@root.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option(
    "--db",
    envvar="RESILIENCE_DB",
    show_envvar=True,
    default="sqlite:///quiz.db",
    show_default=True,
    help="Database URL; sqlite:// keeps data in memory only.",
)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with [server] and [quiz] tables.")
@click.option("--event", default="quiz", show_default=True, help="Id of the event to serve.")
@click.option("--seed", default=1, show_default=True, help="Seed of the questions.")
@click.option("--heartbeat-interval", type=float, help="Seconds between two heartbeat pings of one participant.")
@click.option("--grace-period", type=float, help="Seconds of silence until a participant is temporarily_disconnected.")
@click.option("--cleanup-interval", type=float, help="Seconds of absence until a participant is disconnected.")
@click.option(
    "--fresh", is_flag=True, help="Start a new run of the event, even if the database holds an unfinished one."
)
@click.option(
    "--host-key-file",
    type=click.Path(path_type=Path),
    help="File with the key that hosts must show; or RESILIENCE_HOST_KEY.",
)
@click.option("--event-log", type=click.Path(path_type=Path), help="Write the event log to this file.")
@click.option("--epoch", type=float, help="The run's start on the monotonic clock, for the event log.")
def serve(event: str, epoch: float | None, **options: object) -> None:
    """Serve a quiz that advances by itself, and the quizzes that hosts create, until interrupted.

    If the database holds an unfinished run, such as after a crash, the quiz continues from its last commit.
    """
    from resilience.server.serve import check_options, serve_command
    from resilience.settings import environment, host_key, server_settings, unknown_variables

    check_options(event, epoch)
    flags = {key: options[key] for key in ("heartbeat_interval", "grace_period", "cleanup_interval")}
    file = options["config"]
    server, quiz = server_settings(file if isinstance(file, Path) else None, environment(), flags)
    key_file = options["host_key_file"]
    key = host_key(environment(), key_file if isinstance(key_file, Path) else None)
    unknown = unknown_variables(environment())
    serve_command(server, quiz, {**options, "event": event, "epoch": epoch, "host_key": key, "unknown": unknown})


@root.command()
@click.argument("url")
@click.option(
    "--questions", required=True, type=click.Path(path_type=Path), help="TOML or JSON file with the questions."
)
@click.option("--event", help="Id of the event; by default the file's name.")
@click.option("--auto", is_flag=True, help="The quiz starts with the first player and advances by itself.")
@click.option("--again", is_flag=True, help="Start a new run if the event is over.")
@click.option("--key-file", type=click.Path(path_type=Path), help="File with the host key; or RESILIENCE_HOST_KEY.")
def host(url: str, questions: Path, event: str | None, auto: bool, again: bool, key_file: Path | None) -> None:
    """Host a quiz on the server at URL (such as ws://127.0.0.1:8765/ws), from a file of questions.

    Keys: Enter or n next step, r reveal, f finish, q detach. After q the quiz stays on the server; the same command
    attaches to it again.
    """
    from resilience.client.host_cli import host_command
    from resilience.settings import environment, host_key, unknown_variables

    for sentence in unknown_variables(environment()):
        click.echo(f"warning: {sentence}", err=True)
    key = host_key(environment(), key_file)
    host_command(url, questions, event=event, automatic=auto, again=again, key=key)


@root.command()
@click.argument("url")
@click.option("--name", default="player", show_default=True, help="The name that other players see.")
@click.option("--event", default="quiz", show_default=True, help="Id of the event to join.")
@click.option("--preset", type=click.Choice(["window", "classic"]), default="window", show_default=True)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    help="File that keeps your identity; the next start with it resumes your session.",
)
def play(url: str, name: str, event: str, preset: str, resume: Path | None) -> None:
    """Take part in the quiz at URL (such as ws://127.0.0.1:8765/ws) in this terminal."""
    from resilience.client.play_cli import play_command

    play_command(url, name, event, preset, resume)


def main() -> NoReturn:
    """Run the command line; ends the process with an exit code of :class:`~resilience.errors.ExitCode`.

    An unforeseen error is one line that names a log file, and exit code 4.
    """
    tolerate_lost_output()
    os.environ.pop("MPLBACKEND", None)  # a notebook's picture backend does not exist in a process of our own
    code = _run()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command is over: Ctrl-C ends nothing more
    problem = lost_output()
    if problem is not None:
        click.echo(f"warning: {problem}", err=True)
    sys.exit(code)


def _run() -> int:
    try:
        code = root.main(standalone_mode=False)
    except ResilienceError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return ExitCode.HARNESS
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else ExitCode.PASS
    except Exception as error:  # noqa: BLE001 - a traceback is for a file, and its exit code must not mean a verdict
        missing = missing_package(error) if isinstance(error, ModuleNotFoundError) else None
        click.echo(f"error: {missing or describe_unexpected(error)}", err=True)
        return ExitCode.USAGE if missing else ExitCode.HARNESS
    return code if isinstance(code, int) else ExitCode.PASS
