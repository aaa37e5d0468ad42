"""A supervised server is verified as ours, can be frozen and replaced, and never outlives its parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.ports import HIGH, LOW, free_ports, require_free
from chaos.toxiproxy import process as module
from chaos.toxiproxy.client import ToxiproxyApi
from chaos.toxiproxy.process import ToxiproxyProcess
from chaos.toxiproxy.provision import Binary
from resilience.errors import PortInUseError, ToxiproxyError

from ...support.deadlines import HANG_S
from ...support.processes import descendants

PARENT = """
import asyncio, contextlib, sys
from pathlib import Path
from chaos.ports import free_ports
from chaos.toxiproxy.process import ToxiproxyProcess
from chaos.toxiproxy.provision import Binary

async def main():
    server = await ToxiproxyProcess.start(Binary(Path(sys.argv[1]), "explicit", ""))
    listen = free_ports(1)[0]
    with contextlib.closing(server.api()) as api:
        await api.create_proxy("p", f"127.0.0.1:{listen}", "127.0.0.1:9")
    if sys.argv[2] == "suspended":
        server.suspend()
    print(server.pid, server.api_port, listen, flush=True)
    if sys.argv[2] != "returns":
        sys.stdin.read()

asyncio.run(main())
"""


def gone(pid: int) -> bool:
    """Whether the process has ended; a zombie counts as ended."""
    try:
        return state(pid) == "Z"
    except OSError:
        return True


def state(pid: int) -> str:
    """The kernel's letter for the state of the process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline, f"still not so after {HANG_S} s: {what}"
        time.sleep(0.005)


def free(port: int) -> bool:
    with contextlib.suppress(PortInUseError):
        require_free(port)
        return True
    return False


async def link(api: ToxiproxyApi, echo: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection through a new proxy, after one round trip."""
    proxy = await api.create_proxy("p", f"127.0.0.1:{free_ports(1)[0]}", f"127.0.0.1:{echo}")
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    writer.write(b"hello")
    assert await asyncio.wait_for(reader.readexactly(5), HANG_S) == b"hello"
    return reader, writer


async def test_a_started_server_answers_and_is_empty(server: ToxiproxyProcess, api: ToxiproxyApi) -> None:
    """The first request works, the port is below the ephemeral range, the marker is removed."""
    assert await api.list_proxies() == {}
    assert LOW <= server.api_port < HIGH
    assert (server.alive, server.starts, server.exit_code) == (True, 1, None)


async def test_servers_do_not_disturb_one_another(binary: Binary) -> None:
    servers = await asyncio.gather(*(ToxiproxyProcess.start(binary) for _ in range(4)))
    try:
        assert len({server.api_port for server in servers}) == len({server.pid for server in servers}) == 4
    finally:
        await asyncio.gather(*(server.stop() for server in servers))
    assert all(gone(server.pid) and free(server.api_port) for server in servers)


async def test_a_given_port_that_is_taken_is_an_error(binary: Binary, server: ToxiproxyProcess) -> None:
    with pytest.raises(PortInUseError, match=str(server.api_port)):
        await ToxiproxyProcess.start(binary, api_port=server.api_port)
    wanted = free_ports(1)[0]
    other = await ToxiproxyProcess.start(binary, api_port=wanted)
    await other.stop()
    assert other.api_port == wanted


async def test_a_port_lost_at_the_last_moment_to_another_toxiproxy(
    binary: Binary, server: ToxiproxyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A foreign control API on the chosen port is not mistaken for ours; another port is tried."""
    good = free_ports(1)[0]
    offers = [server.api_port, good]
    monkeypatch.setattr(module, "free_ports", lambda n, host: [offers.pop(0)])
    second = await ToxiproxyProcess.start(binary)
    try:
        assert (second.api_port, second.starts) == (good, 2)
        with contextlib.closing(second.api()) as api:
            await api.create_proxy("only-here", "127.0.0.1:0", "127.0.0.1:9")
        with contextlib.closing(server.api()) as api:
            assert await api.list_proxies() == {}
    finally:
        await second.stop()


async def test_a_port_lost_at_the_last_moment_to_a_silent_listener(
    binary: Binary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another port is tried after a limited wait.

    Only the silent listener gets a short time; the server on the next port has a long one.
    """
    with contextlib.closing(socket.create_server(("127.0.0.1", free_ports(1)[0]))) as silent:
        offers = [(silent.getsockname()[1], 0.2), (free_ports(1)[0], HANG_S)]

        def offer(_count: int, _host: str) -> list[int]:
            port, ask_s = offers.pop(0)
            monkeypatch.setattr(module, "ASK_S", ask_s)
            return [port]

        monkeypatch.setattr(module, "free_ports", offer)
        process = await ToxiproxyProcess.start(binary)
        assert (process.starts, offers) == (2, [])
        await process.stop()


async def test_a_port_lost_at_the_last_moment_to_a_server_that_accepts_everything(
    binary: Binary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not know our marker."""

    async def agree(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    offers = free_ports(2)
    async with await asyncio.start_server(agree, "127.0.0.1", offers[0]):
        monkeypatch.setattr(module, "free_ports", lambda n, host: [offers.pop(0)])
        process = await ToxiproxyProcess.start(binary)
        assert process.starts == 2
        await process.stop()


async def test_a_server_that_dies_at_once_shows_its_log(tmp_path: Path) -> None:
    """The error has the exit code and the end of the log, and no process is left."""
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho out of luck\nexit 7\n")
    broken.chmod(0o755)
    with pytest.raises(ToxiproxyError, match=r"exit code 7.*out of luck"):
        await ToxiproxyProcess.start(Binary(broken, "explicit", ""), log_path=tmp_path / "log")


async def test_a_server_that_never_answers_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start has a deadline, after which the child has ended."""
    monkeypatch.setattr(module, "START_S", 0.3)
    monkeypatch.setattr(module, "_TRIES", 1)
    mute = tmp_path / "mute"
    mute.write_text("#!/bin/sh\nexec cat /dev/zero > /dev/null\n")
    mute.chmod(0o755)
    before = descendants(os.getpid())
    with pytest.raises(ToxiproxyError, match=r"did not answer in 0\.3 s"):
        await ToxiproxyProcess.start(Binary(mute, "explicit", ""))
    assert descendants(os.getpid()) <= before


async def test_a_cancelled_start_leaves_no_process(tmp_path: Path) -> None:
    mute = tmp_path / "mute"
    mute.write_text(f"#!/bin/sh\necho $$ > {tmp_path / 'pid'}\nexec cat /dev/zero > /dev/null\n")
    mute.chmod(0o755)
    start = asyncio.create_task(ToxiproxyProcess.start(Binary(mute, "explicit", "")))
    async with asyncio.timeout(HANG_S):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert gone(int((tmp_path / "pid").read_text()))


async def test_the_log_is_appended_to_the_given_file(binary: Binary, tmp_path: Path) -> None:
    log = tmp_path / "toxiproxy.log"
    log.write_text("before\n")
    process = await ToxiproxyProcess.start(binary, log_path=log)
    await process.stop()
    assert log.read_text().startswith("before\n")
    assert "Starting Toxiproxy" in log.read_text()


async def test_suspended_is_silent_and_resumed_loses_nothing(
    server: ToxiproxyProcess, api: ToxiproxyApi, echo: int
) -> None:
    """While frozen: connections open, connects accepted by the kernel, no byte, no close. After: all in order."""
    reader, writer = await link(api, echo)
    frozen = server.suspend()
    assert server.suspended
    writer.write(b"while frozen")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    late_reader, late_writer = await asyncio.open_connection(*writer.get_extra_info("peername"))
    late_writer.write(b"late")
    thawed = server.resume()
    assert await asyncio.wait_for(reader.readexactly(12), HANG_S) == b"while frozen"
    assert await asyncio.wait_for(late_reader.readexactly(4), HANG_S) == b"late"
    assert frozen.before <= frozen.after <= thawed.before <= thawed.after
    for end in (writer, late_writer):
        end.close()
        await end.wait_closed()


async def test_suspended_holds_closes(server: ToxiproxyProcess, api: ToxiproxyApi) -> None:
    """A close by the far end, which passes every toxic, is delayed until the thaw."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as upstream:
        upstream.settimeout(HANG_S)
        proxy = await api.create_proxy("p", f"127.0.0.1:{free_ports(1)[0]}", f"127.0.0.1:{upstream.getsockname()[1]}")
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        far, _ = await asyncio.to_thread(upstream.accept)
        server.suspend()
        far.close()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        server.resume()
        assert await asyncio.wait_for(reader.read(1), HANG_S) == b""
        writer.close()
        await writer.wait_closed()


async def test_the_kernel_confirms_every_suspension(server: ToxiproxyProcess) -> None:
    """When suspend returns, the process is stopped."""
    for _ in range(50):
        server.suspend()
        assert state(server.pid) == "T"
        server.resume()
    assert server.alive


async def test_a_suspension_that_does_not_happen_is_an_error(
    server: ToxiproxyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault that did not happen is never reported as injected."""
    with monkeypatch.context() as deaf:
        deaf.setattr(module, "DEATH_S", 0.1)
        deaf.setattr(server, "_signal", lambda number, doing: None)
        with pytest.raises(ToxiproxyError, match="did not stop within"):
            server.suspend()
    assert not server.suspended


@pytest.mark.parametrize("frozen", [False, True])
async def test_stop_ends_the_process_and_frees_its_port(binary: Binary, frozen: bool) -> None:
    """Stopping twice has no effect."""
    process = await ToxiproxyProcess.start(binary)
    if frozen:
        process.suspend()
    await process.stop()
    await process.stop()
    assert not process.alive
    assert gone(process.pid)
    assert free(process.api_port)


async def test_stop_kills_a_server_that_ignores_sigterm(binary: Binary) -> None:
    """The server is frozen, which stands for a hung request."""
    process = await ToxiproxyProcess.start(binary)
    os.kill(process.pid, signal.SIGSTOP)
    await process.stop(grace_s=0.1)
    assert process.exit_code == -signal.SIGKILL


async def test_a_crash_is_noticed_and_a_dead_server_cannot_be_suspended(server: ToxiproxyProcess) -> None:
    """A foreign SIGKILL shows in `alive`; killing a dead server has no effect."""
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: not server.alive, "the crash was noticed")
    assert server.exit_code == -signal.SIGKILL
    with pytest.raises(ToxiproxyError, match=r"cannot suspend .* respawn it"):
        server.suspend()
    server.kill()


@pytest.mark.parametrize("frozen", [False, True])
async def test_respawn_gives_an_empty_server_on_the_same_port(server: ToxiproxyProcess, frozen: bool) -> None:
    """A frozen server stands for a hung one: killed, replaced, its proxies gone and their ports free."""
    port, pid, listen = server.api_port, server.pid, free_ports(1)[0]
    with contextlib.closing(server.api()) as api:
        await api.create_proxy("p", f"127.0.0.1:{listen}", "127.0.0.1:9")
    if frozen:
        server.suspend()
    await server.respawn()
    assert (server.api_port, server.starts, server.suspended) == (port, 2, False)
    assert gone(pid)
    assert free(listen)
    with contextlib.closing(server.api()) as api:
        assert await api.list_proxies() == {}


async def test_respawn_moves_when_its_port_was_taken(server: ToxiproxyProcess) -> None:
    server.kill()
    port = server.api_port
    with contextlib.closing(socket.create_server(("127.0.0.1", port))):
        await server.respawn()
    assert server.api_port != port
    assert server.alive


async def test_kill_now_works_without_a_loop_and_twice(binary: Binary) -> None:
    process = await ToxiproxyProcess.start(binary)
    await asyncio.to_thread(process.kill_now)
    process.kill_now()
    assert not process.alive
    await process.stop()


async def test_a_terminals_ctrl_c_does_not_reach_the_child(server: ToxiproxyProcess) -> None:
    assert os.getsid(server.pid) == server.pid != os.getsid(0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the kernel's parent-death signal")
@pytest.mark.parametrize("state", ["running", "suspended"])
def test_the_child_dies_with_a_killed_parent(binary: Binary, state: str) -> None:
    """No clean-up of ours runs; the child still ends and its ports are free."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(binary.path), state],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(module.__file__).parents[2],
    ) as parent:
        assert parent.stdout is not None
        pid, api_port, listen = (int(word) for word in parent.stdout.readline().split())
        assert not gone(pid)
        assert not free(listen)
        parent.kill()
    until(lambda: gone(pid), "the child is gone")
    until(lambda: free(api_port) and free(listen), "its ports are free")


def test_the_child_dies_with_a_parent_that_does_not_stop_it(binary: Binary) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(binary.path), "returns"],
        capture_output=True,
        text=True,
        check=True,
        timeout=HANG_S,
        cwd=Path(module.__file__).parents[2],
    )
    pid, api_port, _ = (int(word) for word in done.stdout.split())
    until(lambda: gone(pid) and free(api_port), "the child is gone")
    assert gone(pid)
