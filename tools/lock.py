"""Renews ``requirements.lock``: one pinned, hashed list for all extras and all dependency groups of ``pyproject.toml``.

Run by ``make lock`` in a temporary environment that holds pip-tools. The list names no index, host or folder, so it
installs from the index that the reader's pip uses.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

HEADER = """\
# All that the project, its extras and its gates need, pinned and hashed, for CPython 3.11 on Linux; by `make lock`.
# pip install --require-hashes -r requirements.lock
"""
OPTIONS = [
    "--quiet",
    "--generate-hashes",
    "--strip-extras",
    "--allow-unsafe",
    "--no-header",
    "--no-emit-options",
    "--no-emit-index-url",
    "--no-emit-trusted-host",
    "--no-emit-find-links",
    "--annotation-style=line",
]
STDIN = "-r -"


def wanted(project: dict[str, Any]) -> list[str]:
    """Every requirement of ``pyproject.toml``, except extras that only name the project's own extras."""
    metadata = project["project"]
    stated = [*metadata["dependencies"]]
    for extra in metadata["optional-dependencies"].values():
        stated += [line for line in extra if not line.startswith(metadata["name"])]
    for group in project["dependency-groups"].values():
        stated += [line for line in group if isinstance(line, str)]
    return sorted(set(stated))


def compiled(requirements: list[str], lock: Path) -> str:
    """The lock's text; pins already in ``lock`` are kept if they still fit, unless ``--upgrade`` is given."""
    command = [sys.executable, "-m", "piptools", "compile", *OPTIONS, *sys.argv[1:], "--output-file", str(lock), "-"]
    subprocess.run(command, input="\n".join(requirements), text=True, check=True)
    return HEADER + lock.read_text().replace(STDIN, "pyproject.toml")


def main() -> None:
    """Write the lock; fail if it contains an address."""
    lock = Path("requirements.lock")
    text = compiled(wanted(tomllib.loads(Path("pyproject.toml").read_text())), lock)
    lock.write_text(text)
    if addresses := re.findall(r".*(?:://| @ |--index|--find-links).*", text):
        sys.exit("the lock must not name addresses:\n" + "\n".join(addresses))


if __name__ == "__main__":
    main()
