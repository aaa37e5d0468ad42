// What the drivers of this folder share: lines in and out, and the reports of one client in the order of the protocol.
import { createInterface } from "node:readline";

export function report(type, fields) {
  process.stdout.write(JSON.stringify({ type, t: performance.now() / 1000, ...fields }) + "\n");
}

/** One client's reports. A connection is reported from its attempt to its one end, and nothing after `close`. */
export class Reports {
  #client;
  #state = "down";

  constructor(client) {
    this.#client = client;
  }

  get inSession() {
    return this.#state === "session";
  }

  #say(type, fields) {
    if (this.#state !== "closed") report(type, { client: this.#client, ...fields });
  }

  attempt() {
    this.#say("attempt");
    this.#become("dialing");
  }

  opened() {
    if (this.#state !== "dialing") return;
    this.#say("opened");
    this.#become("connected");
  }

  restored(isResumed, position) {
    if (this.#state !== "connected") return;
    this.#say("restored", { how: isResumed ? "resumed" : "fresh", position });
    this.#become("session");
  }

  /** The connection, or the attempt to open one, is over; a second call for the same one reports nothing. */
  ended(cause) {
    if (this.#state === "dialing") this.#say("failed", { cause });
    else if (this.#state === "connected" || this.#state === "session") this.#say("lost", { cause });
    this.#become("down");
  }

  gaveUp(cause) {
    this.ended(cause);
    this.#say("gave_up", { cause });
    this.close();
  }

  acknowledged(key) {
    if (this.inSession) this.#say("acknowledged", { key });
  }

  observed(position) {
    if (this.inSession) this.#say("observed", { position });
  }

  close() {
    this.#state = "closed";
  }

  #become(state) {
    if (this.#state !== "closed") this.#state = state;
  }
}

/** Carry out orders. `open(order)` begins a client and returns what has `act(key)` and `close()`. */
export function obey(name, open) {
  const clients = new Map();
  const orders = {
    hello: ({ n }) => report("ready", { version: 1, n, name }),
    open: (order) => clients.set(order.client, open(order)),
    act: ({ client, key }) => clients.get(client)?.act(key),
    close: ({ client }) => (clients.get(client)?.close(), clients.delete(client)),
    stop: () => (report("ended"), process.exit(0)),
  };
  createInterface({ input: process.stdin })
    .on("line", (line) => {
      const order = JSON.parse(line);
      if (Object.hasOwn(orders, order.type)) orders[order.type](order);
      else report("error", { message: `unknown message type '${order.type}'` });
    })
    .on("close", () => process.exit(0));
}
