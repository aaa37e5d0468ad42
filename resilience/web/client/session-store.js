/**
 * A participant's session and its answers without a verdict, beyond the page: what makes a return possible.
 *
 * `localStorage` is read first because it answers at once; IndexedDB is the record. The newer of the two counts. A record
 * that is damaged, too old or of a later version of these pages is ignored, never thrown at the participant.
 */

import * as database from "./database.js";

/** @import { Answer, Credentials } from "../machine/messages.js" */
/** @typedef {{version: 1, event: string, name: string, credentials: Credentials, savedAt: number}} SessionRecord `savedAt` in ms since 1970 */

const PREFIX = "quiz.session.v1.";
const LONGEST_AGE_MS = 24 * 3600 * 1000;

/** @param {any} record @returns {SessionRecord | null} */
function valid(record) {
  const { credentials } = record ?? {};
  const isWhole =
    record?.version === 1 &&
    [record.event, record.name, credentials?.token, credentials?.participant].every((text) => typeof text === "string") &&
    [record.savedAt, credentials.generation, credentials.connection_no].every(Number.isFinite);
  return isWhole && Date.now() - record.savedAt < LONGEST_AGE_MS ? record : null;
}

/** The record that `localStorage` holds, at once. @param {string} event @returns {SessionRecord | null} */
export function firstLook(event) {
  try {
    return valid(JSON.parse(localStorage.getItem(PREFIX + event) ?? "null"));
  } catch {
    return null;
  }
}

/** The newest record of an event. @param {string} event @returns {Promise<SessionRecord | null>} */
export async function load(event) {
  const quick = firstLook(event);
  const stored = valid(await database.get("sessions", event).catch(() => null));
  return quick !== null && (stored === null || quick.savedAt > stored.savedAt) ? quick : stored;
}

/** Store a session; whether it is durable, so that it may be called saved. @param {SessionRecord} record */
export async function save(record) {
  try {
    localStorage.setItem(PREFIX + record.event, JSON.stringify(record));
  } catch {
    // full or forbidden: IndexedDB may still take it
  }
  return database.put("sessions", record).then(
    () => true,
    () => false,
  );
}

/** Forget a session. @param {string} event */
export async function forget(event) {
  try {
    localStorage.removeItem(PREFIX + event);
  } catch {
    // forbidden: there is none
  }
  await database.remove("sessions", event).catch(() => {});
  await forgetAnswers(event);
}

/** Every session that could be returned to, newest first. @returns {Promise<SessionRecord[]>} */
export async function all() {
  /** @type {unknown[]} */ const stored = await database.getAll("sessions").catch(() => []);
  const found = stored.map(valid).filter((record) => record !== null);
  return found.sort((a, b) => b.savedAt - a.savedAt);
}

// answers --------------------------------------------------------------------------------------------------------------

/** Store an answer until its verdict; whether it is durable. @param {string} event @param {string} participant @param {Answer} answer */
export function saveAnswer(event, participant, answer) {
  return database.put("answers", { ...answer, event, participant }).then(
    () => true,
    () => false,
  );
}

/** The answers of a participant without a verdict. @param {string} event @param {string} participant @returns {Promise<Answer[]>} */
export async function loadAnswers(event, participant) {
  const stored = await database.getAll("answers").catch(() => []);
  return stored
    .filter((/** @type {any} */ a) => a.event === event && a.participant === participant)
    .map((/** @type {any} */ { question, choice, key }) => ({ type: /** @type {const} */ ("answer"), question, choice, key }));
}

/** @param {string} event @param {string} question */
export function forgetAnswer(event, question) {
  return database.remove("answers", [event, question]).catch(() => {});
}

/** @param {string} event */
async function forgetAnswers(event) {
  const stored = await database.getAll("answers").catch(() => []);
  for (const answer of stored) if (answer.event === event) await forgetAnswer(event, answer.question);
}
