"""The WebSocket wire from outside: raw bytes and other libraries as peers. Nothing here knows how either driver is built."""
