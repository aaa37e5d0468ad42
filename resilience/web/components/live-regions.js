/**
 * Says changes to screen readers, each once: polite regions and an alert, all there and empty from the first paint.
 *
 * Each subject has a region of its own, because a region is read as a whole when anything in it changes. Countdowns are
 * outside; a region that is inserted together with its text may not be read.
 */

import { html, useEffect, useState } from "../vendor/preact.js";

/** @param {{polite: string[], alert: string}} props the words that hold now, by subject; empty for none */
export function LiveRegions({ polite, alert }) {
  const [said, say] = useState({ polite: polite.map(() => ""), alert: "" });
  useEffect(() => {
    const timer = setTimeout(() => say({ polite, alert }), 50);
    return () => clearTimeout(timer);
  }, [...polite, alert]);
  return html`
    ${said.polite.map((words, i) => html`<div key=${i} class="visually-hidden" role="status">${words}</div>`)}
    <div class="visually-hidden" role="alert">${said.alert}</div>
  `;
}
