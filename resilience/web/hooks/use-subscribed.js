/** Renders a component again when a session changes and, while it shows times, on a clock; shows what is new from its top. */

import { now } from "../client/platform.js";
import { useEffect, useState } from "../vendor/preact.js";

/** @typedef {{subscribe: (listener: () => void) => () => void, attach: () => () => void}} Attachable */

const TICK_MS = 200;
const AFTER_MS = 20; // a timer may fire a moment early

/**
 * Attach to a session while the component is shown.
 * @template {Attachable} T
 * @param {() => T} make
 * @returns {T}
 */
export function useSession(make) {
  const [session] = useState(make);
  const [, render] = useState(0);
  useEffect(() => {
    const unsubscribe = session.subscribe(() => render((n) => n + 1));
    const detach = session.attach();
    return () => {
      unsubscribe();
      detach();
    };
  }, [session]);
  return session;
}

/** Render again once, at a moment on the page's clock. @param {number | null} at */
export function useMoment(at) {
  const [, render] = useState(0);
  useEffect(() => {
    if (at === null) return undefined;
    const timer = setTimeout(() => render((n) => n + 1), Math.max(0, at - now()) * 1000 + AFTER_MS);
    return () => clearTimeout(timer);
  }, [at]);
}

/** Render again several times a second while `running`. @param {boolean} running */
export function useTicks(running) {
  const [, render] = useState(0);
  useEffect(() => {
    if (!running) return undefined;
    const timer = setInterval(() => render((n) => n + 1), TICK_MS);
    return () => clearInterval(timer);
  }, [running]);
}

/** Show the page from its top whenever `subject` changes: what was scrolled to is gone. @param {unknown} subject */
export function useTopOf(subject) {
  useEffect(() => scrollTo(0, 0), [subject]);
}
