/** The driver over a fake WebSocket: it reports under the dial's number, and never waits for a dead socket. */

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { ConnectionDriver } from "../../../resilience/web/client/driver.js";
import { WINDOW } from "../../../resilience/web/machine/backoff.js";
import { ParticipantClient } from "../../../resilience/web/machine/participant.js";

class FakeSocket {
  static OPEN = 1;
  static all = [];
  readyState = 0;
  sent = [];
  closed = 0;
  constructor(url) {
    this.url = url;
    FakeSocket.all.push(this);
  }
  open() {
    this.readyState = 1;
    this.onopen?.();
  }
  say(message) {
    this.onmessage?.({ data: typeof message === "string" ? message : JSON.stringify(message) });
  }
  send(text) {
    this.sent.push(JSON.parse(text).type);
  }
  close() {
    this.closed += 1;
  }
}

const WELCOME = {
  type: "joined",
  credentials: { participant: "p", token: "T", generation: 1, connection_no: 1 },
  timing: { heartbeat_ms: 1, grace_ms: 1, cleanup_ms: 1, spread_ms: 60_000, step_ms: 60_000, cap_ms: 60_000 },
  snapshot: { epoch: "x", seq: 0, phase: "lobby", score: 0, server_time_ms: 0, roster: { count: 1, players: [], leaders: [] } },
};

beforeEach(() => {
  FakeSocket.all = [];
  globalThis.WebSocket = FakeSocket;
});

function started({ durable = true } = {}) {
  const rules = { backoff: WINDOW, probe: { silence: 4, deadline: 2 }, openTimeout: 5, joinTimeout: 5 };
  const machine = new ParticipantClient({ event: "e", name: "Ada", instance: "i" }, rules, () => 0.9);
  const told = { delivered: [], rtts: [] };
  const driver = new ConnectionDriver(machine, "ws://x/ws", {
    deliver: (message) => told.delivered.push(message.type),
    changed: () => {},
    record: () => {},
    roundTrip: (rtt) => told.rtts.push(rtt),
    storeToken: () => Promise.resolve(durable),
  });
  driver.act((at) => machine.start(at));
  const [socket] = FakeSocket.all;
  return { machine, driver, socket, told };
}

const settled = () => new Promise((done) => setImmediate(done));

test("a token is confirmed only once it is durable", async () => {
  for (const durable of [true, false]) {
    FakeSocket.all = [];
    const { driver, socket } = started({ durable });
    socket.open();
    socket.say(WELCOME);
    await settled();
    assert.deepEqual(socket.sent, durable ? ["join", "token_stored"] : ["join"]);
    driver.stop();
  }
});

test("a socket that was abandoned has no handlers, is closed, and is not waited for", () => {
  const { machine, driver, socket, told } = started();
  socket.open();
  socket.say(WELCOME);
  const handler = socket.onmessage;
  driver.act((at) => machine.abortTransport("silence", at));
  assert.equal(machine.state, "backing_off");
  assert.deepEqual([socket.onopen, socket.onmessage, socket.onclose, socket.closed], [null, null, null, 1]);
  const before = told.delivered.length;
  handler({ data: JSON.stringify({ type: "score_changed", question: "q", points: 1, score: 1 }) });
  assert.equal(told.delivered.length, before);
  driver.stop();
});

test("a close before the opening is a failed dial, after it a loss with its code and advice", () => {
  const { machine, driver, socket } = started();
  socket.onclose({ code: 1006, reason: "" });
  assert.equal(machine.state, "backing_off");
  driver.act((at) => machine.wake(at));
  const second = FakeSocket.all[1];
  second.open();
  second.onclose({ code: 4200, reason: "newer" });
  assert.equal(machine.state, "closed");
  assert.deepEqual(machine.dismissal, { code: 4200, status: null, reason: "newer" });
  driver.stop();
});

test("what is no message ends the connection, an unknown type does not", () => {
  const { machine, driver, socket } = started();
  socket.open();
  socket.say(WELCOME);
  socket.say({ type: "of_tomorrow", seq: 1 });
  assert.equal(machine.state, "open");
  assert.equal(machine.seq, 1);
  socket.say("{");
  assert.equal(machine.state, "backing_off");
  driver.stop();
});

test("an address that the browser refuses is a failed dial, not a thrown error", async () => {
  globalThis.WebSocket = class {
    constructor() {
      throw new SyntaxError("no");
    }
  };
  const { machine, driver } = started();
  await settled();
  assert.equal(machine.state, "backing_off");
  driver.stop();
});

test("a driver that was stopped does nothing any more", () => {
  const { machine, driver, socket } = started();
  driver.stop();
  driver.act((at) => machine.wake(at));
  assert.equal(FakeSocket.all.length, 1);
  assert.equal(socket.closed, 1);
});

test("replies are measured", () => {
  const { machine, driver, socket, told } = started();
  socket.open();
  socket.say(WELCOME);
  driver.act((at) => machine.wake(at));
  assert.deepEqual(socket.sent.at(-1), "probe");
  socket.say({ type: "probe_reply", id: 1 });
  assert.equal(told.rtts.length, 1);
  driver.stop();
});
