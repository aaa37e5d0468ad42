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
function reveal({ question, correct, points }) {
  const right = question === null || correct === null ? "" : `The right answer is ${letterOf(correct)}, ${question.choices[correct] ?? ""}.`;
  return points === null ? right : `${right} You get ${points} points.`;
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
