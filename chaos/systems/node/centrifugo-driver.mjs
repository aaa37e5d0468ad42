// Clients of centrifuge-js with its defaults, each subscribed to a channel with recovery. Attempts and ends of a
// connection are seen at the WebSocket, sessions at the subscription.
import { createRequire } from "node:module";
import { Centrifuge } from "centrifuge";
import WebSocket from "ws";
import { obey, Reports } from "./lines.mjs";

const require = createRequire(import.meta.url);
const library = require.resolve("centrifuge").replace(/build.*$/, "package.json");

/** A WebSocket that tells `reports` when it begins and ends; of one that was given up only the next one counts. */
function reportingSocket(reports) {
  let current = null;
  return class extends WebSocket {
    constructor(...args) {
      super(...args);
      current = this;
      reports.attempt();
      this.on("open", () => current === this && reports.opened());
      this.on("close", (code) => this.#end(`close code ${code}`));
    }

    close(...args) {
      queueMicrotask(() => this.#end("given up by the client")); // `connecting` follows at once and knows why
      super.close(...args);
    }

    #end(cause) {
      if (current !== this) return;
      current = null;
      reports.ended(cause);
    }
  };
}

obey(`centrifuge-js ${require(library).version}`, ({ client, url }) => {
  const reports = new Reports(client);
  const centrifuge = new Centrifuge(url, { websocket: reportingSocket(reports) });
  const room = centrifuge.newSubscription("room");
  let position = null;

  centrifuge.on("connecting", ({ reason }) => reports.ended(reason === "no ping" ? "silence" : reason));
  centrifuge.on("disconnected", ({ reason }) => reports.gaveUp(reason)); // then the library tries no more
  room.on("subscribed", ({ wasRecovering, recovered }) => reports.restored(wasRecovering && recovered, position));
  room.on("unsubscribed", ({ reason }) => reports.gaveUp(reason));
  room.on("publication", ({ data }) => reports.observed((position = data.position)));

  room.subscribe();
  centrifuge.connect();
  return {
    act: (key) =>
      reports.inSession &&
      centrifuge.publish(`acts:${client}`, { key }).then(
        () => reports.acknowledged(key),
        () => {}, // the connection went with it
      ),
    close: () => (reports.close(), centrifuge.disconnect()),
  };
});
