/**
 * Says changes to screen readers, each once: a polite region and an alert, both there and empty from the first paint.
 *
 * Countdowns are outside both; a region that is inserted together with its text may not be read.
 */

import { html, useEffect, useState } from "../vendor/preact.js";

/** @param {{status: string, alert: string}} props the words that hold now; empty for none */
export function LiveRegions({ status, alert }) {
  const [said, say] = useState({ status: "", alert: "" });
  useEffect(() => {
    const timer = setTimeout(() => say({ status, alert }), 50);
    return () => clearTimeout(timer);
  }, [status, alert]);
  return html`
    <div class="visually-hidden" role="status">${said.status}</div>
    <div class="visually-hidden" role="alert">${said.alert}</div>
  `;
}
