"""A Toxiproxy that is there already: named by its URL, used without touching what others have in it."""

from __future__ import annotations

import contextlib

import pytest
from click.testing import CliRunner

from chaos import cli
from chaos.ports import free_ports
from chaos.proxied_link import ProxiedLink
from chaos.toxiproxy.client import Latency, ToxiproxyApi
from chaos.toxiproxy.external import ExternalToxiproxy, ask, parse_url, require_external
from chaos.toxiproxy.process import ToxiproxyProcess
from resilience.errors import ExitCode, ToxiproxyError, UsageError
from resilience.experiment.loader import parse
from resilience.experiment.primitives import CloseAll, Direction, Drop, Impose, Lift, Refuse
from resilience.lab.canary import ProbeResult, probe
from resilience.runtime import RunClock

from ...support.deadlines import HANG_S
from ...support.http_stub import HttpStub


@pytest.mark.parametrize(
    "text, where",
    [
        ("http://127.0.0.1:8474", "http://127.0.0.1:8474"),
        ("http://proxy.example/", "http://proxy.example:8474"),
        ("http://[::1]:9", "http://[::1]:9"),
    ],
)
def test_a_url_names_a_server(text: str, where: str) -> None:
    assert parse_url(text).where == where


@pytest.mark.parametrize(
    "text", ["https://a:1", "tcp://a:1", "http://", "http://a:x", "http://a:1/proxies", "http://u:p@a:1", "http://[::1"]
)
def test_what_is_no_url_of_a_control_api_is_bad_input(text: str) -> None:
    """With the text as the user wrote it."""
    with pytest.raises(UsageError) as caught:
        parse_url(text)
    assert f"--toxiproxy {text!r}: must be http://host:port" in str(caught.value)


def test_a_bad_url_is_a_usage_error_of_the_command_and_an_absent_server_the_laboratorys() -> None:
    def run(url: str) -> BaseException | None:
        arguments = ["run", "smoke", "--toxiproxy", url]
        return CliRunner().invoke(cli.chaos, arguments, standalone_mode=False).exception

    bad, absent = run("https://127.0.0.1:1"), run(f"http://127.0.0.1:{free_ports(1)[0]}")
    assert isinstance(bad, UsageError)
    assert isinstance(absent, ToxiproxyError)
    assert "start it, or leave --toxiproxy out" in str(absent)
    assert absent.exit_code == ExitCode.HARNESS


def test_doctor_examines_a_server_by_its_url() -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    done = CliRunner().invoke(cli.chaos, ["doctor", "--toxiproxy", url], standalone_mode=False)
    assert done.return_value == ExitCode.HARNESS
    assert "not found" in done.output


@pytest.fixture
def external(server: ToxiproxyProcess) -> ExternalToxiproxy:
    """A server that others use too."""
    return ExternalToxiproxy(server.host, server.api_port)


async def test_its_version_is_asked_for(external: ExternalToxiproxy) -> None:
    said = list[str]()
    found = await ask(external, said.append)
    assert found.version
    assert all(external.where in line for line in said)


async def test_a_link_uses_one_proxy_of_its_own_and_leaves_no_trace(
    external: ExternalToxiproxy, api: ToxiproxyApi, clock: RunClock
) -> None:
    """Faults act on the link; another proxy keeps its toxic throughout; two links of one name do not meet."""
    async with HttpStub() as stub:
        other = await api.create_proxy("others", "127.0.0.1:0", str(stub.address))
        await api.add_toxic("others", Latency(stream="upstream", latency_ms=1, jitter_ms=0, name="theirs"))
        links = [ProxiedLink.share("alpha", external, clock) for _ in range(2)]
        for link in links:
            await link.connect(stub.address)
        first, second = links
        assert len(await api.list_proxies()) == 3
        conditions = ((Refuse(), HANG_S, ProbeResult.REFUSED), (Drop(Direction.BOTH), 0.3, ProbeResult.SILENT))
        for condition, within, met in conditions:
            await first.apply(Impose(condition))
            assert await probe(first.address, within) is met
            assert await probe(second.address, HANG_S) is ProbeResult.ANSWERED
            await first.apply(Lift(condition))
            assert await probe(first.address, HANG_S) is ProbeResult.ANSWERED
        await first.apply(CloseAll())
        assert await first.revive() is None
        first._broken = True
        await first.repair()
        assert await probe(first.address, HANG_S) is ProbeResult.ANSWERED
        for link in links:
            await link.close()
        left = await api.list_proxies()
    assert list(left) == ["others"]
    assert left["others"].toxic("theirs") is not None
    assert left["others"].enabled
    assert left["others"].port == other.port


async def test_a_proxy_that_another_user_deletes_is_made_again_and_that_is_said(
    external: ExternalToxiproxy, api: ToxiproxyApi, clock: RunClock
) -> None:
    link = ProxiedLink.share("alpha", external, clock)
    async with HttpStub() as stub:
        await link.connect(stub.address)
        for name in await api.list_proxies():
            await api.delete_proxy(name)
        assert await link.revive() == "the proxy of alpha was deleted by another program"
        assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED
        await link.close()


async def test_a_link_whose_server_has_gone_ends_without_an_error(
    server: ToxiproxyProcess, external: ExternalToxiproxy, clock: RunClock
) -> None:
    link = ProxiedLink.share("alpha", external, clock)
    async with HttpStub() as stub:
        await link.connect(stub.address)
        server.kill()
        with pytest.raises(ToxiproxyError):
            await link.revive()
        await link.close()


# before a run ---------------------------------------------------------------------------------------------------------

TEXT = """
name = "x"
duration = 40.0
cohorts = [{name = "a", clients = 1}]
faults = [{kind = "KIND", cohorts = ["a"], at = 15.0, duration = 2.0}]
"""


def test_freeze_needs_a_process_of_the_runs_own() -> None:
    found = ExternalToxiproxy("127.0.0.1", 1)
    require_external(parse(TEXT.replace("KIND", "stall"), "x.toml"), found)
    with pytest.raises(UsageError, match=r"faults\[0\]\.kind = 'freeze': .* leave --toxiproxy out, or use stall"):
        require_external(parse(TEXT.replace("KIND", "freeze"), "x.toml"), found)


def test_a_server_elsewhere_cannot_reach_a_target_of_this_machine() -> None:
    elsewhere, chosen = ExternalToxiproxy("proxy.example", 8474), parse(TEXT.replace("KIND", "stall"), "x.toml")
    with pytest.raises(UsageError, match=r"cannot reach a target that this runner starts on 127\.0\.0\.1"):
        require_external(chosen, elsewhere)
    table = '[target]\nkind = "external"\naddress = "chat.example:80"\n'
    require_external(parse(TEXT.replace("KIND", "stall") + table, "x.toml"), elsewhere)


async def test_a_server_that_is_too_old_is_refused_with_the_version_that_is_right(
    monkeypatch: pytest.MonkeyPatch, external: ExternalToxiproxy
) -> None:
    async def version(_: ToxiproxyApi) -> str:
        return "2.5.0"

    monkeypatch.setattr(ToxiproxyApi, "version", version)
    with pytest.raises(ToxiproxyError, match=r"is Toxiproxy 2\.5\.0, too old for a run: use 2\.12\.0"):
        await ask(external)


def test_the_invalid_json_of_an_older_server_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(ToxiproxyApi("127.0.0.1", 1)) as api:
        monkeypatch.setattr(api._wire, "send", lambda *_, **__: b'{"version": "2.6.0"\\}\\n')
        assert api._version() == "2.6.0"
