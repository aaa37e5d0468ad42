/**
 * A host's session in this tab: show the key, find or create the event, send its commands.
 *
 * The key is kept for this tab alone (`sessionStorage`), so that a reload of a projector's page needs no typing; it is not
 * in any address and not on disk. A host's page never pauses while hidden: it may be the screen that all others watch.
 */

import { CloseCode } from "../machine/close-codes.js";
import { CREATE, HostMachine } from "../machine/host.js";
import { draw } from "./platform.js";
import { QuizSession } from "./session.js";

/** @import { Dismissal, HostStatus, QuizPlan, ServerMessage } from "../machine/messages.js" */
/** @typedef {"form" | "connecting" | "editor" | "active" | "ended"} HostStage */

const KEPT = "quiz.host.v1";

export class HostSession extends QuizSession {
  /** @type {HostStage} */ stage = "form";
  event = "";
  /** @type {HostStatus | null} */ status = null;
  /** @type {number | null} When the server's own step is due, on the page's clock. */ advancesAt = null;
  /** @type {Dismissal | null} */ dismissal = null;
  /** What the server refused last, in words. */ problem = "";
  /** Whether a command waits for its result. */
  get isBusy() {
    return this.machine instanceof HostMachine && this.machine.pending !== null;
  }

  constructor(options = {}) {
    super({ ...options, pausesHidden: false });
  }

  /** Connect as the host of an event. @param {string} event @param {string} key */
  open(event, key) {
    this.event = event;
    this.problem = "";
    this.dismissal = this.status = null;
    this.stage = "connecting";
    keep({ event, key });
    this.connect(new HostMachine(event, key, null, this.rules, draw));
    this.notify();
  }

  /** Create the event from a plan. @param {QuizPlan} plan */
  create(plan) {
    const machine = this.machine;
    if (!(machine instanceof HostMachine)) return;
    machine.plan = plan;
    this.problem = "";
    this.driver?.act(() => machine.create());
  }

  /** Send a command for the present step. @param {string} action */
  order(action) {
    const machine = this.machine;
    if (!(machine instanceof HostMachine)) return;
    this.problem = "";
    this.driver?.act(() => machine.order(action));
  }

  /** Back to the form; the event stays on the server. */
  close() {
    this.disconnect();
    keep(null);
    this.stage = "form";
    this.notify();
  }

  /** @override */
  attach() {
    const detach = super.attach();
    const kept = keptHost();
    if (kept !== null) this.open(kept.event, kept.key);
    return detach;
  }

  /** @override @param {ServerMessage} message @param {number} at */
  received(message, at) {
    if (message.type === "hosting") {
      this.stage = message.status === undefined ? "editor" : "active";
      if (message.status !== undefined) this.#show(message.status, at);
    } else if (message.type === "host_status") this.#show(message, at);
    else if (message.type === "host_result" && message.verdict === "refused") this.problem = sentence(message.rule ?? "refused");
    else if (message.type === "host_result" && message.action === CREATE) this.problem = "";
    else if (message.type === "error") this.problem = sentence(`${message.field}: ${message.rule}`);
  }

  /** @override @param {number} seconds */
  shiftTimes(seconds) {
    if (this.advancesAt !== null) this.advancesAt -= seconds;
  }

  /** @override */
  machineChanged() {
    const dismissal = this.machine?.dismissal ?? null;
    if (dismissal === null || dismissal === this.dismissal) return;
    this.dismissal = dismissal;
    const isKeyWrong = dismissal.code === CloseCode.KEY_REFUSED;
    const isFormWrong = isKeyWrong || dismissal.code === null;
    if (isFormWrong) {
      keep(null);
      this.problem = sentence(dismissal.reason || "the key is wrong, or this server has none");
    }
    this.stage = isFormWrong ? "form" : "ended";
  }

  /** @param {HostStatus} status @param {number} at */
  #show(status, at) {
    this.stage = "active";
    this.status = status;
    this.advancesAt = status.remaining_ms === null ? null : at + status.remaining_ms / 1000;
  }
}

/** The server's words as a sentence of the page. @param {string} words */
const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1);

/** @param {{event: string, key: string} | null} host */
function keep(host) {
  try {
    if (host === null) sessionStorage.removeItem(KEPT);
    else sessionStorage.setItem(KEPT, JSON.stringify(host));
  } catch {
    // forbidden: a reload asks for the key again
  }
}

/** @returns {{event: string, key: string} | null} */
function keptHost() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
    return typeof kept?.event === "string" && typeof kept?.key === "string" ? kept : null;
  } catch {
    return null;
  }
}
