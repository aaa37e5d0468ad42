"""The WebSocket wire from outside: raw bytes and other libraries as peers. Nothing here knows how a driver is built."""
