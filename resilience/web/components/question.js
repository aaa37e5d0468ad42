/** A question with its choices as large buttons, the own choice, its verdict, and at the reveal the right answer. */

import { html } from "../vendor/preact.js";
import { ChoiceWords } from "./choices.js";
import { Countdown, secondsLeft } from "./countdown.js";

/** @import { QuizView } from "../machine/quiz-view.js" */

/** @type {Record<string, string>} */
const VERDICTS = {
  accepted: "Your answer is in.",
  duplicate: "Your first answer counts.",
  rejected_late: "Your answer came after the question had closed.",
  rejected_phase: "The question was not open yet.",
  rejected_invalid: "The server does not know this choice.",
};

/** What became of the own answer, in words; `isOpen`: with a connection, `isStored`: durable on this device. @param {QuizView} view @param {boolean} isOpen @param {boolean} isStored */
export function answerWords(view, isOpen, isStored) {
  if (view.choice === null && view.phase === "reveal") return "You gave no answer.";
  if (view.choice === null) return view.phase === "question" && secondsLeft(view.closesAt) === 0 ? "Time is up." : "";
  if (view.verdict !== null) return VERDICTS[view.verdict] ?? view.verdict;
  if (isOpen) return "Sending your answer…";
  return isStored ? "Saved on this device. Your answer will be sent when you are back online." : "Your answer waits to be sent: keep this page open.";
}

/** @param {string} verdict */
export const verdictWords = (verdict) => VERDICTS[verdict] ?? verdict;

/** @param {QuizView} view @param {number} i */
function mark(view, i) {
  if (view.correct === i) return { class: "right", words: view.choice === i ? "✓ right, your choice" : "✓ right" };
  if (view.correct !== null && view.choice === i) return { class: "wrong", words: "✕ your choice" };
  return view.choice === i ? { class: "chosen", words: "your choice" } : { class: "", words: "" };
}

/** Render it again when its time is up. @param {{view: QuizView, words: string, onAnswer: (choice: number) => void}} props */
export function Question({ view, words, onAnswer }) {
  const question = view.question;
  const isOpen = view.phase === "question";
  if (question === null) return null;
  const canAnswer = isOpen && view.choice === null && secondsLeft(view.closesAt) > 0;
  return html`<section class="question" aria-labelledby="question-text">
    ${isOpen && view.closesAt !== null && html`<${Countdown} endsAt=${view.closesAt} total=${question.time_ms / 1000} />`}
    <h2 id="question-text" dir="auto">${question.text}</h2>
    <ul class="choices">
      ${question.choices.map((choice, i) => {
        const marked = mark(view, i);
        return html`<li key=${`${question.id}/${i}`}>
          <button type="button" dir="auto" class=${`choice c${i % 4} ${marked.class}`} aria-disabled=${!canAnswer} aria-pressed=${view.choice === i}
            onClick=${() => canAnswer && onAnswer(i)}>
            <${ChoiceWords} i=${i} text=${choice} marked=${marked.words} />
          </button>
        </li>`;
      })}
    </ul>
    <p class="verdict">${words}</p>
  </section>`;
}
