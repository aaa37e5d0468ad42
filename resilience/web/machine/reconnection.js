/**
 * When to call a function that reconnects something: the ladder of `backoff.js` behind the hook `useReconnection`. Pure.
 *
 * For applications with a connection of their own. The quiz's own pages use the same ladder inside `connection.js`.
 */

import { CLASSIC, RetryState } from "./backoff.js";

/** @typedef {{maxAttempts?: number, initialDelay?: number, maxDelay?: number, backoffMultiplier?: number}} ReconnectionOptions delays in ms */

/** @param {ReconnectionOptions} options @returns {import("./backoff.js").BackoffPolicy} */
export function policyOf({ maxAttempts = 10, initialDelay = 1000, maxDelay = 30_000, backoffMultiplier = 2 } = {}) {
  const ladder = { initial: initialDelay / 1000, maximum: maxDelay / 1000, multiplier: backoffMultiplier, jitter: /** @type {const} */ ("none") };
  return { ...CLASSIC, ladder, attempts: maxAttempts };
}

export class Reconnection {
  isReconnecting = false;
  hasGivenUp = false;
  isAttempting = false;
  isPaused = false;
  /** @type {number | null} */ dueAt = null;
  #retries;

  /** @param {ReconnectionOptions} options */
  constructor(options = {}) {
    this.#retries = new RetryState(policyOf(options));
  }

  get attemptCount() {
    return this.isReconnecting || this.hasGivenUp ? this.#retries.attempt : 0;
  }

  /** Whole seconds until the next attempt, 0 during one, `null` when none is due. @param {number} now */
  nextAttemptSeconds(now) {
    if (this.isAttempting) return 0;
    return this.dueAt === null || this.isPaused ? null : Math.max(0, Math.ceil(this.dueAt - now));
  }

  /** Whether reconnecting is wanted. @param {boolean} wanted @param {number} now */
  setWanted(wanted, now) {
    if (wanted === (this.isReconnecting || this.hasGivenUp)) return;
    this.isAttempting = this.hasGivenUp = false;
    this.isReconnecting = wanted;
    if (wanted) {
      this.#retries.lost(now);
      this.#schedule(now);
    } else {
      this.dueAt = null;
      this.#retries.restored(now);
    }
  }

  /** The page is hidden or offline: no attempt is made or spent until it is back. @param {boolean} paused @param {number} now */
  setPaused(paused, now) {
    this.isPaused = paused;
    if (paused) return;
    if (this.hasGivenUp) this.reset(now);
    else if (this.dueAt !== null) this.dueAt = now;
  }

  /** A new ladder, and an attempt at once. @param {number} now */
  reset(now) {
    if (this.isAttempting || !(this.isReconnecting || this.hasGivenUp)) return;
    this.hasGivenUp = false;
    this.isReconnecting = true;
    this.#retries.lost(now);
    this.#schedule(now);
    this.dueAt = now;
  }

  /** Whether an attempt begins now; call `attemptEnded` when it is over. @param {number} now */
  takeAttempt(now) {
    if (this.isPaused || this.isAttempting || this.dueAt === null || now < this.dueAt) return false;
    this.dueAt = null;
    this.isAttempting = true;
    return true;
  }

  /** The attempt is over, and has failed if reconnecting is wanted still. @param {number} now */
  attemptEnded(now) {
    if (!this.isAttempting) return;
    this.isAttempting = false;
    this.#schedule(now);
  }

  /** @param {number} now */
  #schedule(now) {
    const retry = this.#retries.next(now, 0, null);
    this.dueAt = retry === null ? null : now + retry.delay;
    this.hasGivenUp = retry === null;
    this.isReconnecting = retry !== null;
  }
}
