/** The decisions of the browser's machine agree with the Python one, number by number. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { CLASSIC, PRESETS, RetryState } from "../../../resilience/web/machine/backoff.js";
import { retryClass, retryClassOfStatus } from "../../../resilience/web/machine/close-codes.js";
import { HostMachine } from "../../../resilience/web/machine/host.js";
import { ClientFailureDetector } from "../../../resilience/web/machine/liveness.js";
import { ParticipantClient } from "../../../resilience/web/machine/participant.js";

const read = (name) => JSON.parse(readFileSync(new URL(`../../vectors/${name}.json`, import.meta.url), "utf-8"));
const camel = (object) =>
  object && Object.fromEntries(Object.entries(object).map(([k, v]) => [k.replace(/_(\w)/g, (_, c) => c.toUpperCase()), v]));

function assertClose(actual, expected, where) {
  if (typeof expected === "number" && typeof actual === "number") {
    assert.ok(Math.abs(actual - expected) <= 1e-9 * Math.max(1, Math.abs(expected)), `${where}: ${actual}, not ${expected}`);
  } else if (expected !== null && typeof expected === "object" && actual !== null && typeof actual === "object") {
    assert.deepEqual(Object.keys(actual).sort(), Object.keys(expected).sort(), where);
    for (const key of Object.keys(expected)) assertClose(actual[key], expected[key], `${where}.${key}`);
  } else assert.deepEqual(actual, expected, where);
}

for (const vector of read("backoff")) {
  test(`backoff: ${vector.name}`, () => {
    const state = new RetryState(camel(vector.policy));
    vector.steps.forEach((step, i) => {
      if (i === 0) state.lost(step.elapsed);
      if (step.asleep) state.excludeSleep(step.asleep);
      if (step.up_for !== undefined) {
        state.restored(step.elapsed - step.up_for);
        state.lost(step.elapsed);
      }
      const retry = state.next(step.elapsed, step.u, camel(step.window), step.advice);
      assertClose(retry && retry.delay, step.expect_delay, `step ${i}`);
    });
  });
}

for (const vector of read("liveness")) {
  test(`liveness: ${vector.name}`, () => {
    const detector = new ClientFailureDetector(vector.rules, 0);
    vector.steps.forEach((step, i) => {
      const calls = {
        heard: () => detector.heard(step.at),
        asked: () => detector.asked(step.at),
        answered: () => (detector.heard(step.at), detector.answered(step.at, step.owing)),
        timer: () => detector.due(step.at),
        hint: () => detector.suspect(step.at),
      };
      const action = calls[step.event]();
      if (step.expect !== undefined) assert.equal(action, step.expect, `step ${i}`);
      assertClose(detector.nextDeadline(), step.next, `step ${i}`);
    });
  });
}

test("close codes and handshake statuses have their classes", () => {
  for (const { code, class: what } of read("close_codes")) assert.equal(retryClass(code), what, String(code));
  for (const { status, class: what } of read("handshake_statuses")) assert.equal(retryClassOfStatus(status), what, String(status));
});

test("the classic preset is the contract's ladder", () => {
  const state = new RetryState(CLASSIC);
  state.lost(0);
  const delays = Array.from({ length: 11 }, () => state.next(0, 0.5, null)?.delay);
  assert.deepEqual(delays, [1, 2, 4, 8, 16, 30, 30, 30, 30, 30, undefined]);
});

function machineOf(trace) {
  const { preset, attempts, budget } = trace.rules;
  const base = PRESETS[preset];
  const backoff = { ...base, attempts: attempts ?? base.attempts, budget: budget ?? base.budget };
  const rules = { backoff, probe: { silence: 4, deadline: 2 }, openTimeout: 5, joinTimeout: 5 };
  const draw = (...words) => trace.draws[words.join("/")];
  if (trace.machine === "participant") {
    return new ParticipantClient({ event: "e", name: "Ada", instance: "tab", acceptsDeflate: true }, rules, draw);
  }
  const plan = trace.steps.flatMap((s) => s.effects).find((e) => e.message?.type === "create_event")?.message.plan ?? null;
  return new HostMachine("e", "key", plan ?? { questions: [] }, rules, draw);
}

const CALLS = {
  start: (m, s) => m.start(s.at),
  transport_opened: (m, s) => m.transportOpened(s.dial, s.at),
  transport_failed: (m, s) => m.transportFailed(s.dial, s.cause, s.at, { advice: s.advice, status: s.status }),
  transport_lost: (m, s) => m.transportLost(s.dial, s.cause, s.at, { code: s.code, advice: s.advice, reason: s.reason }),
  receive: (m, s) => m.receive(s.message, s.dial, s.at),
  receive_unknown: (m, s) => m.receiveUnknown(s.seq ?? null, s.dial, s.at),
  leave: (m, s) => m.leave(s.at),
  wake: (m, s) => m.wake(s.at),
  slept: (m, s) => m.slept(s.at),
  handle_timeout: (m, s) => m.handleTimeout(s.at),
  answer: (m, s) => m.answer(s.question, s.choice, s.at),
  order: (m, s) => m.order(s.action),
  create: (m) => m.create(),
};

/** An effect as it stands in a trace: without what is absent; of what is delivered the type alone. */
function plain(effect) {
  const told = effect.effect === "deliver" ? { effect: "deliver", message: { type: effect.message.type } } : effect;
  return JSON.parse(JSON.stringify(told));
}

for (const trace of read("client_traces")) {
  test(`trace: ${trace.name}`, () => {
    const machine = machineOf(trace);
    trace.steps.forEach((step, i) => {
      const where = `step ${i} (${step.event} at ${step.at})`;
      const returned = CALLS[step.event](machine, step);
      if (step.returned !== undefined) assert.equal(returned, step.returned, where);
      assertClose(machine.effects().map(plain), step.effects, where);
      assert.equal(machine.state, step.state, where);
      assertClose(machine.nextDeadline(), step.next, where);
    });
  });
}
