/** Which endings may be retried: the mirror of `resilience/policy/close_codes.py`. Pure. */

/** @typedef {"retry" | "retry_advised" | "never"} RetryClass */

export const CloseCode = Object.freeze({
  NORMAL: 1000,
  GOING_AWAY: 1001,
  ABNORMAL: 1006,
  SUPERSEDED: 4200,
  LEFT: 4201,
  EVENT_UNKNOWN: 4202,
  STRIKES: 4203,
  KEY_REFUSED: 4204,
  EVENT_FULL: 4205,
});

const NEVER = new Set([1000, 1002, 1007, 1008, 1009]);
const ADVISED = new Set([1012, 1013]);
const RETRY_AFTER = /retry_after=(\d+(?:\.\d+)?)/;

/** @param {number} code @returns {RetryClass} */
export function retryClass(code) {
  if (NEVER.has(code) || (code >= 4200 && code < 4300)) return "never";
  return ADVISED.has(code) || (code >= 4100 && code < 4200) ? "retry_advised" : "retry";
}

/** The class of the HTTP status of a handshake that was not accepted. @param {number} status @returns {RetryClass} */
export function retryClassOfStatus(status) {
  if (status === 429 || status === 503) return "retry_advised";
  return status >= 400 && status < 500 && status !== 408 && status !== 425 ? "never" : "retry";
}

/** The `retry_after` in the reason of a close, in seconds, if there is one. @param {string} reason */
export function retryAfterInReason(reason) {
  const found = RETRY_AFTER.exec(reason);
  return found?.[1] === undefined ? null : Number(found[1]);
}
