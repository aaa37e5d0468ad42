/**
 * Carries out a machine's effects over WebSockets and timers, and reports to it. Decides nothing.
 *
 * A socket that is silent or of no use is detached: its handlers are removed and nothing is awaited, because on a dead
 * link a browser fires `close` a minute later.
 */

import { retryAfterInReason } from "../machine/close-codes.js";
import { now } from "./platform.js";

/** @import { ReconnectingConnection } from "../machine/connection.js" */
/** @import { ClientMessage, Effect, LogRecord, ServerMessage } from "../machine/messages.js" */

/**
 * @typedef {object} DriverHooks
 * @property {(message: ServerMessage) => void} deliver a message for the application
 * @property {() => void} changed the machine's state may have changed
 * @property {(record: LogRecord) => void} record a line of the log
 * @property {(rtt: number) => void} roundTrip a reply arrived after so many seconds
 * @property {() => Promise<boolean>} storeToken store the new token; whether it is durable
 */

const KNOWN = new Set([
  "joined", "state_restored", "resume_rejected", "ping", "probe_reply", "answer_result", "score_changed", "question_opened",
  "question_revealed", "leaderboard_shown", "quiz_finished", "presence_changed", "hosting", "host_status", "host_result", "error",
]);
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export class ConnectionDriver {
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {number | undefined} */ #timer;
  /** @type {Map<string, number>} When each question of ours was sent, by what answers it. */ #askedAt = new Map();

  /**
   * @param {ReconnectingConnection} machine
   * @param {string} url
   * @param {DriverHooks} hooks
   */
  constructor(machine, url, hooks) {
    this.machine = machine;
    this.url = url;
    this.hooks = hooks;
  }

  /** Let the machine act, then carry out what it asks for. @param {(now: number) => void} action */
  act(action) {
    action(now());
    this.#pump();
  }

  /** Stop at once and for good, as a page that is gone: nothing is sent, nothing reported any more. */
  stop() {
    clearTimeout(this.#timer);
    this.#detach();
    this.#pump = () => {};
  }

  // effects ------------------------------------------------------------------------------------------------------------

  #pump = () => {
    for (const effect of this.machine.effects()) this.#carryOut(effect);
    clearTimeout(this.#timer);
    const deadline = this.machine.nextDeadline();
    if (deadline !== null) {
      const wait = Math.min(Math.max(0, (deadline - now()) * 1000), LONGEST_TIMER_MS);
      this.#timer = setTimeout(() => this.act((at) => this.machine.handleTimeout(at)), Math.ceil(wait));
    }
    this.hooks.changed();
  };

  /** @param {Effect} effect */
  #carryOut(effect) {
    switch (effect.effect) {
      case "open":
        this.#open(effect.dial);
        break;
      case "send":
        this.#send(effect.message);
        break;
      case "abort":
        this.#detach();
        break;
      case "close":
        this.#socket?.close(1000);
        this.#detach();
        break;
      case "deliver":
        this.hooks.deliver(effect.message);
        break;
      case "record":
        this.hooks.record(effect);
    }
  }

  /** @param {ClientMessage} message */
  #send(message) {
    const socket = this.#socket;
    if (message.type === "token_stored") {
      this.hooks.storeToken().then((durable) => {
        if (durable && socket === this.#socket) this.#write(message);
      });
      return;
    }
    if (message.type === "probe") this.#askedAt.set(`probe ${message.id}`, now());
    if (message.type === "answer") this.#askedAt.set(`answer ${message.key}`, now());
    this.#write(message);
  }

  /** @param {ClientMessage} message */
  #write(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #detach() {
    const socket = this.#socket;
    this.#socket = null;
    this.#askedAt.clear();
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
    socket.close();
  }

  // one dial -----------------------------------------------------------------------------------------------------------

  /** @param {number} dial */
  #open(dial) {
    this.#detach();
    /** @type {WebSocket} */ let socket;
    try {
      socket = new WebSocket(this.url);
    } catch (error) {
      // Not now: the machine is being carried out.
      queueMicrotask(() => this.act((at) => this.machine.transportFailed(dial, "refused", at, { detail: String(error) })));
      return;
    }
    this.#socket = socket;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.act((at) => this.machine.transportOpened(dial, at));
    };
    socket.onmessage = ({ data }) => this.act((at) => this.#receive(data, dial, at));
    socket.onclose = ({ code, reason }) => {
      this.#socket = null;
      const known = { code, reason, advice: retryAfterInReason(reason) };
      const cause = code === 1006 ? "closed" : `close_${code}`;
      this.act((at) => (opened ? this.machine.transportLost(dial, cause, at, known) : this.machine.transportFailed(dial, "refused", at)));
    };
  }

  /** @param {unknown} data @param {number} dial @param {number} at */
  #receive(data, dial, at) {
    /** @type {any} */ let message;
    try {
      message = JSON.parse(String(data));
    } catch {
      message = null;
    }
    if (typeof message?.type !== "string") {
      this.#detach();
      this.machine.transportLost(dial, "malformed", at);
    } else if (KNOWN.has(message.type)) {
      this.#measure(message, at);
      this.machine.receive(message, dial, at);
    } else this.machine.receiveUnknown(typeof message.seq === "number" ? message.seq : null, dial, at);
  }

  /** @param {ServerMessage} message @param {number} at */
  #measure(message, at) {
    const key =
      message.type === "probe_reply" ? `probe ${message.id}` : message.type === "answer_result" ? `answer ${message.key}` : "";
    const askedAt = this.#askedAt.get(key);
    if (askedAt === undefined) return;
    this.#askedAt.delete(key);
    this.hooks.roundTrip(at - askedAt);
  }
}
