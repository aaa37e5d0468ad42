"""A command of another project, with all that it starts, ends in time, at an interruption, and with its caller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.guarded_command import run_guarded
from chaos.toxiproxy.provision import NAME_IN_CACHE, find_toxiproxy

from ..support.deadlines import HANG_S
from ..support.processes import descendants, eventually_sync, lives

STUBBORN = """#!/bin/sh
trap '' TERM INT HUP
sh -c 'trap "" TERM INT HUP; while :; do sleep 1; done' &
echo "started $$ $!"
while :; do sleep 1; done
"""


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


class Pids(list[int]):
    """The process ids that a stubborn command prints."""

    def take(self, line: str) -> None:
        """Take those of a line."""
        self += map(int, line.split()[1:])

    @property
    def ended(self) -> bool:
        """Whether all have ended."""
        return len(self) == 2 and not any(lives(pid) for pid in self)


def test_a_command_that_ends_by_itself(tmp_path: Path) -> None:
    done = run_guarded([str(script(tmp_path / "it", "#!/bin/sh\necho a\necho b >&2\nexit 3\n"))], HANG_S)
    assert (done.code, done.output, done.is_overdue) == (3, "a\nb", False)
    killed = run_guarded([str(script(tmp_path / "it", "#!/bin/sh\nkill -KILL $$\n"))], HANG_S)
    assert killed.code == 128 + signal.SIGKILL
    missing = run_guarded([str(tmp_path / "none")], HANG_S)
    assert missing.code == 1
    assert "No such file" in missing.output


def test_what_takes_too_long_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    pids = Pids()
    done = run_guarded([str(script(tmp_path / "it", STUBBORN))], 1.0, on_line=pids.take)
    assert done.is_overdue
    assert eventually_sync(lambda: pids.ended)


def test_what_a_command_leaves_behind_ends_with_it() -> None:
    done = run_guarded(["/bin/sh", "-c", "sleep 600 > /dev/null 2>&1 & echo $!; exit 3"], HANG_S)
    assert done.code == 3
    assert eventually_sync(lambda: not lives(int(done.output)))


def test_an_interruption_kills_it_first(tmp_path: Path) -> None:
    pids = Pids()

    def interrupt(line: str) -> None:
        pids.take(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_guarded([str(script(tmp_path / "it", STUBBORN))], HANG_S, on_line=interrupt)
    assert eventually_sync(lambda: pids.ended)


def signalled_in_the_first_build(folder: Path, *signals: signal.Signals) -> tuple[int, list[str]]:
    """`chaos run` whose Go tool ignores signals and does not end: exit code and complaints, once all has ended."""
    script(folder / "bin" / "go", STUBBORN)
    settings = {"XDG_CACHE_HOME": str(folder / "cache"), "PATH": path_of(folder), "RESILIENCE_TOXIPROXY": ""}
    process = subprocess.Popen(
        [sys.executable, "-m", "resilience", "chaos", "run", "smoke", "--out", folder / "run"],
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    pids = Pids()
    with process:
        try:
            for line in process.stdout or ():
                if line.startswith("started"):
                    pids.take(line)
                    break
            mine = descendants(process.pid)
            assert len(mine) >= 3
            for number in signals:
                process.send_signal(number)
            _, said = process.communicate(timeout=HANG_S)
        finally:
            process.kill()
    assert eventually_sync(lambda: pids.ended and not any(lives(pid) for pid in mine))
    assert not (folder / "run").exists()
    return process.returncode, said.splitlines()


def path_of(folder: Path) -> str:
    return f"{folder / 'bin'}:/usr/bin:/bin"


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,), (signal.SIGHUP,)],
    ids=["ctrl-c-twice", "term", "hup"],
)
def test_a_signal_in_the_first_build_leaves_nothing_behind(tmp_path: Path, signals: tuple[signal.Signals, ...]) -> None:
    """No Go tool, no process of it, no folder; exit code 4 in one line."""
    code, said = signalled_in_the_first_build(tmp_path, *signals)
    assert code == 4
    assert said[-1] == f"error: interrupted by {signals[0].name}; nothing was started"
    assert list((tmp_path / "cache" / "quiz-resilience").iterdir()) == []


def test_a_killed_build_leaves_a_folder_that_the_next_build_removes(tmp_path: Path) -> None:
    """No process of it outlives the command, and what no one could remove then goes later."""
    signalled_in_the_first_build(tmp_path, signal.SIGKILL)
    cache = tmp_path / "cache" / "quiz-resilience"
    assert len(list(cache.iterdir())) == 1
    server = "#!/bin/sh\necho toxiproxy-server\n"
    go = f'#!/bin/sh\ncat > "$GOBIN/server" <<END\n{server}END\nchmod +x "$GOBIN/server"\n'
    script(tmp_path / "bin" / "go", go)
    assert find_toxiproxy(None, cache_dir=cache, env={"PATH": path_of(tmp_path)}).origin == "built"
    assert [entry.name for entry in cache.iterdir()] == [NAME_IN_CACHE]
