"""The programs of ready-made systems that run in Node.js: fetched once with npm, by a lock file with hashes. Blocking.

The folder ``node`` of this package is copied into the cache and its packages are installed next to it. The cached
folder's name holds the digest of everything in it, so another version of this program fetches its own. npm receives
the user's environment and registries unchanged, and runs no script of a package.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from functools import partial
from importlib.resources import files
from pathlib import Path

from resilience.errors import HarnessError
from resilience.units import Seconds

from ..cached_builds import Env, Say, build_once, last_lines, run_build, with_scratch
from ..guarded_command import run_guarded

FETCH_S: Seconds = 900.0
PROBE_S: Seconds = 30.0
OLDEST_NODE = 18
"""The first with ``fetch``, which the programs use."""

INSTALL = ("ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund")
_SOURCES = ("json", "mjs")
_DIGITS = 12
_VERSION = re.compile(r"v(\d+)\.")


def node_folder(cache: Path) -> Path:
    """Where the programs of this version are kept; it need not exist."""
    digest = hashlib.sha256()
    for name, content in sorted(_sources().items()):
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return cache / f"node-systems-{digest.hexdigest()[:_DIGITS]}"


def provide_node_programs(cache: Path, env: Env, say: Say) -> None:
    """Have the folder of :func:`node_folder`; fetches packages if it is not there.

    Raises :class:`~resilience.errors.HarnessError` with the remedy: no Node, no npm, no registry, no room.
    """
    node = _require_program("node", env)
    _require_version(node)
    target = node_folder(cache)
    if target.is_dir():
        return
    npm = _require_program("npm", env)
    try:
        build_once(target, partial(_installed, npm=npm, env=env, say=say), say, is_usable=Path.is_dir)
    except OSError as error:
        remedy = "make that folder writable, free some space, or set XDG_CACHE_HOME"
        raise HarnessError(f"cannot install packages of Node.js into {cache}: {error}; {remedy}") from error


def _sources() -> dict[str, bytes]:
    """By file name: what the package's folder ``node`` holds."""
    found = files(__package__).joinpath("node").iterdir()
    return {item.name: item.read_bytes() for item in found if item.name.rpartition(".")[2] in _SOURCES}


def _installed(scratch: Path, npm: str, env: Env, say: Say) -> Path:
    """The folder of the programs, with their packages."""
    folder = scratch / "node"
    folder.mkdir()
    for name, content in _sources().items():
        (folder / name).write_bytes(content)
    say("fetching the packages of Socket.IO and of Centrifugo's client with npm (some seconds, once)")
    done = run_build([npm, *INSTALL], FETCH_S, with_scratch(env, scratch), say, directory=folder)
    if done.code != 0 or not (folder / "node_modules").is_dir():
        why = f"it did not end within {FETCH_S:g} s" if done.is_overdue else f"exit code {done.code}"
        raise HarnessError(
            f"npm {' '.join(INSTALL)} failed: {why}: {last_lines(done.output)}. "
            "Check the network to your npm registry and the room on your disk"
        )
    return folder


def _require_program(name: str, env: Env) -> str:
    found = shutil.which(name, path=env.get("PATH", ""))
    if found is None:
        raise HarnessError(f"no {name} on PATH: install Node.js {OLDEST_NODE} or newer, which brings node and npm")
    return str(Path(found).absolute())


def _require_version(node: str) -> None:
    done = run_guarded([node, "--version"], PROBE_S)
    found = _VERSION.match(done.output)
    if done.code != 0 or found is None:
        raise HarnessError(f"{node} --version failed: exit code {done.code}: {last_lines(done.output)}")
    if int(found.group(1)) < OLDEST_NODE:
        raise HarnessError(f"{node} is Node.js {done.output.strip()}: install {OLDEST_NODE} or newer")
