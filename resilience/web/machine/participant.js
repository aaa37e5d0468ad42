/**
 * One participant's side of the protocol: the mirror of `resilience/protocol/client/participant.py`. Pure.
 *
 * An answer is kept until its verdict arrives, and is sent again after every reconnection. The time left for a question is
 * as true as its message was fresh: for one that was held on its way, and after a sleep with an open question, the client
 * resumes, since a new snapshot states the true time.
 */

import { ReconnectingConnection, windowOf } from "./connection.js";

/** @import { ClientRules } from "./connection.js" */
/** @import { Answer, AnswerResult, Credentials, Draw, ResumeRejected, ServerMessage, Snapshot, Welcome } from "./messages.js" */

/** @typedef {{event: string, name: string, instance: string, acceptsDeflate?: boolean}} Identity */

export const MAX_PENDING_ANSWERS = 1000;
/** A question that may have waited longer than this on its way is shown with too much time, seconds. */
export const MAX_HOLD_S = 1;

/** Reasons for which a server rejects a token because another client has the session. */
const SUPERSEDED = new Set(["retired", "superseded"]);

/** The state in one readable line, in which both ends must agree. @param {Snapshot} snapshot */
export function digestOf(snapshot) {
  const { phase, score, epoch, seq } = snapshot;
  const question = snapshot.question?.id ?? "-";
  return `phase=${phase};question=${question};score=${score};answer=${snapshot.answer ?? "-"};epoch=${epoch};seq=${seq}`;
}

export class ParticipantClient extends ReconnectingConnection {
  /** @type {Credentials | null} */ credentials = null;
  epoch = "";
  seq = 0;
  /** @type {Map<string, Answer>} Answers without a verdict, by question. */ pending = new Map();
  #answers = 0;
  #isQuestionOpen = false;

  /**
   * @param {Identity} identity
   * @param {ClientRules} rules
   * @param {Draw} draw
   */
  constructor(identity, rules, draw) {
    super(rules, draw);
    this.identity = identity;
  }

  /**
   * Answer a question, now or when the connection is back; a second answer before the verdict is ignored.
   * @param {string} question
   * @param {number} choice
   * @param {number} now
   */
  answer(question, choice, now) {
    if (this.pending.has(question) || this.state === "closed" || this.state === "idle") return;
    if (this.pending.size >= MAX_PENDING_ANSWERS) return;
    this.#answers += 1;
    /** @type {Answer} */
    const answer = { type: "answer", question, choice, key: `${this.identity.instance}-${this.#answers}` };
    this.pending.set(question, answer);
    this.record("answer.submitted", now, { ref: `${question}/${answer.key}`, detail: String(choice) });
    if (this.state === "open") this.#submit(answer, now);
  }

  /** @override @param {number} now */
  correctTimes(now) {
    if (this.#isQuestionOpen) this.resume("slept", now);
  }

  // the server's messages --------------------------------------------------------------------------------------------

  /** @override @param {number | null} seq @param {number} dial @param {number} now */
  receiveUnknown(seq, dial, now) {
    super.receiveUnknown(seq, dial, now);
    if (seq !== null && dial === this.dial && this.state === "open") this.#acceptSequenced(seq, now);
  }

  /** @override @returns {{type: "leave"}} */
  leaveMessage() {
    return { type: "leave" };
  }

  /** @override */
  sessionId() {
    return this.credentials?.participant;
  }

  /** @override @param {number} _now */
  sendFirstMessage(_now) {
    const { event, name, instance, acceptsDeflate } = this.identity;
    const common = { ...(acceptsDeflate ? { accepts_deflate: true } : {}), attempt: this.dials };
    if (this.credentials === null) this.send({ type: "join", event, name, instance, ...common });
    else {
      const { token, participant } = this.credentials;
      this.send({ type: "resume", event, token, participant, ...common });
    }
  }

  /** @override @param {ServerMessage} message @param {number} now */
  receiveJoining(message, now) {
    if (message.type === "joined") this.#onWelcome(message, "session.joined", now);
    else if (message.type === "state_restored") this.#onWelcome(message, "session.restored", now);
    else if (message.type === "resume_rejected") this.#rejected(message, now);
    else if (message.type === "error") this.firstMessageRejected(message, now);
  }

  /** @override @param {ServerMessage} message @param {number} now */
  receiveOpen(message, now) {
    switch (message.type) {
      case "question_opened":
      case "question_revealed":
      case "leaderboard_shown":
      case "quiz_finished":
      case "presence_changed":
        if (this.#acceptSequenced(message.seq, now)) {
          this.deliver(message);
          this.#followQuestion(message.type, now);
        }
        break;
      case "ping":
        this.window = windowOf(message);
        this.send({ type: "pong", id: message.id });
        this.record("heartbeat.answered", now);
        break;
      case "answer_result":
        this.#onAnswerResult(message, now);
        break;
      case "probe_reply":
        this.liveness.answered(now, this.pending.size > 0);
        break;
      default:
        this.deliver(message);
    }
  }

  /** End if another client has the session; else join as a new participant, once. @param {ResumeRejected} message @param {number} now */
  #rejected(message, now) {
    this.record("session.rejected", now, { cause: message.reason });
    if (this.credentials === null) {
      this.abortTransport("resume_rejected", now);
    } else if (SUPERSEDED.has(message.reason)) {
      this.superseded("another client has this session", now);
    } else {
      this.credentials = null;
      this.sendFirstMessage(now);
    }
  }

  /** @param {Welcome} message @param {string} kind @param {number} now */
  #onWelcome(message, kind, now) {
    const { credentials, snapshot } = message;
    this.credentials = credentials;
    this.window = windowOf(message.timing);
    this.epoch = snapshot.epoch;
    this.seq = snapshot.seq;
    const heldFor = this.heldFor;
    this.sessionOpened(now);
    this.record(kind, now, {
      connection_no: credentials.connection_no,
      seq: snapshot.seq,
      attempt: this.backoff.attempt,
      detail: digestOf(snapshot),
    });
    this.markRestored(now);
    this.send({ type: "token_stored", generation: credentials.generation });
    for (const answer of this.pending.values()) this.#submit(answer, now); // each gets its stored verdict
    this.#isQuestionOpen = snapshot.phase === "question";
    this.deliver(message);
    if (this.#isQuestionOpen && heldFor > MAX_HOLD_S) this.resume("question_held", now);
  }

  /** A message of the stream was delivered: one that opens a question may have been held. @param {string} type @param {number} now */
  #followQuestion(type, now) {
    if (type === "question_opened") {
      this.#isQuestionOpen = true;
      if (this.heldFor > MAX_HOLD_S) this.resume("question_held", now);
    } else if (type !== "presence_changed") this.#isQuestionOpen = false;
  }

  /** Accept the next number of the stream; a gap is repaired by a resume. @param {number} seq @param {number} now */
  #acceptSequenced(seq, now) {
    if (seq <= this.seq) return false;
    if (seq > this.seq + 1) {
      this.abortTransport("stream_gap", now);
      return false;
    }
    this.seq = seq;
    this.record("stream.delivered", now, { seq, detail: this.epoch });
    return true;
  }

  /** @param {Answer} answer @param {number} now */
  #submit(answer, now) {
    this.send(answer);
    this.liveness.asked(now);
  }

  /** @param {AnswerResult} message @param {number} now */
  #onAnswerResult(message, now) {
    if (this.pending.get(message.question)?.key !== message.key) return;
    this.pending.delete(message.question);
    this.liveness.answered(now, this.pending.size > 0);
    this.record("answer.acked", now, { ref: `${message.question}/${message.key}`, outcome: message.verdict });
    this.deliver(message);
  }
}
