/** The host's page: key and code, the editor of a new quiz, then the console before the audience; at `/host`. */

import { ConfirmButton } from "../components/confirm-button.js";
import { ShownChoices } from "../components/choices.js";
import { Countdown } from "../components/countdown.js";
import { Leaderboard } from "../components/leaderboard.js";
import { LiveRegions } from "../components/live-regions.js";
import { QualityIndicator } from "../components/quality-indicator.js";
import { ReconnectionStatus, spokenConnection } from "../components/reconnection-status.js";
import { HostSession } from "../client/host-session.js";
import { randomText } from "../client/platform.js";
import { useSessionReconnection } from "../hooks/use-event-websocket.js";
import { useSession, useTopOf } from "../hooks/use-subscribed.js";
import { nextAction } from "../machine/host.js";
import { html, render, useEffect, useState } from "../vendor/preact.js";
import { eventInAddress, isLoopback, joinAddress } from "./addresses.js";
import { Editor } from "./host-editor.js";

/** @import { HostStatus } from "../machine/messages.js" */

const CODE_LENGTH = 5;
const PROGRESS = "The quiz and all answers are kept on the server.";

/** @type {Record<string, string>} */
const NEXT_WORDS = { lobby: "Start the quiz", question: "Close the question", reveal: "Show the leaderboard" };
/** @type {Record<string, string>} */
const PHASE_WORDS = { lobby: "Waiting to begin", question: "Question open", reveal: "Answer revealed", leaderboard: "Leaderboard", finished: "Over" };

/** @param {{session: HostSession}} props */
function KeyForm({ session }) {
  const [proposed] = useState(() => session.event || eventInAddress() || randomText(CODE_LENGTH));
  const submit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const data = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    const [code, key] = [String(data.get("code") ?? "").trim(), String(data.get("key") ?? "").trim()];
    if (code !== "" && key !== "") session.open(code, key);
  };
  return html`<main class="narrow">
    <h1>Host a quiz</h1>
    <form class="card" onSubmit=${submit}>
      <label for="code">Code of the quiz: a new one, or one that is open</label>
      <input id="code" name="code" required maxlength="64" value=${proposed} autocomplete="off" autocapitalize="off" spellcheck=${false} />
      <label for="key">Host key of this server</label>
      <input id="key" name="key" type="password" required maxlength="256" autocomplete="off" aria-describedby="problem" />
      <p id="problem" class="problem" role="alert">${session.problem}</p>
      <button type="submit">Continue</button>
    </form>
  </main>`;
}

/** @param {{event: string}} props */
function JoinCard({ event }) {
  const address = joinAddress(event);
  return html`<section class="card join-card" aria-label="How to join">
    <img src=${`/join.svg?event=${encodeURIComponent(event)}`} width="240" height="240" alt=${`QR code of ${address}`} />
    <div>
      <p>Join with code</p>
      <p class="code"><bdi>${event}</bdi></p>
      <p class="address">${address}</p>
      ${isLoopback(location.hostname) && html`<p class="note">Only this computer can open this address. For phones, start the server with${" "}
        <code>--host 0.0.0.0</code>${" "}and open this page under the computer's own address.</p>`}
    </div>
  </section>`;
}

/** @param {HostStatus} status */
const nextWords = (status) => {
  if (status.phase === "leaderboard") return status.question < status.questions ? "Next question" : "Show the final result";
  return NEXT_WORDS[status.phase] ?? "";
};

/** @param {{status: HostStatus}} props */
function Counts({ status }) {
  const present = status.connected + status.away + status.gone;
  return html`<dl class="counts">
    <div><dt>Connected</dt><dd>${status.connected}</dd></div>
    <div><dt>Away</dt><dd>${status.away}</dd></div>
    <div><dt>Gone</dt><dd>${status.gone}</dd></div>
    ${status.question > 0 && html`<div><dt>Answers</dt><dd>${status.answered} of ${present}</dd></div>`}
  </dl>`;
}

/** @param {{session: HostSession, status: HostStatus}} props */
function Controls({ session, status }) {
  const action = nextAction(status.phase);
  return html`<p class="actions">
    ${action !== null && html`<button type="button" disabled=${session.isBusy} onClick=${() => session.order(action)}>${nextWords(status)}</button>`}
    ${action !== null && html`<${ConfirmButton} words="End the quiz" question="Really end the quiz?" disabled=${session.isBusy} onConfirm=${() => session.order("finish")} />`}
    ${action === null && html`<button type="button" onClick=${() => session.close()}>Host another quiz</button>`}
  </p>`;
}

/** @param {{session: HostSession, status: HostStatus}} props */
function Console({ session, status }) {
  const reconnection = useSessionReconnection(session);
  const { phase } = status;
  const spoken = spokenConnection(reconnection, PROGRESS);
  const place = `${PHASE_WORDS[phase] ?? phase}${status.question > 0 ? `, question ${status.question} of ${status.questions}` : ""}`;
  return html`
    <header>
      <p class="score"><strong><bdi>${status.title || status.event}</bdi></strong> <span>${place}</span></p>
      <${QualityIndicator} quality=${session.meter.quality} />
    </header>
    <${ReconnectionStatus} reconnection=${reconnection} progress=${PROGRESS} />
    <${LiveRegions} polite=${[spoken.status, place]} alert=${spoken.alert} />
    <main>
      <h1 class="visually-hidden">Hosting ${status.event}</h1>
      ${phase === "lobby" && html`<${JoinCard} event=${status.event} />`}
      ${(phase === "question" || phase === "reveal") && html`<section class="question">
        ${session.advancesAt !== null && status.time_ms && phase === "question" && html`<${Countdown} endsAt=${session.advancesAt} total=${status.time_ms / 1000} />`}
        <h2 dir="auto">${status.text}</h2>
        <${ShownChoices} choices=${status.choices ?? []} correct=${status.correct} />
      </section>`}
      ${(phase === "leaderboard" || phase === "finished") && html`<${Leaderboard} leaders=${status.leaders} title=${phase === "finished" ? "Final result" : "Leaderboard"} />`}
      <${Counts} status=${status} />
      <p class="problem" role="alert">${session.problem}</p>
      <${Controls} key=${phase} session=${session} status=${status} />
      ${phase !== "lobby" && phase !== "finished" && html`<p class="hint">Late? Join with code <strong><bdi>${status.event}</bdi></strong> at ${joinAddress(status.event)}</p>`}
    </main>
  `;
}

/** @param {{session: HostSession}} props */
function Waiting({ session }) {
  const reconnection = useSessionReconnection(session);
  return html`<main class="narrow">
    <h1>Host <bdi>${session.event}</bdi></h1>
    <${ReconnectionStatus} reconnection=${reconnection} progress="" />
    <p class="hint">Connecting…</p>
    <button type="button" class="quiet" onClick=${() => session.close()}>Back</button>
  </main>`;
}

/** @param {{session: HostSession}} props */
function Ended({ session }) {
  return html`<main class="narrow"><section class="card" role="alert">
    <h1>The server ended the connection</h1>
    <p>${session.dismissal?.reason || "The event made room for another one."}</p>
    <button type="button" onClick=${() => session.close()}>Back</button>
  </section></main>`;
}

function HostPage() {
  const session = useSession(() => new HostSession());
  useEffect(() => {
    document.title = session.stage === "form" ? "Host a quiz" : `Host ${session.event}`;
  }, [session.stage, session.event]);
  useTopOf(`${session.stage} ${session.status?.step}`);
  if (session.stage === "editor") return html`<${Editor} session=${session} />`;
  if (session.stage === "active" && session.status !== null) return html`<${Console} session=${session} status=${session.status} />`;
  if (session.stage === "ended") return html`<${Ended} session=${session} />`;
  return session.stage === "form" ? html`<${KeyForm} session=${session} />` : html`<${Waiting} session=${session} />`;
}

const root = document.getElementById("app");
if (root !== null) render(html`<${HostPage} />`, root);
