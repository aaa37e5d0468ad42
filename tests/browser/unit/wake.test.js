/** What a page reports of itself: when it is paused and when it is woken, over a fake browser. */

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { watchPage } from "../../../resilience/web/client/wake.js";

/** @type {string[]} */
let reported;
/** @type {{document: any, navigator: any}} */
let browser;

/** Watch a page of that browser; returns the end of the watch. @param {{pausesHidden?: boolean}} [options] */
function watched({ pausesHidden = true } = {}) {
  return watchPage(
    {
      pause: (paused) => reported.push(paused ? "paused" : "back"),
      wake: () => reported.push("woken"),
      slept: () => reported.push("slept"),
      network: () => reported.push("changed"),
    },
    { pausesHidden },
  );
}

/** @param {EventTarget} target @param {string} name */
const happens = (target, name) => target.dispatchEvent(new Event(name));

/** @param {string} state */
function becomes(state) {
  browser.document.visibilityState = state;
  happens(browser.document, "visibilitychange");
}

beforeEach(() => {
  reported = [];
  const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  const navigator = { onLine: true, connection: new EventTarget() };
  browser = { document, navigator };
  for (const [name, value] of Object.entries({ document, navigator, window: new EventTarget() })) {
    Object.defineProperty(globalThis, name, { value, configurable: true });
  }
});

test("each change of the network is reported", () => {
  const unwatch = watched();
  happens(browser.navigator.connection, "change");
  happens(browser.navigator.connection, "change");
  assert.deepEqual(reported, ["changed", "changed"]);
  unwatch();
  happens(browser.navigator.connection, "change");
  assert.equal(reported.length, 2);
});

test("a change of the network is not reported of a page that is hidden or offline", () => {
  const unwatch = watched();
  becomes("hidden");
  happens(browser.navigator.connection, "change");
  becomes("visible");
  browser.navigator.onLine = false;
  happens(globalThis.window, "offline");
  happens(browser.navigator.connection, "change");
  assert.deepEqual(reported, ["paused", "back", "paused"]);
  unwatch();
});

test("of a page that does not pause while hidden all is reported", () => {
  const unwatch = watched({ pausesHidden: false });
  becomes("hidden");
  happens(browser.navigator.connection, "change");
  assert.deepEqual(reported, ["woken", "changed"]);
  unwatch();
});

test("the many events of one return wake a page once", () => {
  const unwatch = watched();
  for (const name of ["pageshow", "focus", "online"]) happens(globalThis.window, name);
  assert.deepEqual(reported, ["woken"]);
  unwatch();
});
