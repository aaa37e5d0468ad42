"""The Python clients: carry out what the client machines decide, over ``websockets``. Decide nothing themselves.

The shortest useful program joins, answers, and survives whatever the network does meanwhile::

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

Everything the server says is in ``resilience.protocol.messages``. Rooms: ``driver`` one machine on one loop, ``client``
a participant, ``host_client`` a host, ``identity`` and ``question_file`` files, ``play_cli`` and ``host_cli`` a person
who plays or hosts.
"""

from resilience.client.client import ReconnectingClient, connect
from resilience.client.host_client import HostClient, host
from resilience.config import ClientConfig
from resilience.protocol.client.participant import open_question
from resilience.protocol.messages import QuizFinished
from resilience.protocol.states import ClientState

__all__ = [
    "ClientConfig",
    "ClientState",
    "HostClient",
    "QuizFinished",
    "ReconnectingClient",
    "connect",
    "host",
    "open_question",
]
