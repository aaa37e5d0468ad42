"""The process of a link's Toxiproxy, for tests that strike it."""

from __future__ import annotations

from chaos.proxied_link import ProxiedLink
from chaos.toxiproxy.process import ToxiproxyProcess


def process_of(link: ProxiedLink) -> ToxiproxyProcess:
    """The Toxiproxy that the link has for itself."""
    assert isinstance(link.process, ToxiproxyProcess)
    return link.process
