// A Socket.IO server with connection state recovery and otherwise its defaults: WebSocket only, one numbered broadcast
// a second, and an acknowledgement of each act. Usage: node socketio-server.mjs PORT
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer((request, response) => {
  response.writeHead(request.url === "/healthz" ? 200 : 404).end();
});
const server = new Server(http, { connectionStateRecovery: {}, transports: ["websocket"] });
server.on("connection", (socket) => socket.on("act", (key, confirm) => confirm(key)));

let position = 0;
setInterval(() => server.emit("tick", ++position), 1000);

http.listen(Number(process.argv[2]), "127.0.0.1");
process.on("SIGTERM", () => server.close(() => process.exit(0)));
