/**
 * `SessionRecovery`: a tab that was closed and is open again. The bar shows real steps: session found, connected, state
 * restored, answers synchronised. What takes less than 0.3 s is not shown.
 */

import { RECOVERY_STEPS } from "../client/participant-session.js";
import { html, useEffect, useState } from "../vendor/preact.js";

/** @import { Recovery } from "../client/participant-session.js" */

const QUICK_MS = 300;
const WORDS = [
  "Checking for your earlier session…",
  "Your session was found. Connecting…",
  "Connected. Restoring your place…",
  "Your place is restored. Sending your answers…",
  "You are back.",
];

/** @param {{recovery: Recovery, name: string}} props */
export function SessionRecovery({ recovery, name }) {
  const [isSlow, setSlow] = useState(false);
  const isUnderWay = recovery.state === "checking" || recovery.state === "recovering";
  useEffect(() => {
    if (!isUnderWay) {
      setSlow(false);
      return undefined;
    }
    const timer = setTimeout(setSlow, QUICK_MS, true);
    return () => clearTimeout(timer);
  }, [isUnderWay]);
  if (recovery.state === "failed") {
    return html`<section class="card" aria-label="Session recovery">
      <h2>Your earlier session could not be restored</h2>
    </section>`;
  }
  if (!isUnderWay || !isSlow) return null;
  const words = WORDS[recovery.step] ?? "";
  return html`<section class="card" aria-label="Session recovery">
    <h2>${name ? `Welcome back, ${name}` : "Welcome back"}</h2>
    <p id="recovery-words">${words}</p>
    <progress max=${RECOVERY_STEPS} value=${recovery.step} aria-labelledby="recovery-words"></progress>
  </section>`;
}
