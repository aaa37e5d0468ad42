// Takes part through the quiz server's own page: `chaos driver chromium --script quiz-pages.js "http://{address}/play?event=quiz"`.
// The page is what people use; its log (`quiz:record`) is reported as it is, so a run judges it as a client of the fleet.

const { report, takeOrders } = resilience; // given by the driver, before any script of the page
let random = 0;

addEventListener("quiz:record", ({ detail: { effect, t, ...record } }) => report("recorded", record));

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
