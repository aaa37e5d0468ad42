/** The hook `useReconnection`: calls a function of the application until its connection is back. */

import { isPaused, watchPage } from "../client/wake.js";
import { now } from "../client/platform.js";
import { Reconnection } from "../machine/reconnection.js";
import { useCallback, useEffect, useRef, useState } from "../vendor/preact.js";

/** @import { ReconnectionOptions } from "../machine/reconnection.js" */

const TICK_MS = 200;

/**
 * @typedef {object} ReconnectionState
 * @property {boolean} isReconnecting
 * @property {number} attemptCount attempts that were begun or scheduled since the loss, from 1
 * @property {number | null} nextAttemptSeconds whole seconds until the next one, 0 during one, `null` when none is due
 * @property {boolean} hasGivenUp
 * @property {() => void} reset begin the ladder again, and try at once
 */

/**
 * While `shouldReconnect`, call `onReconnect` after 1, 2, 4 ... 30 s, at most ten times; a promise that it returns is
 * awaited before the next wait begins. Hidden and offline pages make and spend no attempt. After giving up, `reset`, the
 * network's return and a visible page begin again.
 * @param {() => unknown} onReconnect
 * @param {boolean} shouldReconnect
 * @param {ReconnectionOptions} options
 * @returns {ReconnectionState}
 */
export function useReconnection(onReconnect, shouldReconnect, options = {}) {
  const [machine] = useState(() => new Reconnection(options));
  const [, render] = useState(0);
  const callback = useRef(onReconnect);
  callback.current = onReconnect;

  const step = useCallback(() => {
    if (machine.takeAttempt(now())) {
      const ended = () => {
        machine.attemptEnded(now());
        render((n) => n + 1);
      };
      Promise.resolve()
        .then(() => callback.current())
        .then(ended, ended);
    }
    render((n) => n + 1);
  }, [machine]);

  useEffect(() => {
    machine.isPaused = isPaused(true);
    const pause = (/** @type {boolean} */ paused) => {
      machine.setPaused(paused, now());
      step();
    };
    return watchPage({ pause, wake: () => pause(false), slept: () => {}, network: () => {} }, { pausesHidden: true });
  }, [machine, step]);

  useEffect(() => {
    machine.setWanted(shouldReconnect, now());
    step();
    if (!shouldReconnect) return undefined;
    const timer = setInterval(step, TICK_MS);
    return () => clearInterval(timer);
  }, [machine, shouldReconnect, step]);

  return {
    isReconnecting: machine.isReconnecting,
    attemptCount: machine.attemptCount,
    nextAttemptSeconds: machine.nextAttemptSeconds(now()),
    hasGivenUp: machine.hasGivenUp,
    reset: () => {
      machine.reset(now());
      step();
    },
  };
}
