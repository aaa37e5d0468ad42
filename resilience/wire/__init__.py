"""WebSocket connections on asyncio: what both ends have in common, and the handshakes of a server."""
