/** A quiet button for what cannot be undone: the first click asks, the second one does it. */

import { html, useEffect, useState } from "../vendor/preact.js";

const ASKS_MS = 5000;

/** @param {{words: string, question: string, onConfirm: () => void, disabled?: boolean}} props */
export function ConfirmButton({ words, question, onConfirm, disabled = false }) {
  const [isAsking, setAsking] = useState(false);
  useEffect(() => {
    if (!isAsking) return undefined;
    const timer = setTimeout(setAsking, ASKS_MS, false);
    return () => clearTimeout(timer);
  }, [isAsking]);
  const click = () => {
    if (isAsking) onConfirm();
    setAsking(!isAsking);
  };
  return html`<button type="button" class="quiet" disabled=${disabled} onClick=${click}>${isAsking ? question : words}</button>`;
}
