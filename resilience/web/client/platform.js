/** The page's clock and its random numbers. Works on plain http, where `crypto.randomUUID` does not exist. */

/** @import { Draw } from "../machine/messages.js" */

/** Seconds on the page's monotonic clock. */
export const now = () => performance.now() / 1000;

/** @type {Draw} A uniform number in [0, 1); the keys do not matter to a real client. */
export const draw = () => {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2));
  return (high * 2 ** 21 + (low >>> 11)) / 2 ** 53;
};

const LETTERS = "abcdefghijkmnpqrstuvwxyz23456789";

/** A random text of letters and digits that are not confused with one another. @param {number} length */
export function randomText(length) {
  return Array.from(crypto.getRandomValues(new Uint8Array(length)), (byte) => LETTERS[byte % LETTERS.length]).join("");
}

/** The WebSocket address of the server that served this page. @param {Location} place */
export function socketUrl(place = location) {
  return `${place.protocol === "https:" ? "wss" : "ws"}://${place.host}/ws`;
}
