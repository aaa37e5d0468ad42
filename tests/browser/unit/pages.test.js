/** What the pages decide in addition to the machine that Python has: pausing, quality, the view, plans, addresses, the hook. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { spokenTime } from "../../../resilience/web/components/countdown.js";
import { Leaderboard } from "../../../resilience/web/components/leaderboard.js";
import { CLASSIC, WINDOW } from "../../../resilience/web/machine/backoff.js";
import { profileOf, PROBES } from "../../../resilience/web/machine/network-profile.js";
import { ParticipantClient } from "../../../resilience/web/machine/participant.js";
import { exampleDraft, parseDraft, planOf, problemOf } from "../../../resilience/web/machine/plan-draft.js";
import { QualityMeter } from "../../../resilience/web/machine/quality.js";
import { EMPTY_VIEW, rankOf, reduceView, viewOfSnapshot, withChoice } from "../../../resilience/web/machine/quiz-view.js";
import { Reconnection } from "../../../resilience/web/machine/reconnection.js";
import { isLoopback } from "../../../resilience/web/pages/addresses.js";

const CREDENTIALS = { participant: "p1", token: "T", generation: 1, connection_no: 1 };
const TIMING = { heartbeat_ms: 1, grace_ms: 1, cleanup_ms: 1, spread_ms: 100, step_ms: 300, cap_ms: 3000 };
const ROSTER = { count: 2, players: [], leaders: [] };
const QUESTION = { id: "q1", text: "?", choices: ["a", "b"], time_ms: 9000, remaining_ms: 9000 };
const welcome = (snapshot = {}) => ({
  type: "joined",
  credentials: CREDENTIALS,
  timing: TIMING,
  snapshot: { epoch: "x", seq: 1, phase: "lobby", score: 0, server_time_ms: 0, roster: ROSTER, ...snapshot },
});

function client(backoff = WINDOW) {
  const rules = { backoff, probe: PROBES.default, openTimeout: 5, joinTimeout: 5 };
  return new ParticipantClient({ event: "e", name: "Ada", instance: "i" }, rules, () => 0.5);
}

const dialsIn = (machine) => machine.effects().filter((effect) => effect.effect === "open").length;

// pausing --------------------------------------------------------------------------------------------------------------

test("a paused wait has no deadline and spends no attempt; its end dials at once", () => {
  const machine = client();
  machine.start(0);
  machine.setPaused(true, 0.1);
  machine.transportFailed(1, "refused", 0.2);
  const { attempt } = machine.backoff;
  assert.equal(machine.nextDeadline(), null);
  machine.handleTimeout(500);
  assert.equal(machine.state, "backing_off");
  machine.effects();
  machine.setPaused(false, 500);
  assert.equal(dialsIn(machine), 1);
  assert.equal(machine.backoff.attempt, attempt);
});

test("hours of pause are not charged to the budget", () => {
  const machine = client();
  machine.start(0);
  machine.transportFailed(1, "refused", 0);
  machine.setPaused(true, 0);
  machine.setPaused(false, 36_000);
  machine.transportFailed(machine.dial, "refused", 36_000);
  assert.equal(machine.state, "backing_off");
});

test("an open session is not disturbed by a pause, and is probed at its end", () => {
  const machine = client();
  machine.start(0);
  machine.transportOpened(1, 0);
  machine.receive(welcome(), 1, 0);
  machine.effects();
  machine.setPaused(true, 1);
  assert.notEqual(machine.nextDeadline(), null);
  machine.setPaused(false, 2);
  assert.deepEqual(machine.effects().filter((e) => e.effect === "send"), [{ effect: "send", message: { type: "probe", id: 1 } }]);
});

test("a sleep in a pause makes no dial and spends no attempt; the end of the pause corrects the time", () => {
  const away = client();
  away.start(0);
  away.setPaused(true, 0.1);
  away.transportFailed(1, "refused", 0.2);
  const { attempt } = away.backoff;
  away.effects();
  away.slept(10);
  assert.equal(dialsIn(away), 0);
  assert.equal(away.backoff.attempt, attempt);

  const machine = open();
  machine.receive(opened(2), 1, 1);
  machine.setPaused(true, 2);
  machine.effects();
  machine.slept(3);
  assert.equal(machine.state, "open");
  assert.equal(dialsIn(machine), 0);
  machine.setPaused(false, 4);
  assert.equal(dialsIn(machine), 1);
  machine.transportOpened(2, 5);
  machine.receive(welcome(), 2, 5);
  machine.effects();
  machine.setPaused(true, 6);
  machine.setPaused(false, 7);
  assert.equal(machine.state, "open");
});

test("reset begins the ladder again, and is harmless when repeated", () => {
  const machine = client(CLASSIC);
  machine.start(0);
  for (let i = 0; i < 4; i += 1) {
    machine.transportFailed(machine.dial, "refused", i);
    machine.handleTimeout(machine.nextDeadline());
  }
  machine.transportFailed(machine.dial, "refused", 20);
  machine.effects();
  machine.reset(20);
  machine.reset(20);
  assert.equal(dialsIn(machine), 1);
  machine.transportFailed(machine.dial, "refused", 20);
  assert.equal(machine.nextDeadline(), 21);
});

test("reset after giving up dials", () => {
  const machine = client({ ...CLASSIC, attempts: 1 });
  machine.start(0);
  machine.transportFailed(1, "refused", 0);
  machine.handleTimeout(1);
  machine.transportFailed(2, "refused", 1);
  assert.equal(machine.state, "gave_up");
  machine.effects();
  machine.reset(2);
  assert.equal(dialsIn(machine), 1);
});

// how fresh a message is -----------------------------------------------------------------------------------------------

/** A client with a session since 0. */
function open() {
  const machine = client();
  machine.start(0);
  machine.transportOpened(1, 0);
  machine.receive(welcome(), 1, 0);
  machine.effects();
  return machine;
}

const opened = (seq) => ({ type: "question_opened", seq, question: QUESTION });
const presence = (seq) => ({ type: "presence_changed", seq, count: 2, joined: [], changed: [] });
const probes = (machine) => machine.effects().flatMap((e) => (e.effect === "send" && e.message.type === "probe" ? [e.message.id] : []));

test("a message that comes in its time was not held", () => {
  const machine = open();
  machine.receive(opened(2), 1, 3);
  assert.equal(machine.heldFor, 0);
});

test("messages behind a stalled link may have waited since the last one, until a probe is answered", () => {
  const machine = open();
  machine.handleTimeout(4);
  const [id] = probes(machine);
  machine.receive(presence(2), 1, 5.5);
  machine.receive(presence(3), 1, 5.5);
  assert.equal(machine.heldFor, 5.5);
  machine.receive({ type: "probe_reply", id }, 1, 5.5);
  assert.equal(machine.heldFor, 0);
});

test("a probe that is under way, or a page that is a little late, shows no hold", () => {
  const machine = open();
  machine.handleTimeout(4);
  machine.receive(opened(2), 1, 4.9);
  assert.equal(machine.heldFor, 0);
  machine.receive(opened(3), 1, 10); // its own timer was due at 8.9
  assert.equal(machine.heldFor, 0);
});

test("messages of a sleep were held, even after the reply to a probe of before", () => {
  const machine = open();
  machine.handleTimeout(4);
  const [before] = probes(machine);
  machine.receive({ type: "probe_reply", id: before }, 1, 60); // from the buffer, in one go
  machine.receive(presence(2), 1, 60);
  assert.equal(machine.heldFor, 60);
  const [after] = probes(machine);
  machine.receive({ type: "probe_reply", id: after }, 1, 60.1);
  assert.equal(machine.heldFor, 0);
});

test("a new snapshot is fresh, and only an open connection is given up for one", () => {
  const machine = open();
  machine.handleTimeout(4);
  machine.receive(opened(2), 1, 5);
  machine.resume("question_held", 5);
  assert.equal(machine.state, "backing_off");
  machine.resume("question_held", 5);
  machine.handleTimeout(machine.nextDeadline());
  machine.transportOpened(2, 6);
  machine.receive({ ...welcome(), type: "state_restored" }, 2, 6);
  assert.deepEqual([machine.state, machine.heldFor], ["open", 0]);
});

// the hook's ladder ----------------------------------------------------------------------------------------------------

test("useReconnection's ladder is 1, 2, 4, 8, 16, 30 s, ten attempts, then it has given up", () => {
  const machine = new Reconnection();
  const waits = [];
  let at = 0;
  machine.setWanted(true, at);
  while (!machine.hasGivenUp) {
    waits.push(machine.nextAttemptSeconds(at));
    assert.equal(machine.attemptCount, waits.length);
    at = machine.dueAt;
    assert.equal(machine.takeAttempt(at - 0.001), false);
    assert.equal(machine.takeAttempt(at), true);
    assert.equal(machine.nextAttemptSeconds(at), 0);
    machine.attemptEnded(at);
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]);
  assert.equal(machine.isReconnecting, false);
  assert.equal(machine.nextAttemptSeconds(at), null);
  machine.reset(at);
  assert.equal(machine.takeAttempt(at), true);
});

test("success ends it, and five stable seconds begin a new ladder", () => {
  const machine = new Reconnection({ initialDelay: 500, backoffMultiplier: 3, maxAttempts: 3 });
  machine.setWanted(true, 0);
  machine.takeAttempt(0.5);
  machine.attemptEnded(0.5);
  machine.setWanted(false, 1);
  assert.equal(machine.attemptCount, 0);
  machine.setWanted(true, 2); // unstable: the ladder continues
  assert.equal(machine.dueAt, 6.5);
  machine.setWanted(false, 3);
  machine.setWanted(true, 10);
  assert.equal(machine.dueAt, 10.5);
});

test("the countdown never rises while one wait lasts", () => {
  const machine = new Reconnection();
  machine.setWanted(true, 0);
  machine.takeAttempt(1);
  machine.attemptEnded(1);
  const shown = Array.from({ length: 20 }, (_, i) => machine.nextAttemptSeconds(1 + i / 10));
  assert.deepEqual(shown, [...shown].sort((a, b) => b - a));
});

test("a paused hook makes no attempt", () => {
  const machine = new Reconnection();
  machine.setWanted(true, 0);
  machine.setPaused(true, 0);
  assert.equal(machine.takeAttempt(100), false);
  assert.equal(machine.nextAttemptSeconds(100), null);
  machine.setPaused(false, 100);
  assert.equal(machine.takeAttempt(100), true);
  assert.equal(machine.attemptCount, 1);
});

// quality --------------------------------------------------------------------------------------------------------------

test("two bad samples worsen the quality, ten good seconds improve it, a loss shows at once", () => {
  const meter = new QualityMeter();
  const after = (rtt, at) => (meter.sample(rtt, at), meter.quality);
  assert.equal(after(0.05, 0), "good");
  assert.equal(after(1, 1), "good");
  assert.equal(after(0.05, 2), "good");
  assert.equal(after(1, 3), "good");
  assert.equal(after(1, 4), "poor");
  assert.equal(after(0.05, 5), "poor");
  assert.equal(after(0.05, 14.9), "poor");
  assert.equal(after(0.05, 15), "good");
  meter.lost();
  assert.equal(meter.quality, "offline");
  meter.restored();
  assert.equal(meter.quality, "unknown");
  assert.equal(after(0.3, 20), "fair");
});

test("the profile follows the kind of network, and saving data comes first", () => {
  assert.equal(profileOf(undefined), "default");
  assert.equal(profileOf({ type: "wifi" }), "wifi");
  assert.equal(profileOf({ type: "cellular" }), "cellular");
  assert.equal(profileOf({ type: "wifi", saveData: true }), "saveData");
  assert.equal(profileOf({ type: "none" }), "default");
});

test("new probe timeouts hold at once", () => {
  const machine = client();
  machine.start(0);
  machine.transportOpened(1, 0);
  machine.receive(welcome(), 1, 0);
  assert.equal(machine.nextDeadline(), 4);
  machine.setProbeTimeouts(PROBES.cellular);
  assert.equal(machine.nextDeadline(), 10);
});

// the view -------------------------------------------------------------------------------------------------------------

test("a reloaded page equals one that was not", () => {
  let live = viewOfSnapshot(welcome(), new Map(), 0);
  live = reduceView(live, { type: "question_opened", seq: 2, question: QUESTION }, 10);
  live = withChoice(live, 1);
  live = reduceView(live, { type: "answer_result", question: "q1", key: "k", verdict: "accepted" }, 11);
  const reloaded = viewOfSnapshot(welcome({ phase: "question", question: { ...QUESTION, remaining_ms: 7000 }, answer: 1 }), new Map(), 12);
  const shown = (view) => ({ ...view, question: { ...view.question, remaining_ms: 0 } }); // the time left is in closesAt
  assert.deepEqual(shown(reloaded), shown(live));
});

test("an unsent choice is shown after a restore, and a verdict on an older question does not touch the present one", () => {
  const message = welcome({ phase: "question", question: QUESTION });
  const view = viewOfSnapshot(message, new Map([["q1", 0]]), 5);
  assert.deepEqual([view.choice, view.verdict], [0, null]);
  assert.equal(reduceView(view, { type: "answer_result", question: "q0", key: "k", verdict: "rejected_late" }, 6), view);
});

test("a rank counts those with more points, and is unknown below the leaderboard and once the score is another", () => {
  const leaders = [5, 5, 3].map((score, i) => ({ participant: `p${i}`, name: "n", score }));
  const rank = (participant, score) => rankOf({ ...EMPTY_VIEW, leaders, participant, score });
  assert.deepEqual([rank("p1", 5), rank("p2", 3), rank("p2", 8), rank("p9", 0)], [1, 3, null, null]);
});

/** The words of what a component shows, one text after the other. @param {any} shown @returns {string[]} */
const words = (shown) => {
  if (Array.isArray(shown)) return shown.flatMap(words);
  if (typeof shown === "object" && shown !== null) return words(shown.props.children);
  return typeof shown === "string" || typeof shown === "number" ? [String(shown)] : [];
};

test("who is not among the best sees the own points below them, and a host sees none", () => {
  const leaders = [{ participant: "p1", name: "Ada", score: 9 }];
  const below = (props) => words(Leaderboard({ leaders, ...props })).join("").split("Ada")[1];
  assert.equal(below({ own: "p2", score: 3 }), "9You have 3 points.");
  assert.equal(below({ own: "p1", score: 9 }), " (you)9");
  assert.equal(below({}), "9");
});

test("the time left is said at ten and five seconds, and what is said is true for a page that comes later too", () => {
  const said = (total, ...times) => times.map((left) => spokenTime(left, total));
  const [ten, five] = ["10 seconds left.", "5 seconds left."];
  assert.deepEqual(said(20, 20, 10.1, 10, 9.1, 9, 6, 5.1, 5, 4.1, 4, 0), ["", "", ten, ten, "", "", "", five, five, "", ""]);
  assert.deepEqual(said(10, 10, 9.5, 5), ["", "", five]);
  assert.deepEqual(said(5, 5, 0.5, 0), ["", "", ""]);
});

// plans ----------------------------------------------------------------------------------------------------------------

test("a plan leaves empty choices out and keeps the right one", () => {
  const draft = { title: " ", questions: [{ text: " A? ", choices: ["", "x", "", "y"], correct: 3, seconds: 5 }] };
  assert.equal(problemOf(draft), "");
  assert.deepEqual(planOf(draft), { questions: [{ id: "q1", text: "A?", choices: ["x", "y"], correct: 1, time_s: 5 }] });
  assert.equal(problemOf(exampleDraft()), "");
});

test("what is wrong with a draft is said with its place", () => {
  const draft = (more) => ({ title: "", questions: [{ text: "A?", choices: ["x", "y"], correct: 0, seconds: 5, ...more }] });
  assert.match(problemOf(draft({ text: " " })), /Question 1 has no text/);
  assert.match(problemOf(draft({ choices: ["x", ""] })), /at least two/);
  assert.match(problemOf(draft({ choices: ["x", " x"] })), /equal/);
  assert.match(problemOf(draft({ choices: ["", "x", "y"] })), /no right choice/);
  assert.match(problemOf(draft({ seconds: Number.NaN })), /1 to 3600/);
});

test("a stored draft that is damaged is none", () => {
  for (const text of [null, "", "{", "3", '{"title": "a", "questions": []}', '{"title": "a", "questions": [{}]}']) {
    assert.equal(parseDraft(text), null, String(text));
  }
  assert.deepEqual(parseDraft(JSON.stringify(exampleDraft())), exampleDraft());
});

// addresses ------------------------------------------------------------------------------------------------------------

test("an address at which only this computer finds the pages is known", () => {
  const own = ["localhost", "quiz.localhost", "127.0.0.1", "127.1.2.3", "[::1]", "0.0.0.0", "[::]"];
  const shared = ["192.168.1.7", "10.127.0.1", "127.example", "localhost.example", "quiz.example", "[fd00::1]", "[::ffff:1]"];
  assert.deepEqual(own.filter((host) => !isLoopback(host)), []);
  assert.deepEqual(shared.filter(isLoopback), []);
});
