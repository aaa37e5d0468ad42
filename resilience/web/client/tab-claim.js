/**
 * Which tab of this browser takes part in an event: a new tab asks the others before it takes the session over.
 *
 * The server decides in the end: the newest connection has the session, and the older tab is closed with a code that it
 * never retries. This question only spares people that: a second tab waits for "Use it here". It needs no secure context.
 */

const WAIT_MS = 300;

export class TabClaim {
  /** @type {BroadcastChannel | null} */ #channel = null;
  #isHeld = false;
  /** @type {(() => void) | null} */ #occupied = null;

  /** @param {string} event */
  constructor(event) {
    if (typeof BroadcastChannel !== "function") return;
    this.#channel = new BroadcastChannel(`quiz.tab.v1.${event}`);
    this.#channel.onmessage = ({ data }) => {
      if (data === "who?" && this.#isHeld) this.#channel?.postMessage("me");
      if (data === "me") this.#occupied?.();
    };
  }

  /** Whether another tab of this browser takes part now. @returns {Promise<boolean>} */
  isTaken() {
    const channel = this.#channel;
    if (channel === null) return Promise.resolve(false);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, WAIT_MS, false);
      this.#occupied = () => {
        clearTimeout(timer);
        resolve(true);
      };
      channel.postMessage("who?");
    });
  }

  /** This tab takes part, or no longer. @param {boolean} held */
  hold(held) {
    this.#isHeld = held;
  }

  close() {
    this.#channel?.close();
    this.#channel = null;
  }
}
