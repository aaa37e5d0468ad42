/**
 * `ReconnectionStatus`: amber while the client reconnects, red when it has given up; part of the page, blocks nothing.
 *
 * Amber shows after a second of loss, counted over the whole outage, so a blip does not flash. The words say what is saved
 * only as far as it is.
 */

import { now } from "../client/platform.js";
import { html, useEffect, useRef, useState } from "../vendor/preact.js";

/** @import { SessionReconnection } from "../hooks/use-event-websocket.js" */

const GRACE_S = 1;
const BACK_MS = 3000;
const LONG_S = 15;

/** What happens to the participant's work meanwhile. @typedef {{isSaved: boolean, unsent: number, isStored: boolean}} Progress */

/** @param {Progress} progress */
export function progressWords({ isSaved, unsent, isStored }) {
  if (unsent > 0) {
    const [answers, wait] = unsent === 1 ? ["1 answer", "waits"] : [`${unsent} answers`, "wait"];
    return isStored ? `${answers} ${wait} on this device and will be sent.` : `${answers} to be sent: keep this page open.`;
  }
  return isSaved ? "Your progress is saved." : "Your score is kept on the server. Keep this page open to stay in your place.";
}

/** @param {SessionReconnection} reconnection */
function countdownWords({ isOffline, nextAttemptSeconds }) {
  if (isOffline) return "Waiting for a network.";
  if (nextAttemptSeconds === null) return "Waiting.";
  return nextAttemptSeconds === 0 ? "Trying now." : `Next attempt in ${nextAttemptSeconds} s.`;
}

/** @param {SessionReconnection} reconnection */
function useShown({ isReconnecting, hasGivenUp, lostAt }) {
  const shown = hasGivenUp || (isReconnecting && lostAt !== null && now() - lostAt >= GRACE_S);
  const wasShown = useRef(false);
  const [isBack, setBack] = useState(false);
  useEffect(() => {
    if (shown) wasShown.current = true;
    else if (wasShown.current && lostAt === null) {
      wasShown.current = false;
      setBack(true);
      const timer = setTimeout(setBack, BACK_MS, false);
      return () => clearTimeout(timer);
    }
    return undefined;
  }, [shown, lostAt === null]);
  return { shown, isBack: isBack && !shown };
}

/** @param {{reconnection: SessionReconnection, progress: string}} props `progress` says what is saved, in words */
export function ReconnectionStatus({ reconnection, progress }) {
  const { shown, isBack } = useShown(reconnection);
  const { hasGivenUp, attemptCount, isOffline, reset, retryNow } = reconnection;
  if (shown && hasGivenUp) {
    return html`<section class="banner red" aria-label="Connection">
      <p><span class="mark" aria-hidden="true">✕</span> <strong>The connection could not be restored.</strong> ${progress}</p>
      <p class="actions">
        <button type="button" onClick=${reset}>Try again</button>
        <button type="button" class="quiet" onClick=${() => location.reload()}>Reload the page</button>
      </p>
    </section>`;
  }
  if (shown) {
    const title = isOffline ? "You are offline." : "Reconnecting…";
    return html`<section class="banner amber" aria-label="Connection">
      <p>
        <span class="spinner" aria-hidden="true"></span> <strong>${title}</strong>${" "}
        ${!isOffline && html`<span>Attempt ${attemptCount}.</span>`}${" "}
        <span role="timer">${countdownWords(reconnection)}</span> ${progress}
      </p>
      <p class="actions"><button type="button" onClick=${retryNow}>Try now</button></p>
    </section>`;
  }
  return isBack && html`<section class="banner green" aria-label="Connection"><p>✓ Back online.</p></section>`;
}

/** The words for screen readers: each change once, and no counting aloud. @param {SessionReconnection} reconnection @param {string} progress */
export function spokenConnection({ isReconnecting, hasGivenUp, isOffline, lostAt }, progress) {
  if (hasGivenUp) return { status: "", alert: `The connection could not be restored. ${progress}` };
  const lasted = lostAt === null ? 0 : now() - lostAt;
  if (!isReconnecting || lasted < GRACE_S) return { status: "", alert: "" };
  const title = isOffline ? "You are offline." : lasted < LONG_S ? "Reconnecting." : "Still reconnecting.";
  return { status: `${title} ${progress}`, alert: "" };
}
