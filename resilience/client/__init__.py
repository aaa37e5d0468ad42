"""The Python clients: carry out over ``websockets`` what the client machines decide. Decide nothing themselves.

The shortest useful program joins, answers, and survives network faults::

    import asyncio

    from resilience.client import QuizFinished, connect, open_question

    async def take_part(url: str) -> int | None:
        async with connect(url, name="Ada") as me:
            async for message in me:
                question = open_question(message)
                if question is not None:
                    me.answer(question.id, 0)
                elif isinstance(message, QuizFinished):
                    return next((s.score for s in message.leaders if s.participant == me.machine.participant), None)

    asyncio.run(take_part("ws://127.0.0.1:8765/ws"))

All messages of the server are in ``resilience.protocol.messages``. A client that the server rejects for good (by a
close code, an HTTP status, or an error in answer to its join) ends, and its ``dismissal`` has the server's reason.

Modules: ``driver`` runs one machine on one loop, ``dialling`` opens its transports, ``dialled_connection`` speaks
WebSocket over one of them; ``client`` is a participant, ``host_client`` a host; ``identity`` and ``question_file`` read
files; ``play_cli`` and ``host_cli`` are the terminal programs.
"""

from resilience.client.client import ReconnectingClient, connect
from resilience.client.host_client import HostClient, host
from resilience.config import ClientConfig
from resilience.protocol.client.dismissal import Dismissal
from resilience.protocol.client.participant import open_question
from resilience.protocol.messages import QuizFinished
from resilience.protocol.states import ClientState

__all__ = [
    "ClientConfig",
    "ClientState",
    "Dismissal",
    "HostClient",
    "QuizFinished",
    "ReconnectingClient",
    "connect",
    "host",
    "open_question",
]
