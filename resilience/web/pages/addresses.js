/** The event in the page's address, and addresses of events. No secret is ever in one. */

/** The event that the address names; empty if it names none. */
export function eventInAddress() {
  return new URLSearchParams(location.search).get("event")?.trim() ?? "";
}

/** The backoff preset that the address names: `classic`, else `window`. @returns {"classic" | "window"} */
export function presetInAddress() {
  return new URLSearchParams(location.search).get("preset") === "classic" ? "classic" : "window";
}

/** Where people join an event. @param {string} event */
export function joinAddress(event) {
  return `${location.origin}/join?event=${encodeURIComponent(event)}`;
}

/** What every computer calls itself; `0.0.0.0` and `[::]` are where a server listens, and a browser takes them too. */
const OWN_NAMES = ["localhost", "0.0.0.0", "[::]", "[::1]"];

/** Whether only this computer itself reaches this host. @param {string} hostname as in `location` */
export function isLoopback(hostname) {
  return OWN_NAMES.includes(hostname) || hostname.endsWith(".localhost") || /^127(\.\d+){3}$/.test(hostname);
}

/** @param {string} path @param {string} event */
export function goToEvent(path, event) {
  location.assign(`${path}?event=${encodeURIComponent(event)}`);
}
