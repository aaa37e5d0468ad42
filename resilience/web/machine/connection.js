/**
 * The reconnecting connection that both pages share: the mirror of `resilience/protocol/client/connection.py`. Pure.
 *
 * A driver reports what happens, carries out `effects()` after every call, and calls `handleTimeout` at `nextDeadline()`.
 * A report under an old dial number is ignored. `tests/vectors/client_traces.json` holds both languages to the same
 * effects, states and deadlines.
 *
 * What only a page has: `setPaused`, because a page that is hidden or offline dials no more and spends no attempt until it
 * is back; `reset` for a button; and `setProbeTimeouts`, because a phone changes its network.
 */

import { RetryState } from "./backoff.js";
import { CloseCode, retryClass, retryClassOfStatus } from "./close-codes.js";
import { ClientFailureDetector, LAG_TOLERANCE_S } from "./liveness.js";

/** @import { BackoffPolicy, ReturnWindow } from "./backoff.js" */
/** @import { ProbeTimeouts } from "./liveness.js" */
/** @import { ClientMessage, ClientState, Dismissal, Draw, Effect, ErrorMessage, LogRecord, ServerMessage, Spread } from "./messages.js" */

/** A younger dial may be about to succeed; an older one is replaced when the network comes back. */
export const FRESH_DIAL_S = 1;
/** A wake-up later than this means that the page slept; the sleep is not charged to the retry budget. */
export const SLEEP_THRESHOLD_S = 3;
/** A link on which a probe has waited longer than this stood still; what arrives then was held. */
export const STALLED_S = 1;

/** @typedef {{backoff: BackoffPolicy, probe: ProbeTimeouts, openTimeout: number, joinTimeout: number}} ClientRules seconds */

/** @type {Record<ClientState, ClientState[]>} */
export const CLIENT_TRANSITIONS = {
  idle: ["connecting", "closed"],
  connecting: ["connecting", "joining", "backing_off", "gave_up", "closed"],
  joining: ["connecting", "open", "backing_off", "gave_up", "closed"],
  open: ["backing_off", "gave_up", "closed"],
  backing_off: ["connecting", "closed"],
  gave_up: ["connecting", "closed"],
  closed: [],
};

/** @type {Record<number, string>} */
const ENDINGS = { [CloseCode.SUPERSEDED]: "session.superseded", [CloseCode.LEFT]: "client.left" };

/** The return window of an announcement. @param {Spread} message @returns {ReturnWindow} */
export function windowOf(message) {
  return { spreadS: message.spread_ms / 1000, stepS: message.step_ms / 1000, capS: message.cap_ms / 1000 };
}

/** The cause of a dismissal in the log. @param {Dismissal} dismissal */
export function causeOf(dismissal) {
  if (dismissal.code !== null) return String(dismissal.code);
  return dismissal.status === null ? "rejected" : `status_${dismissal.status}`;
}

/** One client's connection to a server; the messages of a session belong to the subclasses. */
export class ReconnectingConnection {
  /** @type {ClientState} */ state = "idle";
  dial = 0;
  /** @type {ReturnWindow | null} */ window = null;
  /** @type {Dismissal | null} How the server ended it for good. */ dismissal = null;
  isPaused = false;
  /** How long messages may have waited on their way, seconds: on a stalled link, or during a sleep. It holds until the reply to the last probe, or a new session. */ heldFor = 0;
  dials = 0;
  #dialsOf = 0;
  #probes = 0;
  #sleptInPause = false;
  #dialledAt = 0;
  /** @type {number | null} */ #deadline = null;
  /** @type {Effect[]} */ #effects = [];
  /** @type {Draw} */ #draw;

  /**
   * @param {ClientRules} rules
   * @param {Draw} draw yields this client's own uniform numbers by purpose, incident and attempt
   */
  constructor(rules, draw) {
    this.rules = rules;
    this.#draw = draw;
    this.backoff = new RetryState(rules.backoff);
    this.liveness = new ClientFailureDetector(rules.probe, 0);
  }

  // for the subclasses to define -------------------------------------------------------------------------------------

  /** The transport is open: send the first message. @param {number} _now */
  sendFirstMessage(_now) {}

  /** A message arrived before the session is open. @param {ServerMessage} _message @param {number} _now */
  receiveJoining(_message, _now) {}

  /** A message arrived over the open session. @param {ServerMessage} _message @param {number} _now */
  receiveOpen(_message, _now) {}

  /** What is shown as time left is wrong after a sleep. @param {number} _now */
  correctTimes(_now) {}

  /** The message to send before leaving on purpose. @returns {ClientMessage | null} */
  leaveMessage() {
    return null;
  }

  /** The session id of this client's records. @returns {string | undefined} */
  sessionId() {
    return undefined;
  }

  // transport and application events ---------------------------------------------------------------------------------

  /** Connect for the first time, or again after giving up (a click on *retry*). @param {number} now */
  start(now) {
    if (this.state === "idle" || this.state === "gave_up") {
      this.backoff.lost(now);
      this.#dialNow(now);
    }
  }

  /** The dial succeeded: send the first message. @param {number} dial @param {number} now */
  transportOpened(dial, now) {
    if (dial !== this.dial || this.state !== "connecting") return;
    this.#go("joining");
    this.record("transport.opened", now, { connection_no: dial, attempt: this.backoff.attempt });
    this.#deadline = now + this.rules.joinTimeout;
    this.sendFirstMessage(now);
  }

  /**
   * The dial failed. A page never learns the HTTP status; other drivers of this machine may.
   * @param {number} dial
   * @param {string} cause
   * @param {number} now
   * @param {{advice?: number | null, status?: number | null, detail?: string | null}} known
   */
  transportFailed(dial, cause, now, { advice = null, status = null, detail = null } = {}) {
    if (dial !== this.dial || this.state !== "connecting") return;
    this.#recordFailure(cause, now, detail);
    const what = status === null ? "retry_advised" : retryClassOfStatus(status);
    if (what === "never") this.#end({ code: null, status, reason: detail ?? "" }, now);
    else this.#retry(now, what === "retry_advised" ? advice : null);
  }

  /**
   * An open transport ended, with the close code that was received (1006 if there was none) and its reason.
   * @param {number} dial
   * @param {string} cause
   * @param {number} now
   * @param {{code?: number, advice?: number | null, reason?: string}} known
   */
  transportLost(dial, cause, now, { code = CloseCode.ABNORMAL, advice = null, reason = "" } = {}) {
    if (dial !== this.dial || !this.isTalking) return;
    this.record("transport.lost", now, { connection_no: dial, cause });
    const what = retryClass(code);
    if (what === "never") this.#end({ code, status: null, reason }, now);
    else this.#lost(now, what === "retry_advised" ? advice : null);
  }

  /** A message arrived over this dial. @param {ServerMessage} message @param {number} dial @param {number} now */
  receive(message, dial, now) {
    if (dial !== this.dial || !this.isTalking) return;
    const late = this.#heard(now);
    if (this.state === "joining") this.receiveJoining(message, now);
    else this.receiveOpen(message, now);
    const isLatest = message.type === "probe_reply" && message.id === this.#probes;
    if (isLatest && !late) this.heldFor = 0; // what follows was sent after the probe that it answers
    if (late) this.probeNow(now); // it may have waited in a buffer during a sleep: no sign of life now
  }

  /** A message of a type that only newer clients know. @param {number | null} _seq @param {number} dial @param {number} now */
  receiveUnknown(_seq, dial, now) {
    if (dial === this.dial && this.isTalking && this.#heard(now)) this.probeNow(now);
  }

  /** Leave on purpose: send the leave message, retry nothing. @param {number} now */
  leave(now) {
    if (this.state === "closed") return;
    const message = this.leaveMessage();
    if (this.state === "open" && message !== null) this.send(message);
    this.#effects.push({ effect: "close", dial: this.dial });
    this.#close();
    this.record("client.left", now);
  }

  /** Wake from sleep, network available, page visible, a click: probe or reconnect at once. @param {number} now */
  wake(now) {
    this.#excludeSleep(now);
    if (this.state === "open") this.probeNow(now);
    else if (this.state === "backing_off") this.#dialNow(now);
    else if (this.state === "gave_up") this.start(now);
    else if (this.state !== "idle" && this.state !== "closed" && now - this.#dialledAt > FRESH_DIAL_S) this.#dialAgain(now);
  }

  /**
   * The computer slept, and the clock of `now` stood still meanwhile: probe or reconnect at once, or when a pause ends.
   * A welcome on its way may be as old as the sleep was long.
   * @param {number} now
   */
  slept(now) {
    this.#sleptInPause = this.isPaused;
    if (this.isPaused) return;
    this.correctTimes(now);
    if (this.state === "joining") this.#dialAgain(now);
    else this.wake(now);
  }

  /** A new ladder and a dial at once; with a connection, a probe. @param {number} now */
  reset(now) {
    if (this.state === "backing_off") {
      this.backoff.lost(now);
      this.#dialNow(now);
    } else this.wake(now);
  }

  /** Give up an open connection for a new one, whose snapshot says what is true now. @param {string} cause @param {number} now */
  resume(cause, now) {
    if (this.state === "open") this.abortTransport(cause, now);
  }

  /** Other timeouts from now on, for another kind of network. @param {ProbeTimeouts} probe */
  setProbeTimeouts(probe) {
    this.rules = { ...this.rules, probe };
    this.liveness.rules = probe;
  }

  /**
   * The page is hidden or offline, or no longer. A paused wait has no deadline; its end dials at once.
   * @param {boolean} paused
   * @param {number} now
   */
  setPaused(paused, now) {
    if (paused === this.isPaused) return;
    this.isPaused = paused;
    if (paused) return;
    if (this.#sleptInPause) this.slept(now);
    else this.wake(now);
  }

  // time -------------------------------------------------------------------------------------------------------------

  /** When to call `handleTimeout`; `null` for never. */
  nextDeadline() {
    return this.isPaused && this.state === "backing_off" ? null : this.#dueAt();
  }

  /** Act on a deadline; harmless if called early. A much later call counts as sleep. @param {number} now */
  handleTimeout(now) {
    const deadline = this.nextDeadline();
    if (deadline === null || now < deadline) return;
    const slept = this.#excludeSleep(now);
    if (this.state === "open") this.#handleSilence(now);
    else if (this.state === "backing_off") this.#dialNow(now);
    else if (slept) this.#dialAgain(now);
    else if (this.state === "connecting") {
      this.#effects.push({ effect: "abort", dial: this.dial });
      this.transportFailed(this.dial, "open_timeout", now);
    } else this.abortTransport("join_timeout", now);
  }

  /** What the driver must do now, in this order; each effect is returned once. */
  effects() {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  // for the subclasses to use ----------------------------------------------------------------------------------------

  get isTalking() {
    return this.state === "joining" || this.state === "open";
  }

  /** @param {ClientMessage} message */
  send(message) {
    this.#effects.push({ effect: "send", message });
  }

  /** @param {ServerMessage} message */
  deliver(message) {
    this.#effects.push({ effect: "deliver", message });
  }

  /** @param {string} kind @param {number} t @param {Partial<LogRecord>} fields */
  record(kind, t, fields = {}) {
    this.#effects.push({ effect: "record", kind, t, session_id: this.sessionId(), ...fields });
  }

  /** The welcome has arrived; call `markRestored` after recording it. @param {number} now */
  sessionOpened(now) {
    this.#go("open");
    this.heldFor = 0;
    this.liveness = new ClientFailureDetector(this.rules.probe, now);
  }

  /** @param {number} now */
  markRestored(now) {
    this.backoff.restored(now);
  }

  /** The server would reject the same first message again. @param {ErrorMessage} error @param {number} now */
  firstMessageRejected(error, now) {
    this.deliver(error);
    this.#effects.push({ effect: "close", dial: this.dial });
    this.#end({ code: null, status: null, reason: `${error.field}: ${error.rule}` }, now);
  }

  /** Another client has the session, as a close with 4200 says. @param {string} reason @param {number} now */
  superseded(reason, now) {
    this.#effects.push({ effect: "close", dial: this.dial });
    this.#end({ code: CloseCode.SUPERSEDED, status: null, reason }, now);
  }

  /** Abort a transport that is open but useless. @param {string} cause @param {number} now */
  abortTransport(cause, now) {
    this.#effects.push({ effect: "abort", dial: this.dial });
    this.transportLost(this.dial, cause, now);
  }

  /** @param {number} now */
  probeNow(now) {
    if (this.state === "open" && this.liveness.suspect(now) === "probe") this.#probe(now);
  }

  // the parts --------------------------------------------------------------------------------------------------------

  #dueAt() {
    return this.state === "open" ? this.liveness.nextDeadline() : this.#deadline;
  }

  /** @param {ClientState} state */
  #go(state) {
    if (!CLIENT_TRANSITIONS[this.state].includes(state)) throw new Error(`no transition from ${this.state} to ${state}`);
    this.state = state;
  }

  #close() {
    this.#go("closed");
    this.#deadline = null;
  }

  /** @param {number} now */
  #lateness(now) {
    const deadline = this.#dueAt();
    return deadline === null ? 0 : now - deadline;
  }

  /** Something arrived; whether it came later than the machine was to act. Notes how long it may have waited on its way. @param {number} now */
  #heard(now) {
    const lateness = this.#lateness(now);
    const stalled = this.state === "open" && this.liveness.probingFor(now) > STALLED_S;
    if (stalled || lateness > SLEEP_THRESHOLD_S) this.heldFor = Math.max(this.heldFor, now - this.liveness.lastHeard);
    this.liveness.heard(now);
    return lateness > LAG_TOLERANCE_S;
  }

  /** @param {number} now */
  #excludeSleep(now) {
    const lateness = this.#lateness(now);
    if (lateness <= SLEEP_THRESHOLD_S) return false;
    this.backoff.excludeSleep(lateness);
    return true;
  }

  /** @param {number} now */
  #dialNow(now) {
    this.dial += 1;
    this.#go("connecting");
    if (this.#dialsOf !== this.backoff.incident) {
      this.dials = 0;
      this.#dialsOf = this.backoff.incident;
    }
    this.dials += 1;
    const attempt = this.backoff.attempt;
    this.record("transport.opening", now, { connection_no: this.dial, attempt });
    this.#dialledAt = now;
    this.#deadline = now + this.rules.openTimeout;
    this.#effects.push({ effect: "open", dial: this.dial, attempt });
  }

  /** Replace a dial of a network that may be gone; counts no attempt. @param {number} now */
  #dialAgain(now) {
    this.#effects.push({ effect: "abort", dial: this.dial });
    if (this.state === "connecting") this.#recordFailure("stale", now, null);
    else this.record("transport.lost", now, { connection_no: this.dial, cause: "stale" });
    this.#dialNow(now);
  }

  /** @param {string} cause @param {number} now @param {string | null} detail */
  #recordFailure(cause, now, detail) {
    const { attempt } = this.backoff;
    this.record("transport.failed", now, { connection_no: this.dial, attempt, cause, detail: detail ?? undefined });
  }

  /** @param {number} now */
  #handleSilence(now) {
    const due = this.liveness.due(now);
    if (due === "probe") this.#probe(now);
    else if (due === "dead") {
      this.record("peer.declared_dead", now, { connection_no: this.dial, value: this.liveness.silence(now) });
      this.#effects.push({ effect: "abort", dial: this.dial });
      this.#lost(now, null);
    }
  }

  /** @param {number} now */
  #probe(now) {
    this.#probes += 1;
    this.record("peer.suspected", now, { value: this.liveness.silence(now) });
    this.send({ type: "probe", id: this.#probes });
  }

  /** @param {number} now @param {number | null} advice */
  #lost(now, advice) {
    if (this.state === "open") this.backoff.lost(now);
    this.#retry(now, advice);
  }

  /** @param {number} now @param {number | null} advice */
  #retry(now, advice) {
    const { backoff } = this;
    const u = this.#draw("backoff", backoff.incident, backoff.attempt + 1);
    const retry = backoff.next(now, u, this.window, advice);
    if (retry === null) {
      this.#go("gave_up");
      this.record("client.gave_up", now, { attempt: backoff.attempt, value: now - backoff.lostAt });
      this.#deadline = null;
      return;
    }
    this.#go("backing_off");
    this.record("backoff.scheduled", now, { attempt: retry.attempt, value: retry.delay, cause: retry.cause });
    this.#deadline = now + retry.delay;
  }

  /** @param {Dismissal} dismissal @param {number} now */
  #end(dismissal, now) {
    this.dismissal = dismissal;
    this.#close();
    const kind = (dismissal.code !== null && ENDINGS[dismissal.code]) || "client.dismissed";
    this.record(kind, now, { cause: causeOf(dismissal), detail: dismissal.reason || undefined });
  }
}
