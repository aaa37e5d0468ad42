"""WebSocket connections on asyncio: what a server's end and a client's end have in common."""
