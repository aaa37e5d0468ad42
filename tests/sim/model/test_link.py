"""One link with both ends played by the test: latencies, order, and each fault as the proxy would do it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from resilience.errors import InjectionError
from resilience.experiment.costs import ModelCosts
from resilience.experiment.primitives import (
    CloseAll,
    Condition,
    CutAfter,
    Delay,
    Direction,
    Drop,
    Freeze,
    Hold,
    HoldClose,
    Impose,
    Lift,
    Refuse,
    Slice,
    Throttle,
)
from resilience.protocol.messages import ClientMessage, Ping, Probe, ServerMessage
from sim.model.clock import SimEnvironment
from sim.model.connection import UPGRADE, ModelConnection
from sim.model.link import ModelLink
from sim.model.threads import ModelProcessors

COSTS = ModelCosts(latency=0.010, connect=0.004, close_timeout=1.0)
OPEN_AT = 0.024
"""Dial at 0: connected at 4 ms, request there at 14 ms, response back at 24 ms (this server takes no time)."""


class Ends:
    """Both ends of a link; ``seen`` is what they received, with milliseconds."""

    actor = "client"
    is_up = True

    def __init__(self, costs: ModelCosts = COSTS) -> None:
        self.clock = SimEnvironment()
        self.link = self.make_link(costs)
        self.seen: list[tuple[float, str]] = []

    def make_link(self, costs: ModelCosts = COSTS, **others: Callable[[int], float]) -> ModelLink:
        """A link between these ends, with a proxy that shares no processor."""
        return ModelLink(self.clock, costs, self, **others, thread=ModelProcessors(self.clock, costs).thread())

    def dial(self, number: int) -> ModelConnection:
        """The client dials."""
        connection = ModelConnection(self.link, self, number)
        self.link.dial(connection)
        return connection

    def _see(self, what: str) -> None:
        self.seen.append((round(self.clock.now * 1000, 6), what))

    def upgrade(self, connection: ModelConnection) -> None:
        self._see("upgrade")
        connection.key = 1
        self.link.send_down(connection, UPGRADE, self.clock.now)

    def opened(self, connection: ModelConnection) -> None:
        self._see("opened")

    def failed(self, connection: ModelConnection, cause: str) -> None:
        self._see(f"failed {cause}")

    def lost(self, connection: ModelConnection, cause: str, code: int | None = None) -> None:
        self._see(f"server lost {cause}" if code is None else f"client lost {cause} {code}")

    def receive(self, connection: ModelConnection, message: ClientMessage | ServerMessage) -> None:
        self._see(repr(message).partition(",")[0])

    def at(self, ms: float, action: Callable[..., ModelConnection | None], *arguments: object) -> None:
        """Call something at a time in milliseconds."""

        def act(_: object) -> None:
            action(*arguments)

        self.clock.at(ms / 1000, act)

    def up(self, connection: ModelConnection, ms: float, number: int) -> None:
        """The client says something."""
        self.at(ms, lambda: self.link.send_up(connection, Probe(number)))

    def down(self, connection: ModelConnection, ms: float, number: int) -> None:
        """The server says something."""
        self.at(ms, lambda: self.link.send_down(connection, Ping(number, 0, 0, 0), self.clock.now))

    def holding(self, condition: Condition, ms: float, until: float) -> None:
        """Have a condition hold for a time."""
        self.clock.at(ms / 1000, lambda _: self.link.apply(Impose(condition)))
        self.clock.at(until / 1000, lambda _: self.link.apply(Lift(condition)))

    def run(self, ms: float = 5000.0) -> list[tuple[float, str]]:
        """Let it happen; what was seen after the connection was open."""
        self.clock.run_until(ms / 1000)
        return [line for line in self.seen if line[1] not in ("upgrade", "opened")]


def _open() -> tuple[Ends, ModelConnection]:
    ends = Ends()
    connection = ends.dial(1)
    ends.clock.run_until(0.05)
    assert ends.seen == [(14.0, "upgrade"), (24.0, "opened")]
    return ends, connection


def test_a_proxy_dials_the_server_for_one_client_after_another() -> None:
    """As Toxiproxy does: two dials of one moment arrive one after the other, a later one at once."""
    ends = Ends(msgspec.structs.replace(COSTS, relay=0.003))
    for ms in (0.0, 0.0, 50.0):
        ends.at(ms, ends.dial, 1)
    ends.clock.run_until(1.0)
    assert [at for at, what in ends.seen if what == "upgrade"] == [17.0, 20.0, 67.0]


def test_a_proxy_without_a_server_turns_dials_away_at_once() -> None:
    ends = Ends(msgspec.structs.replace(COSTS, relay=0.003))
    ends.is_up = False
    for _ in range(2):
        ends.at(0.0, ends.dial, 1)
    ends.clock.run_until(1.0)
    assert [at for at, what in ends.seen if what == "upgrade"] == [14.0, 14.0]


def test_messages_arrive_in_order_one_latency_later() -> None:
    """Both directions, each by itself."""
    ends, connection = _open()
    for number in (1, 2):
        ends.up(connection, 100 + number, number)
        ends.down(connection, 200 + number, number)
    assert ends.run() == [
        (111.0, "Probe(id=1)"),
        (112.0, "Probe(id=2)"),
        (211.0, "Ping(id=1"),
        (212.0, "Ping(id=2"),
    ]


def test_what_a_client_said_before_it_left_arrives_and_nothing_after() -> None:
    """The end follows the data; what the server sends meanwhile does not arrive."""
    ends, connection = _open()
    ends.up(connection, 100, 1)
    ends.at(101, ends.link.leave, connection)
    ends.up(connection, 102, 2)
    ends.down(connection, 95, 3)
    assert ends.run() == [(110.0, "Probe(id=1)"), (111.0, "server lost closed")]
    assert not ends.link.connections


def test_a_server_that_ends_a_connection_is_heard_with_its_code() -> None:
    """What was sent before the close frame arrives before it, what the client says afterwards not at all."""
    ends, connection = _open()
    ends.down(connection, 100, 1)
    ends.at(101, lambda: ends.link.end(connection, 4200, ends.clock.now))
    ends.up(connection, 100, 2)
    assert ends.run() == [(110.0, "Ping(id=1"), (111.0, "client lost close_4200 4200")]
    assert not ends.link.connections


def test_an_abort_by_the_server_has_no_code() -> None:
    """The client sees a connection that ended without a close frame."""
    ends, connection = _open()
    ends.at(100, lambda: ends.link.end(connection, None, ends.clock.now))
    assert ends.run() == [(110.0, "client lost closed 1006")]


def test_a_cut_tells_both_ends_after_half_the_way_and_loses_what_is_in_flight() -> None:
    """The proxy sits half way; a message sent just before the cut never arrives."""
    ends, connection = _open()
    ends.up(connection, 95, 1)
    ends.down(connection, 95, 2)
    ends.at(100, ends.link.cut)
    ends.up(connection, 101, 3)
    assert ends.run() == [(105.0, "client lost closed 1006"), (105.0, "server lost closed")]
    assert not ends.link.connections


def test_a_cut_fails_a_dial_whose_upgrade_is_under_way_and_spares_later_ones() -> None:
    """A handshake in flight is a connection too; the link itself is up."""
    ends = Ends()
    ends.dial(1)
    ends.at(10, ends.link.cut)
    ends.at(11, ends.dial, 2)
    assert ends.run() == [(15.0, "failed closed"), (15.0, "server lost closed")]
    assert ends.seen[-2:] == [(25.0, "upgrade"), (35.0, "opened")]


def test_a_client_that_left_is_not_notified_of_a_cut() -> None:
    """A client that closed between the cut and its notification receives none; the server is notified once."""
    ends, connection = _open()
    ends.at(100, ends.link.cut)
    ends.at(102, ends.link.leave, connection)
    assert ends.run() == [(105.0, "server lost closed")]


def test_refuse_closes_what_is_open_and_refuses_dials_until_its_end() -> None:
    """A refused dial is known after one connect time; one right after the end succeeds."""
    ends, _ = _open()
    ends.at(100, ends.link.apply, Impose(Refuse()))
    ends.at(100, ends.link.apply, CloseAll())
    ends.at(200, ends.dial, 2)
    ends.at(300, ends.link.apply, Lift(Refuse()))
    ends.at(301, ends.dial, 3)
    assert ends.run() == [(105.0, "client lost closed 1006"), (105.0, "server lost closed"), (204.0, "failed refused")]
    assert ends.seen[-1] == (325.0, "opened")


@pytest.mark.parametrize(
    "direction,arrives",
    [
        (Direction.BOTH, []),
        (Direction.UP, [(210.0, "Ping(id=2")]),
        (Direction.DOWN, [(210.0, "Probe(id=1)")]),
    ],
)
def test_a_hole_takes_the_bytes_of_its_direction_and_closes_everything_at_its_end(
    direction: Direction, arrives: list[tuple[float, str]]
) -> None:
    """Neither end is notified while it lasts; the heal closes the connection at both ends."""
    ends, connection = _open()
    ends.at(100, ends.link.open_hole, direction)
    ends.up(connection, 200, 1)
    ends.down(connection, 200, 2)
    ends.at(300, ends.link.close_hole, direction)
    assert ends.run() == [*arrives, (305.0, "client lost closed 1006"), (305.0, "server lost closed")]


@pytest.mark.parametrize("sent_at,arrives", [(94.9, True), (95.1, False)])
def test_what_has_passed_the_proxy_escapes_the_hole(sent_at: float, *, arrives: bool) -> None:
    """Bytes vanish where the proxy is, not where they are sent."""
    ends, connection = _open()
    ends.up(connection, sent_at, 1)
    ends.at(100, ends.link.open_hole, Direction.BOTH)
    assert bool(ends.run()) is arrives


@pytest.mark.parametrize("direction,reaches", [(Direction.BOTH, False), (Direction.UP, False), (Direction.DOWN, True)])
def test_a_dial_into_a_hole_hangs_until_its_end_fails_it(direction: Direction, *, reaches: bool) -> None:
    """The proxy takes the connection, no upgrade completes, and healing closes it."""
    ends = Ends()
    ends.link.open_hole(direction)
    ends.dial(1)
    ends.at(900, ends.link.close_hole, direction)
    assert ends.run() == [(905.0, "failed closed"), (905.0, "server lost closed")]
    assert ((14.0, "upgrade") in ends.seen) is reaches
    assert "opened" not in [what for _, what in ends.seen]


def test_the_end_of_a_connection_passes_a_hole() -> None:
    """A client that gives a silent server up is noticed by it at once."""
    ends, connection = _open()
    ends.at(100, ends.link.open_hole, Direction.BOTH)
    ends.at(200, ends.link.leave, connection)
    assert ends.run() == [(210.0, "server lost closed")]


def test_a_close_code_vanishes_in_a_hole_and_only_the_end_arrives() -> None:
    """A close frame is bytes: the client learns of the end when the server stops waiting for the answer."""
    ends, connection = _open()
    ends.at(100, ends.link.open_hole, Direction.DOWN)
    ends.at(200, lambda: ends.link.end(connection, 4200, ends.clock.now))
    assert ends.run() == [(1210.0, "client lost closed 1006")]


def test_an_abort_passes_a_hole_at_once() -> None:
    """Without a close frame there is nothing to wait for."""
    ends, connection = _open()
    ends.at(100, ends.link.open_hole, Direction.DOWN)
    ends.at(200, lambda: ends.link.end(connection, None, ends.clock.now))
    assert ends.run() == [(210.0, "client lost closed 1006")]


def test_faults_that_overlap_add_up() -> None:
    """The link is usable only when the last one is over, and each end closes what it must."""
    ends, _ = _open()
    link = ends.link
    link.open_hole(Direction.BOTH)
    link.open_hole(Direction.UP)
    link.apply(Impose(Refuse()))
    assert (link.refusing, link.is_silent(Direction.BOTH), link.usable) == (True, True, False)
    link.close_hole(Direction.BOTH)
    assert (link.is_silent(Direction.UP), link.is_silent(Direction.DOWN), link.is_silent(Direction.BOTH)) == (
        True,
        False,
        False,
    )
    link.apply(Lift(Refuse()))
    assert not link.usable
    link.close_hole(Direction.UP)
    assert link.usable


@pytest.mark.parametrize("condition", [Refuse(), Drop(), Drop(Direction.UP)])
def test_a_condition_that_does_not_hold_cannot_be_lifted(condition: Refuse | Drop) -> None:
    ends, _ = _open()
    with pytest.raises(InjectionError, match="no such condition"):
        ends.link.apply(Lift(condition))
    ends.link.apply(Impose(condition))
    ends.link.apply(Lift(condition))
    assert ends.link.usable


def test_the_earliest_of_two_holes_counts() -> None:
    """A second hole over the first lets nothing through that the first one took."""
    ends, connection = _open()
    ends.at(100, ends.link.open_hole, Direction.UP)
    ends.up(connection, 150, 1)
    ends.at(157, ends.link.open_hole, Direction.UP)
    assert ends.run() == []


# stalls, freezes and delays: the proxy is half way, 5 ms from either end ----------------------------------------------


def test_a_stall_holds_what_is_at_the_proxy_and_lets_it_through_in_order() -> None:
    """What has passed the proxy arrives; what comes to it during the stall arrives half a way after the end."""
    ends, connection = _open()
    for number, ms in enumerate((94.0, 96.0, 150.0, 194.0, 197.0), 1):
        ends.up(connection, ms, number)
    ends.holding(Hold(), 100.0, 200.0)
    assert ends.run() == [
        (104.0, "Probe(id=1)"),
        (205.0, "Probe(id=2)"),
        (205.0, "Probe(id=3)"),
        (205.0, "Probe(id=4)"),
        (207.0, "Probe(id=5)"),
    ]


def test_a_stall_of_one_direction_leaves_the_other() -> None:
    ends, connection = _open()
    ends.holding(Hold(Direction.DOWN), 100.0, 200.0)
    ends.up(connection, 110.0, 1)
    ends.down(connection, 110.0, 2)
    assert ends.run() == [(120.0, "Probe(id=1)"), (205.0, "Ping(id=2")]


def test_a_close_waits_for_a_stall_only_behind_bytes() -> None:
    for says, closed_at in ((False, 130.0), (True, 205.0)):
        ends, connection = _open()
        ends.holding(Hold(), 100.0, 200.0)
        if says:
            ends.up(connection, 110.0, 1)
        ends.at(120.0, ends.link.leave, connection)
        assert ends.run()[-1] == (closed_at, "server lost closed")


def test_a_freeze_holds_closes_and_dials_and_what_is_ordered_meanwhile() -> None:
    ends, connection = _open()
    ends.holding(Freeze(), 100.0, 200.0)
    ends.at(110.0, ends.link.leave, connection)
    ends.at(120.0, lambda: ends.dial(2))
    ends.holding(Refuse(), 130.0, 140.0)
    ends.at(150.0, lambda: ends.link.apply(Impose(Refuse())))
    ends.at(220.0, lambda: ends.dial(3))
    assert ends.run() == [(205.0, "server lost closed"), (224.0, "failed refused")]
    assert ends.seen[2:] == [
        (205.0, "server lost closed"),
        (205.0, "upgrade"),
        (215.0, "opened"),
        (224.0, "failed refused"),
    ]


def test_a_cut_during_a_freeze_ends_connections_when_it_is_over() -> None:
    ends, _ = _open()
    ends.holding(Freeze(), 100.0, 200.0)
    ends.at(150.0, lambda: ends.link.apply(CloseAll()))
    assert ends.run() == [(205.0, "client lost closed 1006"), (205.0, "server lost closed")]


@pytest.mark.parametrize("u", [0.0, 0.25, 0.999])
def test_a_delay_with_spread_is_within_it_and_overtakes_nothing(u: float) -> None:
    """Each message draws its own; a later one with a smaller delay waits for the one before."""
    draws = iter([u, 0.0, 0.5])
    ends = Ends()
    ends.link = ends.make_link(draw=lambda _: next(draws, 0.5))
    connection = ends.link.hold(ends)
    ends.holding(Delay(0.100, 0.050), 0.0, 900.0)
    for number in (1, 2):
        ends.up(connection, 10.0, number)
    ends.up(connection, 300.0, 3)
    first = 20.0 + 100.0 + 50.0 * (2 * u - 1)
    assert [at for at, _ in ends.run()] == pytest.approx([first, max(first, 70.0), 410.0], abs=1e-3)


def test_the_end_of_a_delay_brings_forward_what_it_held_and_closes_nothing() -> None:
    ends, connection = _open()
    ends.holding(Delay(0.4), 100.0, 200.0)
    ends.up(connection, 110.0, 1)
    ends.up(connection, 199.0, 2)
    ends.up(connection, 201.0, 3)
    assert ends.run() == [(205.0, "Probe(id=1)"), (209.0, "Probe(id=2)"), (211.0, "Probe(id=3)")]


def test_a_delay_does_not_delay_a_bare_close() -> None:
    ends, connection = _open()
    ends.holding(Delay(0.4), 100.0, 900.0)
    ends.at(120.0, ends.link.leave, connection)
    assert ends.run() == [(130.0, "server lost closed")]


@pytest.mark.parametrize("condition", [Throttle(1000), Slice(8, 0.01), CutAfter(10), HoldClose(1.0)], ids=repr)
def test_what_needs_bytes_is_an_error(condition: Condition) -> None:
    ends, _ = _open()
    with pytest.raises(InjectionError, match="not bytes"):
        ends.link.apply(Impose(condition))
