"""The only file that touches ``toxiproxy-python``: one blocking HTTP exchange, and every way it can fail, in our words.

The library keeps host and port on a class that all its users share, sets no timeouts and ignores unexpected statuses.
So each :class:`HttpApi` owns a subclass of the library's consumer with its own host and port, bounds every exchange,
keeps the environment's HTTP proxies out of it, and raises on every status from 400 up. Nothing here knows what a proxy
or a toxic means, or of asyncio.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import requests
from toxiproxy import exceptions as library_errors
from toxiproxy.api import APIConsumer, validate_response

from resilience.errors import ToxiproxyError

if TYPE_CHECKING:
    from collections.abc import Iterator

Verb = Literal["get", "post", "patch", "delete"]

_NO_HTTP_PROXY = {"http": "", "all": ""}
_UNAVAILABLE = 503
_FIRST_FAILURE = 400
_LIBRARY_STATUS = {
    library_errors.ProxyExists: 409,
    library_errors.NotFound: 404,
    library_errors.InvalidToxic: 400,
}
_REMEDIES = {
    400: "mend the order: Toxiproxy could not read it",
    404: "create it first; a respawned Toxiproxy has forgotten everything",
    409: "choose another name, or delete the one that is there",
}


class ToxiproxyHungError(ToxiproxyError):
    """The control API did not answer in time; it may never again (kill and respawn the process)."""


class NotToxiproxyError(ToxiproxyError):
    """Something answers at that address, but it is not Toxiproxy."""


class ToxiproxyRefusedError(ToxiproxyError):
    """The control API answered with a failure: ``status`` is HTTP's, ``said`` the server's own words."""

    def __init__(self, message: str, status: int, said: str) -> None:
        super().__init__(message)
        self.status, self.said = status, said


class _BoundedConsumer(APIConsumer):  # type: ignore[misc]  # the library has no types
    """The library's consumer with a timeout on every exchange, plus the PATCH it lacks."""

    timeout_s: ClassVar[float]

    @classmethod
    def bounds(cls) -> dict[str, Any]:
        return {"timeout": cls.timeout_s, "proxies": _NO_HTTP_PROXY}

    @classmethod
    def patch(cls, url: str, **kwargs: Any) -> Any:  # noqa: ANN401  # as untyped as its siblings in the library
        return validate_response(requests.patch(f"http://{cls.host}:{cls.port}{url}", **kwargs))  # noqa: S113


class HttpApi:
    """One server's control API, one exchange at a time. Blocking; not to be shared between threads.

    After the first exchange that did not end in time it is ``hung`` and refuses all others at once.
    """

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self.where = f"toxiproxy at {host}:{port}"
        self.hung = False
        address = {"host": f"[{host}]" if ":" in host else host, "port": port, "timeout_s": timeout_s}
        self._consumer: type[_BoundedConsumer] = type("Consumer", (_BoundedConsumer,), address)

    def send(self, verb: Verb, path: str, body: object = None, *, doing: str) -> bytes:
        """Return what the server answered; ``doing`` names the call and its object in errors.

        Raises ToxiproxyHungError on a timeout or a 503 (which Toxiproxy gives only after its own 25 s limit),
        ToxiproxyRefusedError on any other status from 400 up, and ToxiproxyError when nothing answers.
        """
        if self.hung:
            raise self.hung_error(doing)
        with self._translated(doing):
            content = {} if body is None else {"json": body}
            response = getattr(self._consumer, verb)(path, **content, **self._consumer.bounds())
            if response.status_code >= _FIRST_FAILURE:
                raise self._refusal(doing, response.status_code, response.content)
            return bytes(response.content)

    def hung_error(self, doing: str) -> ToxiproxyHungError:
        """Mark the server as hung, and return the error that says so."""
        self.hung = True
        return ToxiproxyHungError(
            f"{self.where}: {doing}: no answer in time, its control API hangs; kill and respawn this process, "
            "and count the fault window as the harness's failure"
        )

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except tuple(_LIBRARY_STATUS) as refused:
            raise self._refusal(doing, _LIBRARY_STATUS[type(refused)], refused.args[0]) from refused
        except requests.Timeout as late:
            raise self.hung_error(doing) from late
        except OSError as broken:  # the base of everything requests raises
            why = f"{self.where}: {doing}: no usable answer ({broken}); is it still running? respawn it"
            raise ToxiproxyError(why) from broken

    def _refusal(self, doing: str, status: int, content: bytes) -> ToxiproxyError:
        if status == _UNAVAILABLE:
            return self.hung_error(doing)
        said = _reason(content)
        remedy = _REMEDIES.get(status, "look at the server's log; kill and respawn the process if it persists")
        return ToxiproxyRefusedError(f"{self.where}: {doing}: refused with {status} ({said}); {remedy}", status, said)

    def foreign_error(self, doing: str, why: object) -> NotToxiproxyError:
        """Return the error for an answer that Toxiproxy would not give."""
        return NotToxiproxyError(
            f"{self.where}: {doing}: not an answer of Toxiproxy's ({why}); another server has the port: choose another"
        )


def _reason(content: bytes) -> str:
    """The server's own words: the ``error`` of its JSON, else the text."""
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace").strip() or "no reason given"
