/**
 * The state of the server at one client: silence, then a probe, then a verdict. Pure.
 *
 * The mirror of `ClientFailureDetector` in `resilience/policy/failure_detectors.py`; `tests/vectors/liveness.json` holds
 * both to the same deadlines. A sign of life is an application message: a page never sees the socket's own pongs.
 */

/** @typedef {{silence: number, deadline: number}} ProbeTimeouts seconds */
/** @typedef {"nothing" | "probe" | "dead"} LivenessAction */

/** A wake-up that is later than this is the page's own fault and costs the server nothing. */
export const LAG_TOLERANCE_S = 0.5;

export class ClientFailureDetector {
  /** @type {number | null} */ #probedAt = null;
  /** @type {number | null} */ #askedAt = null;
  /** @type {number | null} */ #pressedAt = null;

  /**
   * @param {ProbeTimeouts} rules
   * @param {number} now
   */
  constructor(rules, now) {
    this.rules = rules;
    this.lastHeard = now;
  }

  /** An application message arrived. @param {number} now */
  heard(now) {
    this.lastHeard = now;
    this.#probedAt = null;
  }

  /** For how long a probe has waited for its reply, seconds. @param {number} now */
  probingFor(now) {
    return this.#probedAt === null ? 0 : now - this.#probedAt;
  }

  /** A message was sent that the server must reply to. @param {number} now */
  asked(now) {
    this.#askedAt ??= now;
  }

  /**
   * A reply arrived, so both directions work.
   * @param {number} now
   * @param {boolean} owing more replies are due
   */
  answered(now, owing) {
    this.#pressedAt = null;
    this.#askedAt = owing ? now : null;
  }

  /** A hint of trouble from outside: probe now, unless a probe is pending. @param {number} now @returns {LivenessAction} */
  suspect(now) {
    return this.#probedAt !== null || this.#pressedAt !== null ? "nothing" : this.#probe(now);
  }

  /** Seconds since the last message; below the threshold, those for which a reply has been owed. @param {number} now */
  silence(now) {
    const silence = now - this.lastHeard;
    return silence >= this.rules.silence || this.#askedAt === null ? silence : now - this.#askedAt;
  }

  nextDeadline() {
    const heard = this.#when(this.lastHeard, this.#probedAt);
    return this.#askedAt === null ? heard : Math.min(heard, this.#when(this.#askedAt, this.#pressedAt));
  }

  /** The action due now; a late wake-up with a pending probe asks again. @param {number} now @returns {LivenessAction} */
  due(now) {
    const lag = now - this.nextDeadline();
    if (lag < 0) return "nothing";
    return lag <= LAG_TOLERANCE_S && this.#isOverdue(now) ? "dead" : this.#probe(now);
  }

  /** @param {number} now @returns {LivenessAction} */
  #probe(now) {
    this.#probedAt = now;
    if (this.#askedAt !== null) this.#pressedAt = now;
    return "probe";
  }

  /** @param {number} since @param {number | null} probedAt */
  #when(since, probedAt) {
    return probedAt === null ? since + this.rules.silence : probedAt + this.rules.deadline;
  }

  /** @param {number} now */
  #isOverdue(now) {
    return [this.#probedAt, this.#pressedAt].some((at) => at !== null && now >= at + this.rules.deadline);
  }
}
