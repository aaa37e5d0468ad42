/**
 * A participant's session in this tab: join, return after a reload, answer, take over from another tab, leave.
 *
 * `stage` says which screen is due: `checking` the storage, `form` to join, `elsewhere` in another tab, `active`, or one of
 * the endings. Only a verdict of the server, or the participant, deletes what is stored.
 */

import { CloseCode } from "../machine/close-codes.js";
import { ParticipantClient } from "../machine/participant.js";
import { EMPTY_VIEW, reduceView, viewOfSnapshot, withChoice } from "../machine/quiz-view.js";
import { draw, randomText } from "./platform.js";
import { QuizSession } from "./session.js";
import * as store from "./session-store.js";
import { TabClaim } from "./tab-claim.js";

/** @import { Dismissal, LogRecord, ServerMessage } from "../machine/messages.js" */
/** @import { Preset } from "./session.js" */
/** @import { SessionRecord } from "./session-store.js" */

/** @typedef {"checking" | "form" | "elsewhere" | "active" | "replaced" | "over" | "left" | "unknown" | "full" | "ended"} Stage */
/** @typedef {"none" | "checking" | "recovering" | "restored" | "failed"} RecoveryState */
/** `step` of 4: session found, connected, state restored, answers synchronised. @typedef {{state: RecoveryState, step: number}} Recovery */

export const RECOVERY_STEPS = 4;

const BAD_NAME = "This name cannot be used: a name has up to 64 visible characters.";

/** @type {Record<number, Stage>} */
const STAGES = {
  [CloseCode.NORMAL]: "over",
  [CloseCode.SUPERSEDED]: "replaced",
  [CloseCode.LEFT]: "left",
  [CloseCode.EVENT_UNKNOWN]: "unknown",
  [CloseCode.EVENT_FULL]: "full",
};

export class ParticipantSession extends QuizSession {
  /** @type {Stage} */ stage = "checking";
  /** @type {Recovery} */ recovery = { state: "checking", step: 0 };
  view = EMPTY_VIEW;
  name = "";
  /** Whether the session's token is durable on this device. */ isSaved = false;
  /** @type {Dismissal | null} */ dismissal = null;
  /** What went wrong with the last join, in words. */ problem = "";
  /** Whether the session of an earlier visit is gone, and this is a new one. */ isReplacement = false;
  /** @type {{question: string, verdict: string} | null} The last verdict on an answer to an earlier question. */ lateVerdict = null;
  /** @type {Set<string>} Questions whose answer without a verdict is durable on this device. */ storedAnswers = new Set();
  #claim;

  /** @param {{event: string, preset?: Preset, url?: string}} options */
  constructor({ event, preset, url }) {
    super({ preset, url });
    this.event = event;
    this.#claim = new TabClaim(event);
  }

  // what a page asks for -------------------------------------------------------------------------------------------------

  /** Look for a session of an earlier visit, and return to it unless another tab has it. */
  async begin() {
    this.name = store.firstLook(this.event)?.name ?? "";
    this.notify();
    const record = await store.load(this.event);
    if (this.stage !== "checking") return;
    if (record === null) this.#enter("form", { state: "none", step: 0 });
    else if (await this.#claim.isTaken()) this.#enter("elsewhere", { state: "none", step: 0 });
    else await this.#resume(record);
  }

  /** Join as a new participant. @param {string} name */
  join(name) {
    this.name = name;
    this.problem = "";
    this.#start(null, []);
    this.#enter("active", { state: "none", step: 0 });
  }

  /** Take part in this tab instead of the other one. */
  async takeOver() {
    this.#enter("checking", { state: "checking", step: 0 });
    const record = await store.load(this.event);
    if (record === null) this.#enter("form", { state: "none", step: 0 });
    else await this.#resume(record);
  }

  /** Answer the open question, now or when the connection is back. @param {number} choice */
  answer(choice) {
    const { machine, view, event } = this;
    const question = view.question?.id;
    if (!(machine instanceof ParticipantClient) || question === undefined || view.choice !== null) return;
    this.driver?.act((at) => machine.answer(question, choice, at));
    const answer = machine.pending.get(question);
    if (answer === undefined) return;
    this.view = withChoice(view, choice);
    this.notify();
    store.saveAnswer(event, machine.credentials?.participant ?? "", answer).then((durable) => {
      if (durable && machine.pending.has(question)) this.storedAnswers.add(question);
      else if (durable) store.forgetAnswer(event, question);
      this.notify();
    });
  }

  /** Leave the quiz for good. */
  leave() {
    const machine = this.machine;
    if (machine !== null) this.driver?.act((at) => machine.leave(at));
    store.forget(this.event);
    this.#enter("left", { state: "none", step: 0 });
  }

  /** Back to the form, without what is stored of this event. */
  async startOver() {
    this.disconnect();
    await store.forget(this.event);
    this.#enter("form", { state: "none", step: 0 });
  }

  /** How many answers wait for a verdict. */
  get unsent() {
    return this.machine instanceof ParticipantClient ? this.machine.pending.size : 0;
  }

  /** @override */
  attach() {
    const detach = super.attach();
    this.begin();
    return () => {
      this.#claim.close();
      detach();
    };
  }

  // for the base ---------------------------------------------------------------------------------------------------------

  /** @override @param {ServerMessage} message @param {number} at */
  received(message, at) {
    if (message.type === "error") {
      this.problem = message.field === "name" ? BAD_NAME : `${message.field}: ${message.rule}`;
      return;
    }
    if (message.type === "joined" || message.type === "state_restored") {
      this.view = viewOfSnapshot(message, this.#pendingChoices(), at);
      this.lateVerdict = null;
      return;
    }
    if (message.type === "answer_result") {
      this.storedAnswers.delete(message.question);
      store.forgetAnswer(this.event, message.question);
      const { question, verdict } = message;
      if (question !== this.view.question?.id) this.lateVerdict = { question, verdict };
    }
    if (message.type === "question_opened") this.lateVerdict = null;
    this.view = reduceView(this.view, message, at);
  }

  /** @override @param {number} seconds */
  shiftTimes(seconds) {
    if (this.view.closesAt !== null) this.view = { ...this.view, closesAt: this.view.closesAt - seconds };
  }

  /** @override @param {LogRecord} record */
  recorded(record) {
    if (record.kind === "session.rejected") this.isReplacement = true;
  }

  /** @override */
  machineChanged() {
    const machine = this.machine;
    if (!(machine instanceof ParticipantClient)) return;
    this.#claim.hold(machine.state !== "closed");
    this.#advanceRecovery(machine);
    if (machine.dismissal !== null && this.dismissal === null) this.#dismissed(machine.dismissal, machine);
  }

  /** @override */
  async storeToken() {
    const machine = this.machine;
    if (!(machine instanceof ParticipantClient) || machine.credentials === null) return false;
    const { event, name } = this;
    const durable = await store.save({ version: 1, event, name, credentials: machine.credentials, savedAt: Date.now() });
    if (machine === this.machine) {
      this.isSaved = durable;
      this.notify();
    }
    return durable;
  }

  // parts ----------------------------------------------------------------------------------------------------------------

  /** @param {SessionRecord} record */
  async #resume(record) {
    const answers = await store.loadAnswers(this.event, record.credentials.participant);
    this.name = record.name;
    this.#start(record, answers);
    this.isSaved = true;
    for (const { question } of answers) this.storedAnswers.add(question);
    this.#enter("active", { state: "recovering", step: 1 });
  }

  /** @param {SessionRecord | null} record @param {import("../machine/messages.js").Answer[]} answers */
  #start(record, answers) {
    const machine = new ParticipantClient({ event: this.event, name: this.name, instance: randomText(16) }, this.rules, draw);
    machine.credentials = record?.credentials ?? null;
    for (const answer of answers) machine.pending.set(answer.question, answer);
    this.dismissal = null;
    this.view = EMPTY_VIEW;
    this.isSaved = this.isReplacement = false;
    this.storedAnswers.clear();
    this.connect(machine);
  }

  /** @param {Stage} stage @param {Recovery} recovery */
  #enter(stage, recovery) {
    this.stage = stage;
    this.recovery = recovery;
    this.notify();
  }

  /** @param {ParticipantClient} machine */
  #advanceRecovery(machine) {
    if (this.recovery.state !== "recovering") return;
    const step = machine.state === "open" ? (machine.pending.size > 0 ? 3 : 4) : machine.state === "joining" ? 2 : 1;
    this.recovery = { state: step === RECOVERY_STEPS ? "restored" : "recovering", step };
  }

  /** @param {Dismissal} dismissal @param {ParticipantClient} machine */
  #dismissed(dismissal, machine) {
    this.dismissal = dismissal;
    if (dismissal.code === null && machine.credentials === null) {
      this.problem ||= dismissal.reason;
      this.#enter("form", { state: "none", step: 0 });
      return;
    }
    const stage = (dismissal.code !== null && STAGES[dismissal.code]) || "ended";
    const failed = this.recovery.state === "recovering";
    this.#enter(stage, { state: failed ? "failed" : "none", step: this.recovery.step });
    if (stage === "unknown") store.forget(this.event);
  }

  /** @returns {Map<string, number>} */
  #pendingChoices() {
    const machine = this.machine;
    if (!(machine instanceof ParticipantClient)) return new Map();
    return new Map([...machine.pending.values()].map(({ question, choice }) => [question, choice]));
  }
}

