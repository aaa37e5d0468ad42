// Clients of socket.io-client with its defaults, over WebSocket only: each one's connection is the library's affair.
import { createRequire } from "node:module";
import { Manager } from "socket.io-client";
import { obey, Reports } from "./lines.mjs";

const { version } = createRequire(import.meta.url)("socket.io-client/package.json");

obey(`socket.io-client ${version}`, ({ client, url }) => {
  const reports = new Reports(client);
  const { protocol, host, pathname } = new URL(url);
  const manager = new Manager(`${protocol}//${host}`, {
    path: pathname,
    transports: ["websocket"],
    autoConnect: false,
  });
  const socket = manager.socket("/");
  let position = null;

  manager.on("reconnect_attempt", () => reports.attempt());
  manager.on("open", () => reports.opened());
  manager.on("error", (error) => reports.ended(error.message));
  manager.on("close", (reason) => reports.ended(reason === "ping timeout" ? "silence" : reason));
  manager.on("reconnect_failed", () => reports.gaveUp("no attempt is left"));
  socket.on("connect", () => reports.restored(socket.recovered, position));
  socket.on("disconnect", (reason) => socket.active || reports.gaveUp(reason)); // then the library tries no more
  socket.on("connect_error", (error) => socket.active || reports.gaveUp(error.message));
  socket.on("tick", (n) => reports.observed((position = n)));

  reports.attempt();
  socket.connect();
  return {
    act: (key) => socket.connected && socket.emit("act", key, (confirmed) => reports.acknowledged(confirmed)),
    close: () => (reports.close(), socket.disconnect()),
  };
});
