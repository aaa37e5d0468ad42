// A reference driver: clients of Node's own WebSocket that reconnect with growing delays, for a server that echoes.
// Node 22 or later; with `--experimental-websocket` Node 20.10 or later.
import { createInterface } from "node:readline";

const clients = new Map();

function report(type, fields) {
  process.stdout.write(JSON.stringify({ type, t: performance.now() / 1000, ...fields }) + "\n");
}

function dial(client, url) {
  report("attempt", { client });
  const state = clients.get(client);
  const socket = (state.socket = new WebSocket(url));
  const late = setTimeout(() => end("timeout"), 3000);
  let opened = false;
  let over = false;

  function end(cause) {
    if (over || clients.get(client) !== state) return; // it ended before, or was closed on purpose
    over = true;
    clearTimeout(late);
    socket.close();
    report(opened ? "lost" : "failed", { client, cause });
    state.failures = opened ? 0 : state.failures + 1;
    const delay = (0.5 + Math.random() / 2) * Math.min(100 * 2 ** state.failures, 2000);
    state.timer = setTimeout(dial, delay, client, url);
  }

  socket.onopen = () => {
    if (over) return;
    opened = true;
    clearTimeout(late);
    report("opened", { client });
    report("restored", { client, how: "fresh" });
  };
  socket.onmessage = ({ data }) => over || report("acknowledged", { client, key: data });
  socket.onclose = ({ code }) => end(`close code ${code}`);
  socket.onerror = () => end("error");
}

const orders = {
  hello: ({ n }) => report("ready", { version: 1, n, name: `WebSocket of Node ${process.version}` }),
  open: ({ client, url }) => (clients.set(client, { failures: 0 }), dial(client, url)),
  act: ({ client, key }) => clients.get(client)?.socket.readyState === 1 && clients.get(client).socket.send(key),
  close: ({ client }) => {
    clearTimeout(clients.get(client).timer);
    clients.get(client).socket.close();
    clients.delete(client);
  },
  stop: () => (report("ended"), process.exit(0)),
};

const lines = createInterface({ input: process.stdin }).on("close", () => process.exit(0));
lines.on("line", (line) => {
  const order = JSON.parse(line);
  if (Object.hasOwn(orders, order.type)) orders[order.type](order);
  else report("error", { message: `unknown message type '${order.type}'` });
});
