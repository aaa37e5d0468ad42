/**
 * What a participant sees of a quiz, reduced from messages. Pure: `view` and message in, the next view out.
 *
 * A snapshot and live messages lead to the same view, so a page that was reloaded equals one that was not.
 */

/** @import { OpenQuestion, ServerMessage, Standing, Welcome } from "./messages.js" */

/**
 * `closesAt` is on the page's monotonic clock, seconds; `verdict` is the server's on the own choice.
 * @typedef {object} QuizView
 * @property {string} phase
 * @property {OpenQuestion | null} question
 * @property {number | null} closesAt
 * @property {number | null} choice
 * @property {string | null} verdict
 * @property {number | null} correct
 * @property {number} score
 * @property {number | null} points of the last question
 * @property {Standing[]} leaders
 * @property {number} count participants
 * @property {string} participant the own public id
 */

/** @type {QuizView} */
export const EMPTY_VIEW = Object.freeze({
  phase: "lobby",
  question: null,
  closesAt: null,
  choice: null,
  verdict: null,
  correct: null,
  score: 0,
  points: null,
  leaders: [],
  count: 0,
  participant: "",
});

const ACCEPTED = "accepted";

/** @param {OpenQuestion} question @param {number} now */
function closing(question, now) {
  return now + question.remaining_ms / 1000;
}

/** The view of a snapshot; `pending` are choices without a verdict, by question. @param {Welcome} message @param {Map<string, number>} pending @param {number} now @returns {QuizView} */
export function viewOfSnapshot({ credentials, snapshot }, pending, now) {
  const question = snapshot.question ?? null;
  const roster = typeof snapshot.roster === "string" ? { count: 0, players: [], leaders: [] } : snapshot.roster;
  const isOpen = snapshot.phase === "question" && question !== null;
  const stored = snapshot.answer ?? null;
  return {
    phase: snapshot.phase,
    question,
    closesAt: isOpen ? closing(question, now) : null,
    choice: stored ?? (question ? (pending.get(question.id) ?? null) : null),
    verdict: stored === null ? null : ACCEPTED,
    correct: question?.correct ?? null,
    score: snapshot.score,
    points: null,
    leaders: roster.leaders,
    count: roster.count,
    participant: credentials.participant,
  };
}

/** The view after a choice of the participant. @param {QuizView} view @param {number} choice @returns {QuizView} */
export function withChoice(view, choice) {
  return { ...view, choice, verdict: null };
}

/** The view after a message. @param {QuizView} view @param {ServerMessage} message @param {number} now @returns {QuizView} */
export function reduceView(view, message, now) {
  switch (message.type) {
    case "question_opened": {
      const { question } = message;
      const closesAt = closing(question, now);
      return { ...view, phase: "question", question, closesAt, choice: null, verdict: null, correct: null, points: null };
    }
    case "answer_result":
      return message.question === view.question?.id ? { ...view, verdict: message.verdict } : view;
    case "question_revealed":
      return { ...view, phase: "reveal", closesAt: null, correct: message.correct };
    case "score_changed":
      return { ...view, score: message.score, points: message.question === view.question?.id ? message.points : view.points };
    case "leaderboard_shown":
      return { ...view, phase: "leaderboard", closesAt: null, leaders: message.leaders };
    case "quiz_finished":
      return { ...view, phase: "finished", closesAt: null, leaders: message.leaders };
    case "presence_changed":
      return { ...view, count: message.count };
    default:
      return view;
  }
}

/** The own rank, counted from 1 with ties; `null` below the leaderboard, and once the own score is another than there. @param {QuizView} view */
export function rankOf(view) {
  const own = view.leaders.find((line) => line.participant === view.participant);
  return own === undefined || own.score !== view.score ? null : 1 + view.leaders.filter((line) => line.score > own.score).length;
}
