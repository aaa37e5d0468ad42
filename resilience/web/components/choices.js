/** The choices of a question: letters by which people speak of them, and what a reveal says about each. */

import { html } from "../vendor/preact.js";

const FIRST = "A".charCodeAt(0);

/** The letter of a choice; a question has twelve at most. @param {number} i counted from 0 */
export const letterOf = (i) => String.fromCharCode(FIRST + i);

/**
 * The inside of a choice, on a button or not. What is around it has `dir="auto"`, to which the isolated letter says nothing.
 * @param {{i: number, text: string, marked: string}} props
 */
export function ChoiceWords({ i, text, marked }) {
  return html`<bdi class="letter">${letterOf(i)}</bdi>
    <span class="choice-text"><span>${text}</span>${marked && html` <span class="marked">${marked}</span>`}</span>`;
}

/** Choices to look at, as an audience does. @param {{choices: string[], correct: number | undefined}} props */
export function ShownChoices({ choices, correct }) {
  return html`<ul class="choices">
    ${choices.map(
      (text, i) => html`<li key=${i} dir="auto" class=${`choice c${i % 4} ${correct === i ? "right" : ""}`}>
        <${ChoiceWords} i=${i} text=${text} marked=${correct === i ? "✓ right" : ""} />
      </li>`,
    )}
  </ul>`;
}
