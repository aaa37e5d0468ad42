"""The doctor on a made-up machine: its findings, and no failure on a strange one."""

from __future__ import annotations

import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from chaos.doctor import examination
from chaos.doctor.examination import examine, worst
from chaos.doctor.finding import Finding
from chaos.doctor.needs import FleetNeeds, needs_of_clients
from chaos.toxiproxy.provision import Binary
from resilience.errors import HarnessError, ToxiproxyError

PINNED = Binary(Path("/opt/toxiproxy-server"), "path", "toxiproxy-server version 2.12.0")


def proc(root: Path, **tables: str) -> Path:
    defaults = {"file-max": "1000000", "range": "32768\t60999", "somaxconn": "4096", "syn": "4096"}
    defaults["reuse"] = "2"
    defaults["meminfo"] = "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB"
    paths = {
        "meminfo": "meminfo",
        "file-max": "sys/fs/file-max",
        "range": "sys/net/ipv4/ip_local_port_range",
        "somaxconn": "sys/net/core/somaxconn",
        "syn": "sys/net/ipv4/tcp_max_syn_backlog",
        "reuse": "sys/net/ipv4/tcp_tw_reuse",
    }
    for key, text in {**defaults, **tables}.items():
        path = root / paths[key]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def plan(clients: int | None) -> FleetNeeds | None:
    """The needs of so many clients in two processes."""
    return None if clients is None else needs_of_clients(clients, 2)


def found(findings: list[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.name == name)


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The soft and hard limit of open files, changed in place."""
    both = [4096, 65536]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(both))
    return both


def test_a_good_machine_is_ok(tmp_path: Path, limits: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """No bad finding; at most warnings about processors and Go."""
    findings = examine(plan(1000), lambda: PINNED, proc=proc(tmp_path), cgroups=tmp_path / "none", runs=tmp_path)
    assert {f.name for f in findings if f.verdict != "ok"} <= {"processors", "go", "orphan guard"}
    assert found(findings, "toxiproxy").value == "/opt/toxiproxy-server (path): toxiproxy-server version 2.12.0"


def test_a_missing_server_is_bad_and_has_the_remedy(tmp_path: Path) -> None:

    def none() -> Binary:
        raise ToxiproxyError("no Toxiproxy server: build failed")

    finding = found(examine(None, none, proc=proc(tmp_path)), "toxiproxy")
    assert (finding.verdict, finding.advice) == ("bad", "no Toxiproxy server: build failed")


def test_another_version_is_a_warning(tmp_path: Path) -> None:
    """A server that does not report the pinned version may have other quirks."""
    other = Binary(Path("/opt/toxiproxy-server"), "path", "toxiproxy-server version 2.9.0")
    assert found(examine(None, lambda: other, proc=proc(tmp_path)), "toxiproxy").verdict == "warn"


def test_our_own_build_is_trusted(tmp_path: Path) -> None:
    """A build by the Go tool reports "git"; its name in the cache tells the version."""
    ours = Binary(tmp_path / "toxiproxy-server-2.12.0", "cache", "toxiproxy-server version git")
    assert found(examine(None, lambda: ours, proc=proc(tmp_path)), "toxiproxy").verdict == "ok"


@pytest.mark.parametrize(
    "both,clients,verdict",
    [
        ((1024, 4096), None, "ok"),
        ((1024, 4096), 500, "ok"),
        ((1024, 4096), 1000, "ok"),
        ((1024, 4096), 2000, "bad"),
        ((4096, 4096), 1984, "ok"),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 10**6, "ok"),
    ],
)
def test_open_files(
    tmp_path: Path, limits: list[int], both: tuple[int, int], clients: int | None, verdict: str
) -> None:
    """The proxy needs two files per client of the hard limit, to which every process is raised, and 128 to spare."""
    limits[:] = both
    findings = examine(plan(clients), lambda: PINNED, proc=proc(tmp_path))
    assert found(findings, "open files per process").verdict == verdict


@pytest.mark.parametrize(
    "bounds,reuse,clients,verdict",
    [
        ("32768 60999", "2", None, "ok"),
        ("32768 60999", "2", 20000, "ok"),
        ("32768 60999", "0", 14000, "ok"),
        ("32768 60999", "0", 20000, "warn"),
        ("32768 60999", "nonsense", 20000, "warn"),
        ("32768 60999", "2", 28233, "bad"),
        ("1024 65535", "2", 1000, "warn"),
        ("nonsense", "2", 1000, "warn"),
    ],
)
def test_ephemeral_ports(tmp_path: Path, bounds: str, reuse: str, clients: int | None, verdict: str) -> None:
    """One port per client and server address; overlap with our listeners and quick reconnections cause warnings."""
    machine = proc(tmp_path, range=bounds, reuse=reuse)
    assert found(examine(plan(clients), lambda: PINNED, proc=machine), "ephemeral ports").verdict == verdict


@pytest.mark.parametrize("clients,verdict", [(None, "warn"), (100, "ok"), (129, "warn")])
def test_short_queues(tmp_path: Path, clients: int | None, verdict: str) -> None:
    """A queue shorter than the fleet, up to the server's backlog, makes a herd wait."""
    findings = examine(plan(clients), lambda: PINNED, proc=proc(tmp_path, somaxconn="128"))
    finding = found(findings, "net.core.somaxconn")
    assert finding.verdict == verdict
    assert (finding.verdict == "ok") == (finding.advice == "")


def test_files_of_the_whole_machine(tmp_path: Path) -> None:
    """Four files per client."""
    machine = proc(tmp_path, **{"file-max": "3999"})
    assert found(examine(plan(1000), lambda: PINNED, proc=machine), "open files on the machine").verdict == "bad"
    assert found(examine(plan(999), lambda: PINNED, proc=machine), "open files on the machine").verdict == "ok"


def test_missing_tables_are_warnings(tmp_path: Path) -> None:
    """Each finding says that its limit could not be read."""
    missing = tmp_path / "none"
    unknown = [f for f in examine(plan(10), lambda: PINNED, proc=missing, cgroups=missing) if f.value == "unknown"]
    assert len(unknown) == 5
    assert all(f.verdict == "warn" and "cannot be read here" in f.advice for f in unknown)


def test_no_go_is_only_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may still be found, or Go's wheel fetched."""
    monkeypatch.setattr(examination, "find_go", lambda: None)
    assert found(examine(None, lambda: PINNED, proc=proc(tmp_path)), "go").verdict == "warn"


@pytest.mark.parametrize(
    "available_kb, group, clients, verdict",
    [
        (8_000_000, {}, 5_000, "ok"),
        (400_000, {}, None, "ok"),
        (300_000, {}, None, "bad"),
        (400_000, {}, 1_000, "bad"),
        (8_000_000, {"memory.max": "max", "memory.current": "1"}, 5_000, "ok"),
        (8_000_000, {"memory.max": "600000000", "memory.current": "200000000"}, 5_000, "bad"),
        (8_000_000, {"memory/memory.limit_in_bytes": "600000000", "memory/memory.usage_in_bytes": "0"}, 5_000, "bad"),
        (8_000_000, {"memory/memory.limit_in_bytes": str(2**63), "memory/memory.usage_in_bytes": "0"}, 5_000, "ok"),
    ],
)
def test_memory(tmp_path: Path, available_kb: int, group: dict[str, str], clients: int | None, verdict: str) -> None:
    """The least of what the machine and the control group have left, compared with the planned fleet."""
    for name, text in group.items():
        (tmp_path / "group" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "group" / name).write_text(text)
    machine = proc(tmp_path, meminfo=f"MemAvailable: {available_kb} kB")
    finding = found(examine(plan(clients), lambda: PINNED, proc=machine, cgroups=tmp_path / "group"), "memory")
    assert finding.verdict == verdict
    assert (verdict == "bad") == ("plan fewer clients" in finding.advice)


@pytest.mark.parametrize("free, clients, verdict", [(10**9, 1_000, "ok"), (10**9, 5_000, "bad"), (10**8, None, "bad")])
def test_disk_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, clients: int | None, verdict: str
) -> None:
    """Of the place where runs are written, which need not exist yet."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    findings = examine(plan(clients), lambda: PINNED, proc=proc(tmp_path), runs=tmp_path / "not" / "yet")
    finding = found(findings, "disk space for runs")
    assert (finding.verdict, str(tmp_path) in finding.value) == (verdict, True)


def test_ports_that_are_all_taken_are_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:

    def none(_: int) -> list[int]:
        raise HarnessError("only 3 of 64 ports wanted are free")

    monkeypatch.setattr(examination, "free_ports", none)
    assert examination.listening_ports().verdict == "bad"


def test_worst_of_findings() -> None:
    """Bad before warn before ok; no finding is ok."""
    ok, warn, bad = Finding("a", "", "ok"), Finding("b", "", "warn"), Finding("c", "", "bad")
    assert [worst([]), worst([ok]), worst([warn, ok]), worst([ok, bad, warn])] == ["ok", "ok", "warn", "bad"]


def test_this_machine_can_be_examined(binary: Binary) -> None:
    findings = examine(plan(100), lambda: binary)
    assert found(findings, "toxiproxy").verdict in {"ok", "warn"}
    assert len({f.name for f in findings}) == len(findings) == 14
