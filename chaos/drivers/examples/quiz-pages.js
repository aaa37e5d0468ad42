// Takes part through the quiz server's own page: `chaos driver chromium --script quiz-pages.js "http://{address}/play?event=quiz"`.
// The page is what people use; its log (`quiz:record`) says what its connection does.

const { report, takeOrders } = resilience; // given by the driver, before any script of the page
const acts = [];

const REPORTS = {
  "transport.opening": () => report("attempt"),
  "transport.opened": () => report("opened"),
  "transport.failed": ({ cause }) => report("failed", { cause }),
  "transport.lost": ({ cause }) => report("lost", { cause }),
  "peer.declared_dead": () => report("lost", { cause: "silence" }),
  "session.joined": ({ seq }) => report("restored", { how: "fresh", position: seq }),
  "session.restored": ({ seq }) => report("restored", { how: "resumed", position: seq }),
  "stream.delivered": ({ seq }) => report("observed", { position: seq }),
  "answer.acked": () => acts.length && report("acknowledged", { key: acts.shift() }),
  "client.gave_up": () => report("gave_up"),
};

addEventListener("quiz:record", ({ detail }) => REPORTS[detail.kind]?.(detail));

async function join({ client }) {
  while (document.querySelector("#name, header") === null) await new Promise(requestAnimationFrame);
  const name = document.querySelector("#name");
  if (name === null) return; // a page that was reloaded has its session
  name.value = client;
  name.form.requestSubmit();
}

function answer({ key }) {
  const choice = document.querySelector(".choice[aria-disabled=false]");
  if (choice === null) return; // no question is open, or it is answered
  acts.push(key);
  choice.click();
}

addEventListener("load", () => takeOrders({ open: join, act: answer }));
