"""The event log's closed vocabulary: the kinds of log events and their fields. Pure, no I/O.

The protocol machines emit :class:`LogEvent` fields themselves (as ``Record`` effects), so all lanes log the same kinds
at the same points; drivers add only events of transports, faults and the run.

Every event has ``t``: seconds since the run's start on one monotonic clock shared by all of its processes.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

SCHEMA_VERSION = 2
"""2: every file ends with an end marker, and ``run.json`` lists the files."""


class Lane(StrEnum):
    """What ran: real sockets, the real code under a virtual clock, or the model; ``pair``: the two machines alone.

    ``population`` computes episodes without events.
    """

    REAL = "real"
    VIRTUAL = "virtual"
    MODEL = "model"
    POPULATION = "population"
    PAIR = "pair"


class Role(StrEnum):
    """Which kind of process recorded the event."""

    CLIENT = "client"
    SERVER = "server"
    INJECTOR = "injector"
    RUNNER = "runner"


class Outcome(StrEnum):
    """The outcome of one episode (one participant, one fault that touched its link); SPEC section 6."""

    RESTORED = "restored"
    GAVE_UP = "gave_up"
    IDENTITY_LOST = "identity_lost"
    CORRUPT = "corrupt"
    CENSORED = "censored"
    RODE_THROUGH = "rode_through"
    NOT_EXPOSED = "not_exposed"
    LEFT = "left"
    """Left on purpose before it was back."""
    SUPERSEDED = "superseded"
    """Replaced by another connection of the same person, such as a second tab."""
    HARNESS = "harness"


class DetachCause(StrEnum):
    """Causes of a detachment that are more than a transport's end."""

    GRACE = "grace"
    """Silence: that absence counts from the last sign of life, any other from its instant."""
    RESTART = "restart"
    """A new server found it: the one that held the connection is gone."""


class Verdict(StrEnum):
    """The result of a check; ``inconclusive`` never counts as success.

    ``not_applicable`` is the result of a check whose input cannot fail it: the run has no evidence of that kind.
    """

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not_applicable"


class LogEventKind(StrEnum):
    """Every kind of log event. Comments name the fields that matter in addition to ``t``, ``role`` and ``actor``."""

    # the run (runner)
    RUN_STARTED = "run.started"  # value: planned duration
    RUN_STEADY = "run.steady"  # outcome: pass | fail; value: share of clients joined
    RUN_ENDED = "run.ended"  # outcome: completed | interrupted | failed; cause
    HARNESS_FAILED = "harness.failed"  # ref: fault id if any; cause

    # the runner's own probe of the server, straight to it; t: since when
    SERVER_SILENT = "server.silent"  # no answer; cause: planned (a fault explains it) | refused | silent | closed
    SERVER_ANSWERS = "server.answers"  # it answers again; value: for how many seconds it did not
    SERVER_FAILED = "server.failed"  # by itself; outcome: ended | silent; cause; detail: the end of its log

    # the laboratory's own processes (runner; actor: the process)
    LAB_LAG = "lab.lag"  # value: the worst lateness within the second that ends at t, s; small ones are left out
    LAB_HEALTH = "lab.health"  # once, at the end; detail: resilience.lab.health.LabHealth as JSON

    # the proxy of a link (runner; actor: the link) failed by itself, which ended every connection; t: since when it may
    # have carried nothing; value: for how many seconds at most; cause
    LINK_REPLACED = "link.replaced"

    # faults (injector; actor: the cohort; ref: the fault id "<index>.<repetition>:<kind>@<cohort>")
    # t of both ends: when the request was sent to the proxy; detail: "<before>..<after>" of the request, s
    FAULT_STARTED = "fault.started"  # value: planned t
    FAULT_CONFIRMED = "fault.confirmed"  # the canary saw the fault begin; value: seconds after fault.started
    FAULT_ENDED = "fault.ended"  # value: planned t; for a fault without duration it follows fault.started at once
    FAULT_CLEARED = "fault.cleared"  # the canary saw the link usable again; value: seconds after fault.ended
    FAULT_INVALID = "fault.invalid"  # the canary did not see begin or end, or the proxy failed; cause

    # transports (client and server drivers; connection_no)
    TRANSPORT_OPENING = "transport.opening"  # client dials; attempt
    TRANSPORT_OPENED = "transport.opened"
    TRANSPORT_FAILED = "transport.failed"  # opening the connection failed; cause; detail: more about it, for a person
    TRANSPORT_LOST = "transport.lost"  # an open connection ended; cause

    # the client machine
    SESSION_JOINED = "session.joined"  # a new identity: joined, not restored; seq; detail: state digest
    SESSION_RESTORED = "session.restored"  # state_restored applied; seq; detail: state digest as the client holds it
    SESSION_REJECTED = "session.rejected"  # the server knows no such session; cause
    SESSION_SUPERSEDED = "session.superseded"  # replaced by a newer connection
    PEER_SUSPECTED = "peer.suspected"  # silence: a probe was sent; value: seconds of silence
    PEER_DEAD = "peer.declared_dead"  # the probe was not answered in time; value: seconds of silence
    BACKOFF_SCHEDULED = "backoff.scheduled"  # attempt; value: delay, s; cause: classic | window | advice
    GAVE_UP = "client.gave_up"  # attempt; value: seconds since the loss
    CLIENT_LEFT = "client.left"  # an intentional leave
    # rejected for good; cause: the close code | status_<n> | rejected (the first message); detail: the server's reason
    CLIENT_DISMISSED = "client.dismissed"
    STREAM_DELIVERED = "stream.delivered"  # a sequenced room message was applied; seq; detail: epoch
    ANSWER_SUBMITTED = "answer.submitted"  # ref: "<question>/<key>"; detail: choice
    ANSWER_ACKED = "answer.acked"  # ref as above; outcome: the verdict
    PONG_SENT = "heartbeat.answered"

    # a page, as its driver observes it: what it shows of the connection has changed; outcome: live | amber | red; ref:
    # the answer that it then calls saved on this device; detail: "progress saved" while it says so
    CLIENT_SHOWN = "client.shown"

    # clients of another program, as their driver reports them, in addition to transports, arrivals and endings; in
    # their session.joined and session.restored the outcome is what the driver claims: fresh | resumed
    CLIENT_ACKNOWLEDGED = "client.acknowledged"  # the server confirmed a piece of work; ref: its key
    CLIENT_OBSERVED = "client.observed"  # something arrived; seq: the position then known; detail: a digest
    DRIVER_CLOCK = "driver.clock"  # runner; at the start; value: uncertainty of the offset, s; detail: name of driver

    # the server (no session): its start, its end, and rejected connections
    SERVER_STARTED = (
        "server.started"  # ref: event; outcome: fresh | recovered; value: recovered sessions; detail: epoch
    )
    SERVER_DRAINING = "server.draining"  # a drain spreads the closes; value: over how many seconds
    SERVER_LATE = "server.late"  # its timer was late, so every peer gets more time; value: s; ref: event
    JOIN_SHED = "join.shed"  # rejected with a retry time; cause: overload | address | full | draining; value: s
    # a connection was rejected for good; cause: origin | event | event_full | late | strikes | key | protocol
    CONNECTION_REFUSED = "connection.refused"
    MESSAGE_REFUSED = (
        "message.refused"  # a message was answered with an error, the connection stays; cause: the error's code
    )
    MESSAGE_DELAYED = "message.delayed"  # a connection sends above its rate: reading is delayed; value: s

    # hosts, as the server sees them
    HOST_ATTACHED = "host.attached"  # ref: event
    HOST_ORDERED = "host.ordered"  # ref: action; outcome: done | stale_step | refused

    # the server machines
    # created and resumed: connection_no; attempt: the client's own count; value: s from request to reply
    SESSION_CREATED = "session.created"  # a new identity was created and attached
    SESSION_RESUMED = (
        "session.resumed"  # attached again; connection_no; seq; detail: digest recomputed from the answer log
    )
    RESUME_REFUSED = "session.resume_refused"  # cause: unknown | retired (a replaced token is replayed) | superseded
    SESSION_FENCED = "session.fenced"  # connection_no: the older connection that a newer one replaced
    # connection_no: the connection whose loss caused it; cause: closed | grace | restart (the server restarted) | ...
    SESSION_DETACHED = "session.detached"
    SESSION_EXPIRED = "session.expired"  # temporarily_disconnected became disconnected
    SESSION_LEFT = "session.left"
    SESSION_FORGOTTEN = "session.forgotten"  # gone without an answer, and deleted; cause: left | limit
    PARTICIPANT_ANNOUNCED = "participant.joined"  # the room was informed, once per identity
    HEARTBEAT_SENT = "heartbeat.sent"
    HEARTBEAT_ACKED = "heartbeat.acked"  # value: round trip, s
    ANSWER_COMMITTED = "answer.committed"  # durable; ref: "<question>/<key>"; outcome: verdict; value: points
    ANSWER_RECOVERED = "answer.recovered"  # found stored by a restarted server, for the last questions; fields as above
    ANSWER_REPLIED = "answer.replied"  # answered without a commit; ref as above; outcome: the verdict
    COMMIT_FAILED = "store.commit_failed"  # nothing in it was acknowledged; cause; value: number of operations in it
    QUESTION_OPENED = "question.opened"  # ref: question id; seq
    QUESTION_CLOSED = "question.closed"  # ref: question id; seq
    SCORE_FINAL = "score.final"  # at the server's end, per participant; value: total_score as stored
    # at the server's end, per participant; outcome: connection state; with cause restart: as a restarted server found
    # it
    SESSION_STATE = "session.state"


class LogEvent(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """One line of the log; ``session_id`` is the participant id, ``ref`` the subject of the event (fault, answer)."""

    t: float
    lane: Lane
    role: Role
    actor: str
    kind: LogEventKind
    cohort: str | None = None
    session_id: str | None = None
    connection_no: int | None = None
    seq: int | None = None
    attempt: int | None = None
    outcome: str | None = None
    cause: str | None = None
    value: float | None = None
    ref: str | None = None
    detail: str | None = None
