"""Removes the secrets of a database URL from messages: by their place in a URL, and wherever else a long one occurs.

A short secret is removed by place alone. Anywhere else it is likely a part of a word, or a name that is no secret, and
asterisks in its stead would make the message unreadable and tell what the secret is.
"""

from __future__ import annotations

import re
from urllib.parse import quote_plus, unquote

MASK = "***"

LONG_SECRET = 6
"""A secret of at least so many characters is removed wherever it occurs."""

_IN_FRONT = re.compile(r"^(?:[\w+]*://)?[^/@:]*:(?!//)(.*)@")
"""The password in front of the host: up to the last ``@``, in case it holds one itself."""

_IN_QUERY = re.compile(r"[?&](\w*password)=([^&]*)")


class UrlRedactor:
    """Removes the secrets of one database URL from a text, in every form in which they may be written."""

    def __init__(self, url: str) -> None:
        in_front = _forms([found for found in _IN_FRONT.findall(url) if found])
        in_query = {name: _forms([secret]) for name, secret in _IN_QUERY.findall(url) if secret}
        places = [rf"(?<=:){re.escape(secret)}(?=@)" for secret in in_front]
        places += [rf"(?<={name}=){re.escape(s)}(?![^&\s'\"])" for name, secrets in in_query.items() for s in secrets]
        known = {secret for secrets in (in_front, *in_query.values()) for secret in secrets}
        anywhere = [re.escape(secret) for secret in sorted(known, key=len, reverse=True) if len(secret) >= LONG_SECRET]
        self._pattern = re.compile("|".join([*places, *anywhere]) or r"(?!)")

    def __call__(self, text: str) -> str:
        """Replace each secret with asterisks."""
        return self._pattern.sub(MASK, text)


def _forms(secrets: list[str]) -> list[str]:
    """Each secret as it is written, decoded, and encoded again, as a driver may show it; the longest first."""
    forms = {form for secret in secrets for form in (secret, unquote(secret), quote_plus(unquote(secret)))}
    return sorted(forms, key=len, reverse=True)
