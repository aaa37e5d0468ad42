"""The real lane waits for its proxies as long as any other test of real processes does."""

from __future__ import annotations

from ..support.proxy_timeouts import patient_with_proxies

__all__ = ["patient_with_proxies"]
