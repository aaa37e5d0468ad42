"""The only file that uses ``toxiproxy-python``: one blocking HTTP exchange, and its failures as our own errors.

The library keeps host and port on a class that all its users share, sets no timeouts and ignores unexpected statuses.
So each :class:`HttpApi` owns a subclass of the library's consumer with its own host and port, limits the time of every
exchange, ignores the environment's HTTP proxies, and raises for every status from 400 up. Nothing here knows the
meaning of a proxy or a toxic, or of asyncio.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import requests
from toxiproxy import exceptions as library_errors
from toxiproxy.api import APIConsumer, validate_response

from resilience.errors import ToxiproxyError
from resilience.network_addresses import with_port

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
    400: "correct the request: Toxiproxy could not read it",
    404: "create it first; a respawned Toxiproxy starts empty",
    409: "choose another name, or delete the existing one",
}


class ToxiproxyHungError(ToxiproxyError):
    """The control API did not answer in time and may never answer again: kill and respawn the process."""


class NotToxiproxyError(ToxiproxyError):
    """The server at that address answers, but is not Toxiproxy."""


class ToxiproxyRefusedError(ToxiproxyError):
    """The control API answered with an error: ``status`` is HTTP's, ``said`` the server's own message."""

    def __init__(self, message: str, status: int, said: str) -> None:
        super().__init__(message)
        self.status, self.said = status, said


class _BoundedConsumer(APIConsumer):  # type: ignore[misc]  # the library has no types
    """The library's consumer with a timeout on every exchange, and with the missing PATCH."""

    timeout_s: ClassVar[float]

    @classmethod
    def bounds(cls) -> dict[str, Any]:
        return {"timeout": cls.timeout_s, "proxies": _NO_HTTP_PROXY}

    @classmethod
    def patch(cls, url: str, **kwargs: Any) -> Any:  # noqa: ANN401  # as untyped as its siblings in the library
        return validate_response(requests.patch(f"http://{cls.host}:{cls.port}{url}", **kwargs))  # noqa: S113


class HttpApi:
    """One server's control API, one exchange at a time. Blocking; not to be shared between threads.

    After the first timeout it is ``hung`` and rejects every further exchange at once.
    """

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self.where = f"toxiproxy at {with_port(host, port)}"
        self.hung = False
        address = {"host": f"[{host}]" if ":" in host else host, "port": port, "timeout_s": timeout_s}
        self._consumer: type[_BoundedConsumer] = type("Consumer", (_BoundedConsumer,), address)

    def send(self, verb: Verb, path: str, body: object = None, *, doing: str) -> bytes:
        """Return the server's response; ``doing`` names the call and its object in errors.

        Raises ToxiproxyHungError on a timeout or a 503 (which Toxiproxy sends only after its own 25 s limit),
        ToxiproxyRefusedError on any other status from 400 up, and ToxiproxyError if there is no response.
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
        """Mark the server as hung, and return the error for it."""
        self.hung = True
        return ToxiproxyHungError(
            f"{self.where}: {doing}: no response in time, its control API hangs; kill and respawn this process, "
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
            why = f"{self.where}: {doing}: no usable response ({broken}); check that it runs, or respawn it"
            raise ToxiproxyError(why) from broken

    def _refusal(self, doing: str, status: int, content: bytes) -> ToxiproxyError:
        if status == _UNAVAILABLE:
            return self.hung_error(doing)
        said = _reason(content)
        remedy = _REMEDIES.get(status, "read the server's log; kill and respawn the process if the error persists")
        return ToxiproxyRefusedError(f"{self.where}: {doing}: refused with {status} ({said}); {remedy}", status, said)

    def foreign_error(self, doing: str, why: object) -> NotToxiproxyError:
        """Return the error for a response that Toxiproxy would not send."""
        return NotToxiproxyError(
            f"{self.where}: {doing}: not a response of Toxiproxy ({why}); another server has the port: choose another"
        )


def _reason(content: bytes) -> str:
    """The server's own message: the ``error`` of its JSON, else the text."""
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace").strip() or "no reason given"
