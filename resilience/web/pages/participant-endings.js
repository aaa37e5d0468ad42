/** How a participant's session ended, and the way on from there: every ending has one. */

import { Leaderboard } from "../components/leaderboard.js";
import { SessionRecovery } from "../components/session-recovery.js";
import { html } from "../vendor/preact.js";

/** @import { ParticipantSession, Stage } from "../client/participant-session.js" */

/** @type {Partial<Record<Stage, {title: string, words: string}>>} */
const WORDS = {
  replaced: {
    title: "You continue in another tab or window",
    words: "This one is inactive. Your score and your answers are safe.",
  },
  over: { title: "The quiz is over", words: "Thank you for taking part." },
  left: { title: "You have left the quiz", words: "Your score stays on the leaderboard." },
  unknown: { title: "There is no such quiz", words: "Check the code, or ask the host whether the quiz is open already." },
  full: { title: "The quiz is full", words: "It takes no more participants." },
  ended: { title: "The server ended the connection", words: "Joining again may help." },
};

/** @param {{session: ParticipantSession}} props */
export function Ending({ session }) {
  const { stage, view, recovery } = session;
  const { title, words } = WORDS[stage] ?? { title: "", words: "" };
  const reason = stage === "ended" ? session.dismissal?.reason : "";
  return html`<main class="narrow">
    ${recovery.state === "failed" && html`<${SessionRecovery} recovery=${recovery} name=${session.name} />`}
    <section class="card" role="alert">
      <h1>${title}</h1>
      <p>${words}${reason && ` (${reason})`}</p>
      ${
        stage === "replaced"
          ? html`<button type="button" onClick=${() => session.takeOver()}>Use it here</button>`
          : html`<button type="button" onClick=${() => session.startOver()}>${stage === "left" || stage === "over" ? "Join again" : "Try again"}</button>`
      }
      <p><a href="/join">Another code</a></p>
    </section>
    ${stage === "over" && view.phase === "finished" && html`<${Leaderboard} leaders=${view.leaders} own=${view.participant} score=${view.score} title="Final result" />`}
  </main>`;
}
