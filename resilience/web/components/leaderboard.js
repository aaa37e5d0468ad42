/** The best participants with their ranks; the own line is marked. */

import { html } from "../vendor/preact.js";

/** @import { Standing } from "../machine/messages.js" */

/** `score` is the own one, for who is not among the best. @param {{leaders: Standing[], own?: string, score?: number, title?: string}} props */
export function Leaderboard({ leaders, own = "", score = 0, title = "Leaderboard" }) {
  if (leaders.length === 0) return html`<p class="hint">No points yet.</p>`;
  const isListed = own === "" || leaders.some((line) => line.participant === own);
  const rank = (/** @type {Standing} */ line) => 1 + leaders.filter((other) => other.score > line.score).length;
  return html`<table class="leaders">
    <caption>${title}</caption>
    <thead class="visually-hidden"><tr><th scope="col">Rank</th><th scope="col">Name</th><th scope="col">Points</th></tr></thead>
    <tbody>
      ${leaders.map(
        (line) => html`<tr key=${line.participant} class=${line.participant === own ? "own" : ""}>
          <td>${rank(line)}</td>
          <th scope="row"><bdi>${line.name}</bdi>${line.participant === own ? " (you)" : ""}</th>
          <td>${line.score}</td>
        </tr>`,
      )}
    </tbody>
  </table>
  ${!isListed && html`<p class="points-below">You have ${score} points.</p>`}`;
}
