/**
 * What a client does differently by the type of its connection. Pure.
 *
 * `navigator.connection` exists in some browsers only; without it the profile is `default`. A phone on a cellular network
 * pays for each probe with its radio, so it waits longer before one and for its reply.
 */

/** @import { ProbeTimeouts } from "./liveness.js" */
/** @typedef {"default" | "wifi" | "cellular" | "saveData"} NetworkProfile */

/** @type {Record<NetworkProfile, ProbeTimeouts>} seconds */
export const PROBES = {
  default: { silence: 4, deadline: 2 },
  wifi: { silence: 4, deadline: 2 },
  cellular: { silence: 10, deadline: 5 },
  saveData: { silence: 15, deadline: 5 },
};

/** @param {{type?: string, saveData?: boolean} | undefined} connection as in `navigator.connection` @returns {NetworkProfile} */
export function profileOf(connection) {
  if (connection?.saveData) return "saveData";
  if (connection?.type === "cellular") return "cellular";
  return connection?.type === "wifi" || connection?.type === "ethernet" ? "wifi" : "default";
}
