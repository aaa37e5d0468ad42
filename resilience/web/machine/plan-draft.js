/**
 * The draft of a quiz while a host edits it, and the plan that a server accepts. Pure.
 *
 * The server checks every plan itself; what is found here only spares the host a round trip.
 */

/** @import { QuizPlan } from "./messages.js" */
/** @typedef {{text: string, choices: string[], correct: number, seconds: number}} QuestionDraft */
/** @typedef {{title: string, questions: QuestionDraft[]}} PlanDraft */

export const CHOICES = 4;
/** The most that a server takes. */
export const MOST_CHOICES = 12;
export const DEFAULT_SECONDS = 20;

/** @returns {QuestionDraft} */
export const emptyQuestion = () => ({ text: "", choices: Array(CHOICES).fill(""), correct: 0, seconds: DEFAULT_SECONDS });

/** @returns {PlanDraft} */
export const emptyDraft = () => ({ title: "", questions: [emptyQuestion()] });

/** Something to try the pages with. @returns {PlanDraft} */
export const exampleDraft = () => ({
  title: "A first quiz",
  questions: [
    { text: "Which planet is closest to the sun?", choices: ["Venus", "Mercury", "Mars", "Earth"], correct: 1, seconds: 20 },
    { text: "How many sides has a hexagon?", choices: ["Five", "Six", "Seven", "Eight"], correct: 1, seconds: 20 },
    { text: "Which of these is the largest ocean?", choices: ["Atlantic", "Arctic", "Indian", "Pacific"], correct: 3, seconds: 20 },
  ],
});

/** A draft from text that a browser stored; `null` if it is none. @param {string | null} text @returns {PlanDraft | null} */
export function parseDraft(text) {
  try {
    const draft = JSON.parse(text ?? "null");
    const isWhole =
      typeof draft?.title === "string" &&
      Array.isArray(draft.questions) &&
      draft.questions.length > 0 &&
      draft.questions.every(
        (/** @type {any} */ q) => typeof q?.text === "string" && Array.isArray(q.choices) && Number.isInteger(q.correct) && Number.isFinite(q.seconds),
      );
    return isWhole ? draft : null;
  } catch {
    return null;
  }
}

/** The first thing that is wrong with a draft, in words; empty if nothing is. @param {PlanDraft} draft */
export function problemOf(draft) {
  for (const [i, question] of draft.questions.entries()) {
    const filled = question.choices.map((choice) => choice.trim());
    const given = filled.filter((choice) => choice !== "");
    const where = `Question ${i + 1}`;
    if (question.text.trim() === "") return `${where} has no text.`;
    if (given.length < 2) return `${where} needs at least two choices.`;
    if (new Set(given).size < given.length) return `${where} has two equal choices.`;
    if ((filled[question.correct] ?? "") === "") return `${where} has no right choice: mark one that has a text.`;
    if (!(question.seconds > 0 && question.seconds <= 3600)) return `${where} must be open for 1 to 3600 seconds.`;
  }
  return draft.questions.length === 0 ? "A quiz needs a question." : "";
}

/** The plan of a draft without a problem; empty choices are left out. @param {PlanDraft} draft @returns {QuizPlan} */
export function planOf(draft) {
  const questions = draft.questions.map((question, i) => {
    const kept = question.choices.map((choice, n) => ({ choice: choice.trim(), n })).filter(({ choice }) => choice !== "");
    return {
      id: `q${i + 1}`,
      text: question.text.trim(),
      choices: kept.map(({ choice }) => choice),
      correct: kept.findIndex(({ n }) => n === question.correct),
      time_s: question.seconds,
    };
  });
  const title = draft.title.trim();
  return { questions, ...(title === "" ? {} : { title }) };
}
