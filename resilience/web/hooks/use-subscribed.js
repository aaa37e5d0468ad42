/** Renders a component again when a session changes and, while it shows times, on a clock; shows what is new from its top. */

import { useEffect, useState } from "../vendor/preact.js";

/** @typedef {{subscribe: (listener: () => void) => () => void, attach: () => () => void}} Attachable */

const TICK_MS = 200;

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
