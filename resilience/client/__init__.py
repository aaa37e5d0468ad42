"""The Python client: carries out what the client machine decides, over ``websockets``. Decides nothing itself."""

from resilience.client.client import ReconnectingClient

__all__ = ["ReconnectingClient"]
