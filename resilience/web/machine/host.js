/**
 * A host's side of the protocol: the mirror of `resilience/protocol/client/host.py`. Pure.
 *
 * A command carries the step it was meant for and is sent again until its result arrives, so it is carried out once.
 */

import { CloseCode } from "./close-codes.js";
import { ReconnectingConnection, windowOf } from "./connection.js";

/** @import { ClientRules } from "./connection.js" */
/** @import { Draw, HostCommand, Hosting, HostResult, HostStatus, QuizPlan, ServerMessage } from "./messages.js" */

export const CREATE = "create";

/** @type {Record<string, string>} */
const NEXT_ACTION = { lobby: "start", question: "reveal", reveal: "next", leaderboard: "next" };

/** The action that ends this phase; `null` for the last phase. @param {string} phase */
export function nextAction(phase) {
  return NEXT_ACTION[phase] ?? null;
}

export class HostMachine extends ReconnectingConnection {
  /** @type {HostStatus | null} */ status = null;
  /** @type {HostCommand | null} */ pending = null;
  #step = 0;
  #creating = false;
  /** @type {string} */ #key;

  /**
   * @param {string} event
   * @param {string} key the host key
   * @param {QuizPlan | null} plan what the event is created from if it does not exist yet
   * @param {ClientRules} rules
   * @param {Draw} draw
   */
  constructor(event, key, plan, rules, draw) {
    super(rules, draw);
    this.event = event;
    this.plan = plan;
    this.#key = key;
  }

  /** Send a command, now or when the connection is back; returns whether it was accepted. @param {string} action */
  order(action) {
    if (this.pending !== null || this.status === null || this.state === "closed") return false;
    this.pending = { type: "host_command", action, step: this.#step };
    if (this.state === "open") this.#sendPending();
    return true;
  }

  /** Create the event from the plan, again if need be; returns whether the request was sent. */
  create() {
    if (this.plan === null || this.#creating || this.state !== "open") return false;
    this.#creating = true;
    this.send({ type: "create_event", plan: this.plan });
    return true;
  }

  /**
   * After this host started a new run, the old run's end is not the host's.
   * @override
   * @param {number} dial
   * @param {string} cause
   * @param {number} now
   * @param {{code?: number, advice?: number | null, reason?: string}} known
   */
  transportLost(dial, cause, now, known = {}) {
    const code = this.#creating && known.code === CloseCode.NORMAL ? CloseCode.GOING_AWAY : known.code;
    super.transportLost(dial, cause, now, { ...known, code });
  }

  /** @override @param {number} now */
  correctTimes(now) {
    if (this.status !== null && this.status.remaining_ms !== null) this.resume("slept", now);
  }

  // the server's messages --------------------------------------------------------------------------------------------

  /** @override @param {number} _now */
  sendFirstMessage(_now) {
    this.send({ type: "host", event: this.event, key: this.#key });
  }

  /** @override @param {ServerMessage} message @param {number} now */
  receiveJoining(message, now) {
    if (message.type === "error") this.firstMessageRejected(message, now);
    else if (message.type === "hosting") {
      this.sessionOpened(now);
      this.markRestored(now);
      this.liveness.asked(now);
      this.#creating = false;
      if (message.status === undefined) {
        this.create();
        this.deliver(message);
      } else this.#created(message);
    }
  }

  /** @override @param {ServerMessage} message @param {number} now */
  receiveOpen(message, now) {
    switch (message.type) {
      case "ping":
        this.window = windowOf(message);
        this.send({ type: "pong", id: message.id });
        break;
      case "probe_reply":
        this.liveness.answered(now, true);
        break;
      case "host_status":
        this.#onStatus(message);
        this.deliver(message);
        break;
      case "hosting":
        this.#created(message);
        break;
      case "host_result":
        this.#onHostResult(message, now);
        break;
      default:
        this.deliver(message);
    }
  }

  /** The event exists; send a pending command again. @param {Hosting} message */
  #created(message) {
    if (message.status === undefined) return;
    this.#creating = false;
    this.#onStatus(message.status);
    this.#sendPending();
    this.deliver(message);
  }

  /** @param {HostStatus} status */
  #onStatus(status) {
    this.status = status;
    this.#step = status.step;
  }

  #sendPending() {
    if (this.pending !== null) this.send(this.pending);
  }

  /** @param {HostResult} message @param {number} now */
  #onHostResult(message, now) {
    if (message.action === CREATE) this.#creating = false;
    else if (this.pending !== null && message.action === this.pending.action) {
      this.pending = null;
      this.#step = message.step;
    } else return;
    this.liveness.answered(now, true);
    this.deliver(message);
  }
}
