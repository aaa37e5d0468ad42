/** The state of the quiz in words for screen readers: what others see at a glance when it changes. */

import { rankOf } from "../machine/quiz-view.js";
import { letterOf } from "./choices.js";

/** @import { QuizView } from "../machine/quiz-view.js" */

/** @param {QuizView} view */
function standing(view) {
  const rank = rankOf(view);
  return `You have ${view.score} points${rank === null ? "" : `, rank ${rank}`}.`;
}

/** @param {QuizView} view */
function reveal({ question, correct }) {
  return question === null || correct === null ? "" : `The right answer is ${letterOf(correct)}, ${question.choices[correct] ?? ""}.`;
}

/** The points for the question at its reveal: they come after the right answer, and not at all after a return. @param {QuizView} view */
export function spokenPoints({ phase, points }) {
  return phase === "reveal" && points !== null ? `You get ${points} points.` : "";
}

/** What the page shows now, once it has joined. @param {QuizView} view */
export function spokenView(view) {
  if (view.participant === "") return "";
  switch (view.phase) {
    case "question":
      return `Question: ${view.question?.text ?? ""}`;
    case "reveal":
      return reveal(view);
    case "leaderboard":
      return `Leaderboard. ${standing(view)}`;
    case "finished":
      return `The quiz is over. ${standing(view)}`;
    default:
      return "You have joined. The quiz begins soon.";
  }
}
