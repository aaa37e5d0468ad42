"""Meanings of fields and members that their source does not give yet, by ``Class.name``.

The source is the place for them: an entry moves there as the docstring below its field, and a test refuses one that the
source has taken over.
"""

from __future__ import annotations

_SERVER = {
    "heartbeat_interval": "How often the server pings each participant; the first ping of each is spread at random "
    "over this time.",
    "grace_period": "Silence, counted from the last sign of life, after which a participant is cut off and counts as "
    "temporarily disconnected.",
    "cleanup_interval": "Absence, counted from the last sign of life, after which a participant counts as "
    "disconnected. Score and answers stay.",
    "join_capacity": "Joins per second that this server was measured to take. Sets the return window that clients "
    "are told, the pace of admission and the length of a drain.",
    "presence_interval": "The least time between two presence frames.",
    "flap_hidden": "How long an absence must last before other players see it.",
    "participants_cap": "The most participants that a snapshot lists one by one; above it, it counts them.",
    "leaderboard_size": "How many the leaderboard shows.",
    "late_window": "How long after its close a question still takes the answers of those whose outage overlapped the "
    "close; 0 turns this off.",
    "first_message_deadline": "How long a connection may take, from its first moment, to shake hands and say join, "
    "resume or host.",
    "strike_limit": "How many unreadable messages a connection may send before it is closed.",
    "max_message_bytes": "The longest message that a participant may send.",
    "write_buffer_bytes": "How much may wait in this process for one slow reader before it is cut off; it may resume.",
    "send_buffer_bytes": "How much the operating system may hold for one socket, so that a slow reader is noticed.",
    "backlog": "How many connections may wait to be accepted; a herd that finds no place there loses seconds.",
    "drain_window": "The least time that an orderly stop takes to close everybody.",
    "restart_pause": "How long the next start is expected to take; added to what leavers are told to wait.",
    "adaptive_heartbeat": "Whether each connection's interval and grace follow its round trips and the phase; off, "
    "they are exactly ``heartbeat_interval`` and ``grace_period``.",
    "interval_floor": "The shortest interval that the adaptive heartbeat may choose.",
    "grace_floor": "The shortest grace that the adaptive heartbeat may choose.",
    "checkpoint_interval": "How often what nobody waits for (signs of life, retired tokens) is stored.",
    "admission_seconds": "How many seconds of joins may queue before newcomers are told to come back later.",
    "max_connections": "The most open connections; 0 takes what the limit on open files leaves room for.",
    "max_events": "The most events that run at once.",
    "message_rate": "Messages per second that one connection may keep sending; the rest waits. 0 turns the limit off.",
    "message_burst": "How many messages a connection may send at once before that rate holds.",
    "address_rate": "Connections per second that one address may keep opening. 0 turns the limit off.",
    "address_burst": "How many connections an address may open at once before that rate holds.",
    "address_failures": "Refusals per minute (wrong tokens, keys, origins) that one address may earn before it has to "
    "wait. 0 turns the limit off.",
    "allowed_origins": "Browser origins that may connect, beside the server's own.",
    "trust_forwarded": "Whether to believe the last address in ``X-Forwarded-For``; only behind a proxy that sets it.",
}
_CLIENT = {
    "preset": "The policy that gives every number left out below.",
    "attempts": "How many attempts an outage may cost before the client gives up; left out, the preset's.",
    "initial": "The first delay of the ladder; left out, the preset's.",
    "maximum": "The longest delay of the ladder; left out, the preset's.",
    "multiplier": "How much longer each delay is than the one before; left out, the preset's.",
    "jitter": "How a delay is spread at random; left out, the preset's.",
    "budget": "How long after the loss the client goes on trying; left out, the preset's.",
    "stable_after": "How long a session must last before the next loss starts at the foot of the ladder again.",
    "probe_after": "The silence that makes the client probe the server.",
    "probe_deadline": "How long the reply to a probe may take before the connection counts as dead.",
    "open_timeout": "How long a dial may take.",
    "join_timeout": "How long an open connection may take to answer join or resume.",
}
_QUIZ = {
    "questions": "How many questions there are.",
    "lobby": "The time from the first join to the first question.",
    "question_time": "How long each question is open.",
    "reveal_time": "How long the right answer is shown.",
    "leaderboard_time": "How long the leaderboard is shown.",
    "answer_share": "The probability that a scripted player answers a question.",
    "fastest": "The earliest moment of an answer, as a share of the question's time.",
    "slowest": "The latest moment of an answer, as a share of the question's time.",
}
_CLOSE = {
    "NORMAL": "All is said: the client goes, or the event is over and makes room for another.",
    "GOING_AWAY": "The other side goes away, such as a page that is left.",
    "PROTOCOL_ERROR": "The frames or the protocol version are wrong.",
    "POLICY_VIOLATION": "What was sent is not allowed.",
    "TOO_BIG": "A message is longer than ``max_message_bytes``.",
    "INTERNAL_ERROR": "The server failed at something unforeseen.",
    "SERVICE_RESTART": "The server stops in order; the reason says when to come back.",
    "TRY_AGAIN_LATER": "What was asked could not be stored, or the event is moving to another server; the reason says "
    "when to come back.",
    "ABNORMAL": "Never sent: what an end sees that got no close frame, such as one that was cut off.",
}
_WORDS = {
    "RetryClass.RETRY": "Come back by the usual policy.",
    "RetryClass.RETRY_ADVISED": "Come back after the time in the reason, ``retry_after=<seconds>``; without one, by "
    "the usual policy.",
    "RetryClass.NEVER": "Do not come back by yourself.",
    "Phase.LOBBY": "Before the first question.",
    "Phase.QUESTION": "A question is open.",
    "Phase.REVEAL": "It is closed and the right answer shown.",
    "Phase.LEADERBOARD": "The best are shown.",
    "Phase.FINISHED": "The quiz is over.",
    "ConnectionState.CONNECTED": "Here, as far as the server knows.",
    "ConnectionState.TEMPORARILY_DISCONNECTED": "Absent for less than the clean-up time.",
    "ConnectionState.DISCONNECTED": "Gone for longer, or left on purpose.",
    "ClientState.IDLE": "Not started.",
    "ClientState.CONNECTING": "A dial is under way.",
    "ClientState.JOINING": "The transport is open, the welcome not here yet.",
    "ClientState.OPEN": "The session is up.",
    "ClientState.BACKING_OFF": "Waiting for the next attempt.",
    "ClientState.GAVE_UP": "A budget is spent; only the application, a wake-up or the network's return starts again.",
    "ClientState.CLOSED": "Over: left, or told never to come back.",
    "AnswerVerdict.ACCEPTED": "It counts, and is stored.",
    "AnswerVerdict.DUPLICATE": "Another answer of this participant to this question was first; that one counts.",
    "AnswerVerdict.REJECTED_LATE": "The question was closed.",
    "AnswerVerdict.REJECTED_PHASE": "The question is not open yet.",
    "AnswerVerdict.REJECTED_INVALID": "There is no such question or no such choice.",
    "QuizPlan.questions": "The questions, in their order; no two with the same id.",
    "QuizPlan.title": "The event's title, for people.",
    "QuizPlan.pace": "When the quiz moves on by itself.",
    "Pace.lobby": "Time from the first join to the first question; absent: the host starts.",
    "Pace.reveal": "Time from a question's close to the leaderboard; absent: the host moves on.",
    "Pace.leaderboard": "Time from the leaderboard to what follows it; absent: the host moves on.",
    "Question.id": "The question's id.",
    "Question.text": "What is asked.",
    "Question.choices": "What can be answered; no two alike.",
    "Question.correct": "The right choice, counted from 0.",
    "Question.time_s": "How long it is open.",
}

UNSAID: dict[str, str] = {
    **{f"ServerConfig.{key}": text for key, text in _SERVER.items()},
    **{f"ClientConfig.{key}": text for key, text in _CLIENT.items()},
    **{f"QuizConfig.{key}": text for key, text in _QUIZ.items()},
    **{f"CloseCode.{key}": text for key, text in _CLOSE.items()},
    **_WORDS,
}
