"""What is committed names no machine's folders and no package index: it must read the same everywhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

# Split, so that this file does not contain what it looks for.
FORBIDDEN = re.compile(
    "|".join(
        re.escape(head + tail)
        for head, tail in [
            ("/wor", "k/"),
            ("/ro", "ot/"),
            ("py", "pi.org"),
            ("python", "hosted.org"),
            ("npm", "js.org"),
            ("proxy.go", "lang.org"),
            ("sum.go", "lang.org"),
        ]
    ),
    re.IGNORECASE,
)


def offences(name: str, content: bytes) -> list[str]:
    """One line for each forbidden word; none for what is not text."""
    if b"\0" in content:
        return []
    lines = content.decode("utf-8", errors="replace").splitlines()
    return [
        f"{name}:{number}: {found[0]}" for number, line in enumerate(lines, 1) for found in FORBIDDEN.finditer(line)
    ]


def test_no_committed_text_names_a_machine_or_an_index(root: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: what is committed is not known")
    paths = [root / name for name in listed.stdout.split("\0") if name]
    found = [line for path in paths if path.is_file() for line in offences(str(path), path.read_bytes())]
    assert not found, "\n".join(found)


def test_a_forbidden_word_is_found_in_text_only() -> None:
    word = "/wor" + "k/"
    assert offences("a.md", f"fine\nsee {word}notes".encode()) == [f"a.md:2: {word}"]
    assert not offences("a.png", f"\0{word}".encode())
    assert not offences("a.md", b"at work / at home")
