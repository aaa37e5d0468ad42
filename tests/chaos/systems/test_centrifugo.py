"""Centrifugo is built once from its module's own folder. ``go`` and what it builds are fakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.systems import centrifugo
from chaos.systems.centrifugo import centrifugo_binary, provide_centrifugo
from resilience.errors import HarnessError

from . import fakes
from .fakes import script


def fake_go(tmp_path: Path, program: str = fakes.CENTRIFUGO) -> Path:
    """Put ``go`` on PATH; returns the file of its calls."""
    calls, source = tmp_path / "calls", tmp_path / "source"
    script(tmp_path / "bin" / "go", fakes.GO.format(calls=calls, source=source, program=program))
    return calls


def test_it_is_built_once_where_the_module_is(tmp_path: Path, env: dict[str, str]) -> None:
    calls, cache, said = fake_go(tmp_path), tmp_path / "cache", list[str]()
    provide_centrifugo(cache, env, said.append)
    provide_centrifugo(cache, env, said.append)
    download, build = calls.read_text().splitlines()
    assert download == f"mod download -json {centrifugo.MODULE}"
    assert build.startswith("build -o ")
    assert list(cache.iterdir()) == [centrifugo_binary(cache)]
    assert said[0].startswith(f"building Centrifugo {centrifugo.VERSION}")
    assert said[1:] == ["go: downloading", f"built {centrifugo_binary(cache)}"]


def test_a_server_that_does_not_run_is_built_again(tmp_path: Path, env: dict[str, str]) -> None:
    fake_go(tmp_path)
    broken = script(centrifugo_binary(tmp_path / "cache"), "#!/bin/sh\nexit 1\n")
    provide_centrifugo(tmp_path / "cache", env, print)
    assert broken.read_text() == fakes.CENTRIFUGO


@pytest.mark.parametrize(
    "go, complaint",
    [
        ('#!/bin/sh\necho "dial tcp: lookup failed" >&2\nexit 1\n', r"mod download .* exit code 1: dial tcp"),
        ("#!/bin/sh\nexit 0\n", "named no folder"),
        ('#!/bin/sh\n[ "$1" = mod ] && echo \'{"Dir": "/tmp"}\'\nexit 0\n', "does not run as Centrifugo"),
    ],
)
def test_a_failed_build_has_gos_words_and_leaves_no_file(
    tmp_path: Path, env: dict[str, str], go: str, complaint: str
) -> None:
    script(tmp_path / "bin" / "go", go)
    with pytest.raises(HarnessError, match=rf"(?s){complaint}.*install Go 1\.26"):
        provide_centrifugo(tmp_path / "cache", env, print)
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_interrupted_build_leaves_no_file(tmp_path: Path, env: dict[str, str]) -> None:
    fake_go(tmp_path)

    def interrupt(line: str) -> None:
        if "downloading" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        provide_centrifugo(tmp_path / "cache", env, interrupt)
    assert list((tmp_path / "cache").iterdir()) == []
