// Centrifugo with centrifugo.json, and one numbered publication a second through its own HTTP API.
// Usage: node centrifugo-server.mjs CENTRIFUGO PORT. Signals go to the process group, so Centrifugo gets them too.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";

const [program, port] = process.argv.slice(2);
const config = fileURLToPath(new URL("centrifugo.json", import.meta.url));
const key = randomUUID();
const settings = {
  CENTRIFUGO_HTTP_SERVER_ADDRESS: "127.0.0.1",
  CENTRIFUGO_HTTP_SERVER_PORT: port,
  CENTRIFUGO_HTTP_API_KEY: key,
};
const centrifugo = spawn(program, ["--config", config], { stdio: "inherit", env: { ...process.env, ...settings } });
centrifugo.on("error", (error) => (console.error(error.message), process.exit(1)));
centrifugo.on("exit", (code) => process.exit(code ?? 1));
process.on("SIGTERM", () => {}); // Centrifugo ends in order, and then this does

let position = 0;
setInterval(async () => {
  const body = JSON.stringify({ channel: "room", data: { position: ++position } });
  const request = { method: "POST", headers: { "X-API-Key": key }, body, signal: AbortSignal.timeout(900) };
  await fetch(`http://127.0.0.1:${port}/api/publish`, request).catch(() => {}); // it starts, or is about to end
}, 1000);
