// Takes part through the quiz server's own page: `chaos driver chromium --script quiz-pages.js "http://{address}/play?event=quiz"`.
// The page is what people use; its log (`quiz:record`), the messages that cross its WebSocket and what it then shows are reported as
// they are, so a run judges it as a client of the fleet.

const { report, takeOrders } = resilience; // given by the driver, before any script of the page
let random = 0;
let opened = 0; // connections of this document
let answered; // the last answer, "<question>/<key>"
let before = JSON.stringify({ outcome: "live" });

addEventListener("quiz:record", ({ detail: { effect, t, ...record } }) => {
  if (record.kind === "answer.submitted") answered = record.ref;
  report("recorded", record);
});

window.WebSocket = class extends WebSocket {
  constructor(...address) {
    super(...address);
    const number = (opened += 1);
    this.addEventListener("message", ({ data }) => report("received", { text: String(data), newer: opened - number }));
  }

  send(data) {
    if (JSON.parse(data).type === "answer") report("sent", { text: data });
    super.send(data);
  }
};

// The words are those of `answerWords` and `progressWords` of the page (resilience/web/components/).
function shown() {
  const banner = document.querySelector(".banner.amber, .banner.red");
  const verdict = document.querySelector(".verdict")?.textContent ?? "";
  const words = banner?.textContent ?? "";
  return {
    outcome: banner === null ? "live" : banner.matches(".red") ? "red" : "amber",
    ref: verdict.startsWith("Saved on this device.") || /waits? on this device/.test(words) ? answered : undefined,
    detail: words.includes("Your progress is saved.") ? "progress saved" : undefined,
  };
}

new MutationObserver(() => {
  const now = shown();
  const text = JSON.stringify(now);
  if (text === before) return;
  before = text;
  report("recorded", { kind: "client.shown", ...now });
}).observe(document, { subtree: true, childList: true, characterData: true, attributeFilter: ["class"] });

async function join({ client, seed }) {
  random = 1 + (seed % 2147483646);
  while (document.querySelector("#name, header") === null) await new Promise(requestAnimationFrame);
  const name = document.querySelector("#name");
  if (name === null) return; // a page that was reloaded has its session
  name.value = client;
  name.form.requestSubmit();
}

function answer() {
  const choices = document.querySelectorAll(".choice[aria-disabled=false]");
  if (choices.length === 0) return; // no question is open, or it is answered
  random = (random * 69621) % 2147483647; // the same choices in every run of one seed
  choices[random % choices.length].click();
}

addEventListener("load", () => takeOrders({ open: join, act: answer }));
