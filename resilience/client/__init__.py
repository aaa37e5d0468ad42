"""The Python client: carries out what the client machine decides, over ``websockets``. Decides nothing itself.

``client`` one machine on one loop, ``fleet`` many scripted ones, ``terminal`` a person, ``canary`` an eyewitness.
"""

from resilience.client.client import ReconnectingClient

__all__ = ["ReconnectingClient"]
