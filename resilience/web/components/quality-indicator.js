/** The quality of the connection as bars and a word: never by colour alone. */

import { html } from "../vendor/preact.js";

/** @import { Quality } from "../machine/quality.js" */

/** @type {Record<Quality, [number, string]>} bars of three, and the word */
const SHOWN = {
  unknown: [0, "Connection: measuring"],
  good: [3, "Connection: good"],
  fair: [2, "Connection: fair"],
  poor: [1, "Connection: poor"],
  offline: [0, "Connection: none"],
};

/** @param {{quality: Quality}} props */
export function QualityIndicator({ quality }) {
  const [bars, words] = SHOWN[quality];
  return html`<span class="quality">
    <svg viewBox="0 0 16 12" width="20" height="15" aria-hidden="true" class=${quality}>
      ${[0, 1, 2].map((i) => html`<rect x=${i * 6} y=${8 - 4 * i} width="4" height=${4 + 4 * i} rx="1" class=${i < bars ? "on" : "off"} />`)}
    </svg>
    ${words}
  </span>`;
}
