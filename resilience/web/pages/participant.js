/** The participant's page: join by code and name, then the quiz; at `/join` and `/play`. */

import { ConfirmButton } from "../components/confirm-button.js";
import { SpokenTime } from "../components/countdown.js";
import { Leaderboard } from "../components/leaderboard.js";
import { LiveRegions } from "../components/live-regions.js";
import { QualityIndicator } from "../components/quality-indicator.js";
import { answerWords, Question, verdictWords } from "../components/question.js";
import { progressWords, ReconnectionStatus, spokenConnection } from "../components/reconnection-status.js";
import { SessionRecovery } from "../components/session-recovery.js";
import { spokenPoints, spokenView } from "../components/spoken-view.js";
import { all } from "../client/session-store.js";
import { useEventWebSocket } from "../hooks/use-event-websocket.js";
import { useMoment, useTopOf } from "../hooks/use-subscribed.js";
import { rankOf } from "../machine/quiz-view.js";
import { html, render, useEffect, useState } from "../vendor/preact.js";
import { Ending } from "./participant-endings.js";
import { eventInAddress, goToEvent, presetInAddress } from "./addresses.js";

/** @import { ParticipantSession } from "../client/participant-session.js" */
/** @import { SessionRecord } from "../client/session-store.js" */
/** @import { SessionReconnection } from "../hooks/use-event-websocket.js" */

/** Enter a code; sessions of this browser can be returned to. */
function CodePage() {
  const [sessions, setSessions] = useState(/** @type {SessionRecord[]} */ ([]));
  useEffect(() => {
    all().then(setSessions);
  }, []);
  const submit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const code = String(new FormData(/** @type {HTMLFormElement} */ (event.currentTarget)).get("code") ?? "").trim();
    if (code !== "") goToEvent("/play", code);
  };
  return html`<main class="narrow">
    <h1>Join a quiz</h1>
    <form class="card" onSubmit=${submit}>
      <label for="code">Code of the quiz</label>
      <input id="code" name="code" required maxlength="64" autocomplete="off" autocapitalize="off" spellcheck=${false} />
      <button type="submit">Continue</button>
    </form>
    ${sessions.map(
      (session) => html`<section class="card" key=${session.event}>
        <h2>Return to your quiz</h2>
        <button type="button" onClick=${() => goToEvent("/play", session.event)}>Return to <bdi>${session.event}</bdi> as <bdi>${session.name}</bdi></button>
      </section>`,
    )}
  </main>`;
}

/** @param {{session: ParticipantSession}} props */
function NameForm({ session }) {
  const submit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const name = String(new FormData(/** @type {HTMLFormElement} */ (event.currentTarget)).get("name") ?? "").trim();
    if (name !== "") session.join(name);
  };
  return html`<main class="narrow">
    <h1>Join <bdi>${session.event}</bdi></h1>
    <form class="card" onSubmit=${submit}>
      <label for="name">Your name, as others see it</label>
      <input id="name" name="name" dir="auto" required maxlength="64" autocomplete="nickname" value=${session.name} aria-describedby="problem" />
      <p id="problem" class="problem" role="alert">${session.problem}</p>
      <button type="submit">Join</button>
    </form>
    <p><a href="/join">Another code</a></p>
  </main>`;
}

/** @param {{session: ParticipantSession}} props */
function Elsewhere({ session }) {
  return html`<main class="narrow">
    <section class="card">
      <h1>This quiz is open in another tab</h1>
      <p>You take part as <bdi>${session.name}</bdi> there. A quiz can be used in one tab at a time.</p>
      <button type="button" onClick=${() => session.takeOver()}>Use it here</button>
    </section>
  </main>`;
}

/** @param {{session: ParticipantSession}} props */
function Score({ session }) {
  const { view } = session;
  const rank = view.score > 0 ? rankOf(view) : null;
  return html`<p class="score"><strong><bdi>${session.name}</bdi></strong> <span>${view.score} points${rank !== null && `, rank ${rank}`}</span></p>`;
}

/** @param {{session: ParticipantSession, words: string}} props */
function Phase({ session, words }) {
  const { view } = session;
  const hasJoined = view.participant !== "";
  if (!hasJoined) return html`<p class="hint">Connecting to the quiz…</p>`;
  switch (view.phase) {
    case "question":
    case "reveal":
      return html`<${Question} view=${view} words=${words} onAnswer=${(/** @type {number} */ i) => session.answer(i)} />
        ${view.phase === "reveal" && view.points !== null && html`<p class="points">+${view.points} points</p>`}`;
    case "leaderboard":
      return html`<${Leaderboard} leaders=${view.leaders} own=${view.participant} score=${view.score} />`;
    case "finished":
      return html`<h2>The quiz is over</h2><${Leaderboard} leaders=${view.leaders} own=${view.participant} score=${view.score} title="Final result" />`;
    default:
      return html`<section class="card lobby">
        <h2>You are in</h2>
        <p>The quiz begins soon.</p>
        <p class="hint">${view.count === 1 ? "1 participant" : `${view.count} participants`}</p>
      </section>`;
  }
}

/** @param {ParticipantSession} session */
function progressOf(session) {
  const { isSaved, unsent, storedAnswers } = session;
  return progressWords({ isSaved, unsent, isStored: storedAnswers.size >= unsent });
}

/** @param {{session: ParticipantSession, reconnection: SessionReconnection}} props */
function Quiz({ session, reconnection }) {
  const { view } = session;
  useTopOf(view.phase === "question" || view.phase === "reveal" ? view.question?.id : view.phase);
  useMoment(view.phase === "question" ? view.closesAt : null);
  const progress = progressOf(session);
  const isStored = view.question !== null && session.storedAnswers.has(view.question.id);
  const words = answerWords(view, session.connection.status === "open", isStored);
  const late = session.lateVerdict === null ? "" : `Your earlier answer: ${verdictWords(session.lateVerdict.verdict)}`;
  const replaced = session.isReplacement ? "Your earlier session is gone; you have joined again with a new score." : "";
  const spoken = spokenConnection(reconnection, progress);
  const notes = [late, replaced].filter(Boolean);
  const countedTo = view.choice === null ? view.closesAt : null;
  return html`
    <header>
      <${Score} session=${session} />
      <${QualityIndicator} quality=${session.meter.quality} />
    </header>
    <${ReconnectionStatus} reconnection=${reconnection} progress=${progress} />
    <${LiveRegions} polite=${[spoken.status, notes.join(" "), spokenView(view), words, spokenPoints(view)]} alert=${spoken.alert} />
    <${SpokenTime} endsAt=${countedTo} total=${(view.question?.time_ms ?? 0) / 1000} />
    <main>
      <h1 class="visually-hidden">Quiz ${session.event}</h1>
      ${session.recovery.state !== "none" && html`<${SessionRecovery} recovery=${session.recovery} name=${session.name} />`}
      ${notes.map((note) => html`<p class="note">${note}</p>`)}
      <${Phase} session=${session} words=${words} />
    </main>
    <footer><${ConfirmButton} words="Leave the quiz" question="Really leave for good?" onConfirm=${() => session.leave()} /></footer>
  `;
}

/** @param {{event: string}} props */
function EventPage({ event }) {
  const { session, reconnection } = useEventWebSocket({ event, preset: presetInAddress() });
  useEffect(() => {
    document.title = `Quiz ${event}`;
  }, [event]);
  switch (session.stage) {
    case "checking":
      return html`<main class="narrow"><h1 class="visually-hidden">Quiz ${event}</h1>
        <${SessionRecovery} recovery=${session.recovery} name=${session.name} /></main>`;
    case "form":
      return html`<${NameForm} session=${session} />`;
    case "elsewhere":
      return html`<${Elsewhere} session=${session} />`;
    case "active":
      return html`<${Quiz} session=${session} reconnection=${reconnection} />`;
    default:
      return html`<${Ending} session=${session} />`;
  }
}

const event = eventInAddress();
const root = document.getElementById("app");
if (root !== null) render(event === "" ? html`<${CodePage} />` : html`<${EventPage} event=${event} />`, root);
