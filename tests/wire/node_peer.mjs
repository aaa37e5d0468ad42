// Takes part in a quiz with the WebSocket of Node.js: joins, answers, closes, resumes, leaves. Prints what it saw.

const [url] = process.argv.slice(2);

function dial() {
  const socket = new WebSocket(url);
  const messages = [];
  let wake = () => {};
  const ended = new Promise((resolve) => {
    socket.onclose = (event) => {
      resolve([event.code, event.wasClean]);
      wake();
    };
  });
  socket.onmessage = (event) => {
    messages.push(JSON.parse(event.data));
    wake();
  };
  async function hear(...kinds) {
    for (;;) {
      const at = messages.findIndex((message) => kinds.includes(message.type));
      if (at >= 0) return messages.splice(at, 1)[0];
      if (socket.readyState === WebSocket.CLOSED) throw new Error(`closed before ${kinds}`);
      await new Promise((resolve) => { wake = resolve; });
    }
  }
  const say = (message) => socket.send(JSON.stringify(message));
  const opened = new Promise((resolve) => { socket.onopen = resolve; });
  return { socket, hear, say, ended, opened };
}

const first = dial();
await first.opened;
first.say({ type: "join", event: "quiz", name: "Zoë", instance: "i" });
const joined = await first.hear("joined");
first.say({ type: "token_stored", generation: 1 });
const question = joined.snapshot.question ?? (await first.hear("question_opened")).question;
first.say({ type: "answer", question: question.id, choice: 2, key: "k" });
const { verdict } = await first.hear("answer_result");
first.socket.close(1000, "done");
const closed = await first.ended;

const second = dial();
await second.opened;
second.say({ type: "resume", event: "quiz", token: joined.credentials.token });
const restored = await second.hear("state_restored");
second.say({ type: "token_stored", generation: 2 });
second.say({ type: "leave" });
const left = await second.ended;

const same = restored.credentials.participant === joined.credentials.participant;
const { extensions } = first.socket;
console.log(JSON.stringify({ extensions, verdict, closed, same, answer: restored.snapshot.answer, left }));
