/** The editor of a new quiz: title, questions, choices. The draft is kept in this browser until the quiz is created. */

import { emptyDraft, emptyQuestion, exampleDraft, MOST_CHOICES, parseDraft, planOf, problemOf } from "../machine/plan-draft.js";
import { html, useEffect, useState } from "../vendor/preact.js";

/** @import { HostSession } from "../client/host-session.js" */
/** @import { PlanDraft, QuestionDraft } from "../machine/plan-draft.js" */

const KEPT = "quiz.draft.v1";

function keptDraft() {
  try {
    return parseDraft(localStorage.getItem(KEPT)) ?? emptyDraft();
  } catch {
    return emptyDraft();
  }
}

/** @param {PlanDraft} draft */
function keep(draft) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(draft));
  } catch {
    // full or forbidden: the draft lives as long as the page
  }
}

/** @param {Event} event */
const valueOf = (event) => /** @type {HTMLInputElement} */ (event.currentTarget).value;

/** @param {{number: number, question: QuestionDraft, onChange: (question: QuestionDraft) => void, onRemove: (() => void) | null}} props */
function QuestionFields({ number, question, onChange, onRemove }) {
  const id = `question-${number}`;
  const setChoice = (/** @type {number} */ i, /** @type {string} */ text) =>
    onChange({ ...question, choices: question.choices.map((old, n) => (n === i ? text : old)) });
  return html`<fieldset class="card">
    <legend>Question ${number}</legend>
    <label for=${id}>Text</label>
    <input id=${id} dir="auto" value=${question.text} maxlength="500" onInput=${(/** @type {Event} */ e) => onChange({ ...question, text: valueOf(e) })} />
    <p class="choice-hint">Choices: mark the right one</p>
    ${question.choices.map(
      (choice, i) => html`<div class="choice-field">
        <input type="radio" name=${`${id}-correct`} checked=${question.correct === i} aria-label=${`Choice ${i + 1} is right`}
          onChange=${() => onChange({ ...question, correct: i })} />
        <input dir="auto" value=${choice} maxlength="500" aria-label=${`Choice ${i + 1}`} placeholder=${`Choice ${i + 1}`}
          onInput=${(/** @type {Event} */ e) => setChoice(i, valueOf(e))} />
      </div>`,
    )}
    ${
      question.choices.length < MOST_CHOICES &&
      html`<p><button type="button" class="quiet" onClick=${() => onChange({ ...question, choices: [...question.choices, ""] })}>Add a choice</button></p>`
    }
    <label for=${`${id}-time`}>Seconds to answer</label>
    <input id=${`${id}-time`} type="number" min="1" max="3600" value=${question.seconds}
      onInput=${(/** @type {Event} */ e) => onChange({ ...question, seconds: Number(valueOf(e)) })} />
    ${onRemove && html`<p><button type="button" class="quiet" onClick=${onRemove}>Remove question ${number}</button></p>`}
  </fieldset>`;
}

/** @param {{session: HostSession}} props */
export function Editor({ session }) {
  const [draft, setDraft] = useState(keptDraft);
  const [problem, setProblem] = useState("");
  useEffect(() => keep(draft), [draft]);
  const change = (/** @type {number} */ i, /** @type {QuestionDraft | null} */ next) =>
    setDraft({ ...draft, questions: draft.questions.flatMap((q, n) => (n === i ? (next === null ? [] : [next]) : [q])) });
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const found = problemOf(draft);
    setProblem(found);
    if (found === "") session.create(planOf(draft));
  };
  return html`<main class="editor">
    <h1>New quiz <bdi>${session.event}</bdi></h1>
    <form onSubmit=${submit}>
      <div class="card">
        <label for="title">Title</label>
        <input id="title" dir="auto" value=${draft.title} maxlength="200" onInput=${(/** @type {Event} */ e) => setDraft({ ...draft, title: valueOf(e) })} />
        <p><button type="button" class="quiet" onClick=${() => setDraft(exampleDraft())}>Fill in an example</button></p>
      </div>
      ${draft.questions.map(
        (question, i) => html`<${QuestionFields} key=${i} number=${i + 1} question=${question}
          onChange=${(/** @type {QuestionDraft} */ next) => change(i, next)}
          onRemove=${draft.questions.length > 1 ? () => change(i, null) : null} />`,
      )}
      <p><button type="button" class="quiet" onClick=${() => setDraft({ ...draft, questions: [...draft.questions, emptyQuestion()] })}>Add a question</button></p>
      <p class="problem" role="alert">${problem || session.problem}</p>
      <p class="actions">
        <button type="submit">Open the quiz</button>
        <button type="button" class="quiet" onClick=${() => session.close()}>Back</button>
      </p>
    </form>
  </main>`;
}
