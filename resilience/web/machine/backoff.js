/**
 * When a client tries again: the mirror of `resilience/policy/backoff.py`, number by number. Pure.
 *
 * Times are seconds on the caller's clock; the uniform numbers are arguments. `tests/vectors/backoff.json` holds both
 * languages to the same delays.
 */

/** @typedef {"none" | "equal" | "full" | "decorrelated"} Jitter */
/** @typedef {{spreadS: number, stepS: number, capS: number}} ReturnWindow */
/** @typedef {{initial: number, maximum: number, multiplier: number, jitter: Jitter}} ExponentialDelays */
/**
 * A preset with all its numbers; `null` for a budget means unlimited.
 * @typedef {object} BackoffPolicy
 * @property {"classic" | "window"} preset
 * @property {ExponentialDelays} ladder
 * @property {number | null} attempts
 * @property {number | null} budget
 * @property {number} stableAfter
 * @property {number} windowUntil
 * @property {number} windowMultiplier
 */
/** @typedef {{attempt: number, delay: number, cause: string}} Retry */

export const MIN_RETRY_AFTER_S = 0.05;
export const MAX_RETRY_AFTER_S = 600;
export const ADVICE = "advice";

/** @type {ReturnWindow} The window of a client that has received no announcement yet. */
export const DEFAULT_RETURN_WINDOW = Object.freeze({ spreadS: 1, stepS: 0.3, capS: 3 });

const BEYOND_EVERY_CAP = 1_000_000; // a rung
const STABILITY = { stableAfter: 5, windowUntil: 60, windowMultiplier: 1.5 };

/** @type {BackoffPolicy} The contract's ladder: 1, 2, 4 ... 30 s, ten attempts. */
export const CLASSIC = Object.freeze({
  preset: "classic",
  ladder: Object.freeze({ initial: 1, maximum: 30, multiplier: 2, jitter: "none" }),
  attempts: 10,
  budget: null,
  ...STABILITY,
});

/** @type {BackoffPolicy} The server's return window, then its ladder, then `classic`, for ten minutes. */
export const WINDOW = Object.freeze({
  preset: "window",
  ladder: Object.freeze({ initial: 1, maximum: 30, multiplier: 2, jitter: "equal" }),
  attempts: null,
  budget: 600,
  ...STABILITY,
});

/** @type {Record<"classic" | "window", BackoffPolicy>} */
export const PRESETS = { classic: CLASSIC, window: WINDOW };

/**
 * A retry time within its bounds; `null` for an invalid one: absent, negative or not a number.
 * @param {number | null | undefined} advice
 */
export function clampRetryAfter(advice) {
  if (advice === null || advice === undefined || !(advice >= 0)) return null;
  return Math.min(Math.max(advice, MIN_RETRY_AFTER_S), MAX_RETRY_AFTER_S);
}

/**
 * @param {ExponentialDelays} delays
 * @param {number} rung
 */
function nominal(delays, rung) {
  const { initial, maximum, multiplier } = delays;
  if (multiplier <= 1 || initial >= maximum) return Math.min(initial, maximum);
  const rungsToCap = Math.log(maximum / initial) / Math.log(multiplier);
  return rung >= rungsToCap ? maximum : Math.min(maximum, initial * multiplier ** rung);
}

/**
 * The delay before attempt `rung + 1`; `previous` is the delay before it (decorrelated jitter only).
 * @param {ExponentialDelays} delays
 * @param {number} rung
 * @param {number} u
 * @param {number | null} previous
 */
export function exponentialDelay(delays, rung, u, previous = null) {
  if (delays.jitter === "decorrelated") {
    const before = previous ?? delays.initial;
    return Math.min(delays.initial + u * Math.max(3 * before - delays.initial, 0), delays.maximum);
  }
  const d = nominal(delays, rung);
  if (delays.jitter === "equal") return d / 2 + (u * d) / 2;
  return delays.jitter === "full" ? u * d : d;
}

/**
 * Seconds to wait before `attempt` (from 1), decided `elapsed` seconds after the loss.
 * @param {BackoffPolicy} policy
 * @param {number} attempt
 * @param {number} elapsed
 * @param {number} u
 * @param {ReturnWindow} window
 * @param {number | null} previous
 */
export function policyDelay(policy, attempt, elapsed, u, window, previous = null) {
  if (policy.preset === "classic") return exponentialDelay(policy.ladder, attempt - 1, u, previous);
  if (attempt === 1) return u * window.spreadS;
  if (elapsed >= policy.windowUntil) return exponentialDelay(policy.ladder, BEYOND_EVERY_CAP, u, previous);
  const { jitter } = policy.ladder;
  const announced = { initial: window.stepS, maximum: window.capS, multiplier: policy.windowMultiplier, jitter };
  return exponentialDelay(announced, attempt - 2, u, previous);
}

/**
 * Whether `attempt` (from 1), `elapsed` seconds after the loss, is beyond either budget.
 * @param {BackoffPolicy} policy
 * @param {number} attempt
 * @param {number} elapsed
 */
export function isExhausted(policy, attempt, elapsed) {
  return (policy.attempts !== null && attempt > policy.attempts) || (policy.budget !== null && elapsed >= policy.budget);
}

/** One client's retry state: incidents, attempts and the previous delay. Holds no clock. */
export class RetryState {
  /** @param {BackoffPolicy} policy */
  constructor(policy) {
    this.policy = policy;
    this.incident = 0;
    this.attempt = 0;
    this.lostAt = 0;
    /** @type {number | null} The ladder's last delay of this incident. */
    this.previous = null;
    /** @type {number | null} The begin of the present session. */
    this.upSince = null;
    /** @type {[number, number] | null} Begin and end of the incident's free wait. */
    this.freeWait = null;
  }

  /** The session ended, or the first attempt to connect failed. @param {number} now */
  lost(now) {
    const unstable = this.upSince !== null && now - this.upSince < this.policy.stableAfter;
    const hasRetried = this.attempt > 0 || this.freeWait !== null;
    if (!(unstable && hasRetried)) {
      this.incident += 1;
      this.attempt = 0;
      this.lostAt = now;
      this.previous = this.freeWait = null;
    }
    this.upSince = null;
  }

  /** A session is established; it counts as stable after `stableAfter` seconds. @param {number} now */
  restored(now) {
    this.upSince = now;
  }

  /** Exclude `asleep` seconds from the time budget. @param {number} asleep */
  excludeSleep(asleep) {
    this.lostAt += asleep;
  }

  /**
   * The next attempt, or `null` when a budget is spent.
   * @param {number} now
   * @param {number} u
   * @param {ReturnWindow | null} window
   * @param {number | null} advice the server's retry time in seconds
   * @returns {Retry | null}
   */
  next(now, u, window, advice = null) {
    const elapsed = this.#charge(now);
    const advised = clampRetryAfter(advice);
    if (advised !== null && this.freeWait === null) return this.#waitFreely(now, elapsed, advised);
    if (isExhausted(this.policy, this.attempt + 1, elapsed)) return null;
    this.attempt += 1;
    const delay = policyDelay(this.policy, this.attempt, elapsed, u, window ?? DEFAULT_RETURN_WINDOW, this.previous);
    this.previous = delay;
    if (advised !== null && advised > delay) return { attempt: this.attempt, delay: advised, cause: ADVICE };
    return { attempt: this.attempt, delay, cause: this.policy.preset };
  }

  /**
   * @param {number} now
   * @param {number} elapsed
   * @param {number} advice
   * @returns {Retry | null}
   */
  #waitFreely(now, elapsed, advice) {
    if (this.policy.budget !== null && elapsed >= this.policy.budget) return null;
    this.freeWait = [now, now + advice];
    return { attempt: Math.max(this.attempt, 1), delay: advice, cause: ADVICE };
  }

  /** The time since the loss without the part of the free wait that has passed. @param {number} now */
  #charge(now) {
    const sinceLoss = now - this.lostAt;
    if (this.freeWait === null) return sinceLoss;
    const [began, end] = this.freeWait;
    const until = Math.min(end, now); // a wake-up may have cut it short
    this.freeWait = [began, until];
    return sinceLoss - (until - began);
  }
}
