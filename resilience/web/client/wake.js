/**
 * What the browser says about the page and its network: hidden, offline, back, asleep. Reports; decides only how often.
 *
 * Waking is reported at most once in three seconds, so that the many events of one return make one dial; a change from
 * paused to not and, while the page is not paused, a change of the network are always reported.
 */

import { now } from "./platform.js";

const LEAST_BETWEEN_WAKES_S = 3;
const CLOCK_CHECK_MS = 5000;
const SLEPT_S = 3;

/**
 * @typedef {object} WakeHooks
 * @property {(paused: boolean) => void} pause
 * @property {() => void} wake
 * @property {(seconds: number) => void} slept the computer slept so long, or its time of day was set
 * @property {() => void} network the kind of network of a page that is not paused changed
 */

/** @returns {(EventTarget & {type?: string, saveData?: boolean}) | undefined} */
export function networkInformation() {
  return /** @type {any} */ (navigator).connection;
}

/**
 * Whether the page can be used now; a page that does not pause while hidden, as a host's, only needs its network.
 * @param {boolean} pausesHidden
 */
export function isPaused(pausesHidden) {
  return !navigator.onLine || (pausesHidden && document.visibilityState === "hidden");
}

/**
 * Watch the page; returns a function that ends the watch.
 * @param {WakeHooks} hooks
 * @param {{pausesHidden: boolean}} options
 */
export function watchPage(hooks, { pausesHidden }) {
  let paused = isPaused(pausesHidden);
  let wokenAt = -Infinity;
  const wake = () => {
    if (paused || now() - wokenAt < LEAST_BETWEEN_WAKES_S) return;
    wokenAt = now();
    hooks.wake();
  };
  const check = () => {
    const next = isPaused(pausesHidden);
    if (next !== paused) {
      paused = next;
      if (!paused) wokenAt = now();
      hooks.pause(paused);
    } else wake();
  };
  const changed = () => {
    if (!paused) hooks.network();
  };
  /** @type {[EventTarget | undefined, string, () => void][]} */
  const listeners = [
    [document, "visibilitychange", check],
    [document, "resume", check],
    [window, "pageshow", check],
    [window, "online", check],
    [window, "offline", check],
    [window, "focus", check],
    [networkInformation(), "change", changed],
  ];
  for (const [target, name, listener] of listeners) target?.addEventListener(name, listener);
  const stopClock = watchClock((seconds) => {
    hooks.slept(seconds);
    wake();
  });
  return () => {
    for (const [target, name, listener] of listeners) target?.removeEventListener(name, listener);
    stopClock();
  };
}

/** Notice that the computer slept: the wall clock went further than the page's. @param {(seconds: number) => void} slept */
function watchClock(slept) {
  let ahead = Date.now() / 1000 - now();
  const timer = setInterval(() => {
    const before = ahead;
    ahead = Date.now() / 1000 - now();
    if (ahead - before > SLEPT_S) slept(ahead - before);
  }, CLOCK_CHECK_MS);
  return () => clearInterval(timer);
}
