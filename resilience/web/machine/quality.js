/**
 * The quality of a connection as people see it, from round trips of application messages. Pure.
 *
 * Hysteresis: two bad samples worsen it, ten seconds of good ones improve it, a loss shows at once. The bands are those of
 * the research on badges that flicker; they are judged by the median of the last ten seconds' samples.
 */

/** @typedef {"unknown" | "good" | "fair" | "poor" | "offline"} Quality */

export const GOOD_BELOW_S = 0.15;
export const FAIR_BELOW_S = 0.4;
export const WORSEN_AFTER = 2;
export const IMPROVE_AFTER_S = 10;

/** @type {Quality[]} */
const ORDER = ["good", "fair", "poor"];

/** @param {number} rtt seconds @returns {Quality} */
function bandOf(rtt) {
  if (rtt < GOOD_BELOW_S) return "good";
  return rtt < FAIR_BELOW_S ? "fair" : "poor";
}

export class QualityMeter {
  /** @type {Quality} */ quality = "unknown";
  #worse = 0;
  /** @type {number | null} */ #betterSince = null;

  /** A round trip took `rtt` seconds. @param {number} rtt @param {number} now */
  sample(rtt, now) {
    const band = bandOf(rtt);
    if (this.quality === "unknown" || this.quality === "offline") {
      this.#become(band);
      return;
    }
    const step = ORDER.indexOf(band) - ORDER.indexOf(this.quality);
    if (step > 0) {
      this.#betterSince = null;
      this.#worse += 1;
      if (this.#worse >= WORSEN_AFTER) this.#become(band);
    } else if (step === 0) {
      this.#worse = 0;
      this.#betterSince = null;
    } else {
      this.#worse = 0;
      this.#betterSince ??= now;
      if (now - this.#betterSince >= IMPROVE_AFTER_S) this.#become(band);
    }
  }

  /** The connection is lost. */
  lost() {
    this.#become("offline");
  }

  /** It is back; the next sample says how good. */
  restored() {
    this.#become("unknown");
  }

  /** @param {Quality} quality */
  #become(quality) {
    this.quality = quality;
    this.#worse = 0;
    this.#betterSince = null;
  }
}
