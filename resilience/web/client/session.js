/**
 * What the sessions of both pages share: a machine with its driver, the page's events, quality, and subscribers.
 *
 * Subclasses say which machine; they show nothing. Every change calls the subscribers, who read the fields.
 */

import { PRESETS } from "../machine/backoff.js";
import { profileOf, PROBES } from "../machine/network-profile.js";
import { QualityMeter } from "../machine/quality.js";
import { ConnectionDriver } from "./driver.js";
import { now, socketUrl } from "./platform.js";
import { isPaused, networkInformation, watchPage } from "./wake.js";

/** @import { ClientRules, ReconnectingConnection } from "../machine/connection.js" */
/** @import { LogRecord, ServerMessage } from "../machine/messages.js" */
/** @typedef {"window" | "classic"} Preset */

/**
 * What people see of the connection. `lostAt` and `dueAt` are on the page's clock, seconds.
 * @typedef {object} ConnectionView
 * @property {string} status the machine's state, or `idle` without one
 * @property {boolean} isReconnecting from a loss until the session is back or the client gives up
 * @property {boolean} hasGivenUp
 * @property {number} attemptCount
 * @property {number | null} dueAt when the next attempt begins, while it waits for one
 * @property {number | null} lostAt since when there is no session
 * @property {boolean} isOffline the browser has no network
 */

/** The event on `window` that shows every record of the client's log to scripts that ask for it. */
export const RECORD_EVENT = "quiz:record";

export class QuizSession {
  /** @type {ReconnectingConnection | null} */ machine = null;
  /** @type {ConnectionDriver | null} */ driver = null;
  meter = new QualityMeter();
  profile = profileOf(networkInformation());
  /** @type {number | null} */ lostAt = null;
  /** @type {Set<() => void>} */ #subscribers = new Set();
  #hasBeenOpen = false;
  #unwatch = () => {};

  /**
   * @param {{preset?: Preset, url?: string, pausesHidden?: boolean}} options
   */
  constructor({ preset = "window", url = socketUrl(), pausesHidden = true } = {}) {
    this.preset = preset;
    this.url = url;
    this.pausesHidden = pausesHidden;
  }

  // for the subclasses ---------------------------------------------------------------------------------------------------

  /** A message for the application. @param {ServerMessage} _message @param {number} _at */
  received(_message, _at) {}

  /** The page's clock stood still for so many seconds: shift the times that are shown. @param {number} _seconds */
  shiftTimes(_seconds) {}

  /** The machine's state may have changed. */
  machineChanged() {}

  /** A line of the client's log. @param {LogRecord} _record */
  recorded(_record) {}

  /** Store the token that was just received; whether it is durable. @returns {Promise<boolean>} */
  storeToken() {
    return Promise.resolve(true);
  }

  /** @returns {ClientRules} */
  get rules() {
    return { backoff: PRESETS[this.preset], probe: PROBES[this.profile], openTimeout: 5, joinTimeout: 5 };
  }

  /** Replace the machine, and let it connect. @param {ReconnectingConnection} machine */
  connect(machine) {
    this.disconnect();
    this.machine = machine;
    this.lostAt = null;
    this.#hasBeenOpen = false;
    this.driver = new ConnectionDriver(machine, this.url, {
      deliver: (message) => this.received(message, now()),
      changed: () => this.#changed(),
      record: (record) => this.#record(record),
      roundTrip: (rtt) => this.meter.sample(rtt, now()),
      storeToken: () => this.storeToken(),
    });
    this.driver.act((at) => machine.start(at));
    this.driver.act((at) => machine.setPaused(isPaused(this.pausesHidden), at));
  }

  /** Abandon the machine at once. */
  disconnect() {
    this.driver?.stop();
    this.driver = this.machine = null;
  }

  // for components -------------------------------------------------------------------------------------------------------

  /** Call `listener` after every change; returns a function that ends that. @param {() => void} listener */
  subscribe(listener) {
    this.#subscribers.add(listener);
    return () => this.#subscribers.delete(listener);
  }

  /** Tell the subscribers. */
  notify() {
    for (const listener of [...this.#subscribers]) listener();
  }

  /** Listen to the page; returns a function that ends everything. */
  attach() {
    const wake = () => this.#followNetwork((machine, at) => machine.wake(at));
    this.#unwatch = watchPage(
      {
        pause: (paused) => this.#followNetwork((machine, at) => machine.setPaused(paused, at)),
        wake,
        slept: (seconds) => this.#slept(seconds),
        network: wake,
      },
      { pausesHidden: this.pausesHidden },
    );
    return () => {
      this.#unwatch();
      this.disconnect();
    };
  }

  /** @returns {ConnectionView} */
  get connection() {
    const machine = this.machine;
    const status = machine?.state ?? "idle";
    const isAway = status === "backing_off" || status === "connecting" || status === "joining";
    return {
      status,
      isReconnecting: isAway && this.lostAt !== null,
      hasGivenUp: status === "gave_up",
      attemptCount: machine && this.lostAt !== null ? Math.max(machine.backoff.attempt, 1) : 0,
      dueAt: status === "backing_off" ? (machine?.nextDeadline() ?? null) : null,
      lostAt: this.lostAt,
      isOffline: !navigator.onLine,
    };
  }

  /** Try at once, on the present rung of the ladder; with a connection, ask it for a sign of life. */
  retryNow() {
    this.#act((machine, at) => machine.wake(at));
  }

  /** A new ladder, and an attempt at once. */
  reset() {
    this.#act((machine, at) => machine.reset(at));
  }

  // parts ----------------------------------------------------------------------------------------------------------------

  /** @param {(machine: ReconnectingConnection, at: number) => void} action */
  #act(action) {
    const { machine, driver } = this;
    if (machine !== null) driver?.act((at) => action(machine, at));
    this.notify();
  }

  /**
   * A time that is shown was true before the sleep. How long that was is a guess: the time of day may have been set. The
   * machine has a new snapshot sent, which knows.
   * @param {number} seconds
   */
  #slept(seconds) {
    this.shiftTimes(seconds);
    this.#act((machine, at) => machine.slept(at));
  }

  /**
   * Act with the timeouts of the present kind of network. Not every change of it has an event of its own, so it is read
   * whenever the page comes back too.
   * @param {(machine: ReconnectingConnection, at: number) => void} action
   */
  #followNetwork(action) {
    this.profile = profileOf(networkInformation());
    this.#act((machine, at) => {
      machine.setProbeTimeouts(PROBES[this.profile]);
      action(machine, at);
    });
  }

  #changed() {
    const state = this.machine?.state;
    if (state === "open") {
      if (this.lostAt !== null) this.meter.restored();
      this.#hasBeenOpen = true;
      this.lostAt = null;
    } else if (this.lostAt === null && (this.#hasBeenOpen || state === "backing_off" || state === "gave_up")) {
      this.lostAt = now();
      this.meter.lost();
    }
    this.machineChanged();
    this.notify();
  }

  /** @param {LogRecord} record */
  #record(record) {
    this.recorded(record);
    dispatchEvent(new CustomEvent(RECORD_EVENT, { detail: record }));
  }
}
