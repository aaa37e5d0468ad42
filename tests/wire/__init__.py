"""WebSocket connections on asyncio, below any quiz."""
