/** The time left for a question: always from its absolute end, so it never runs upwards, however late a timer is. */

import { now } from "../client/platform.js";
import { useTicks } from "../hooks/use-subscribed.js";
import { html } from "../vendor/preact.js";

/** Seconds left, not below 0. @param {number | null} endsAt on the page's clock */
export const secondsLeft = (endsAt) => (endsAt === null ? 0 : Math.max(0, endsAt - now()));

/** @param {{endsAt: number, total: number}} props seconds */
export function Countdown({ endsAt, total }) {
  const left = secondsLeft(endsAt);
  useTicks(left > 0);
  const shown = Math.ceil(left);
  return html`<div class="countdown">
    <span class=${left <= 5 ? "seconds urgent" : "seconds"} role="timer" aria-label="Seconds left">${shown}</span>
    <progress class="time" max=${total} value=${Math.min(left, total)} aria-label="Time left"></progress>
  </div>`;
}

const SPOKEN_S = [5, 10];
const SPOKEN_FOR_S = 1;

/** The time left in words, at the moments at which it is said; else empty. @param {number} left @param {number} total seconds */
export function spokenTime(left, total) {
  const said = SPOKEN_S.find((seconds) => left <= seconds && left > seconds - SPOKEN_FOR_S && total > seconds);
  return said === undefined ? "" : `${said} seconds left.`;
}

/** The time left for screen readers: said twice, not counted aloud. @param {{endsAt: number | null, total: number}} props seconds; `endsAt` is null while nothing is to be said */
export function SpokenTime({ endsAt, total }) {
  const left = secondsLeft(endsAt);
  useTicks(left > 0);
  return html`<div class="visually-hidden" role="status">${spokenTime(left, total)}</div>`;
}
