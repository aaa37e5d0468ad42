"""Traces of the client machines for other languages: what happened to a machine, and all that it did about it.

``tests/vectors/client_traces.json`` holds them; ``python -m tests.support.client_traces`` renews it. Each trace is a
walk through likely events of a state and some that do not fit it; the machine of the browser must repeat every step.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resilience.config import ClientConfig
from resilience.policy.backoff import Preset
from resilience.protocol import codec
from resilience.protocol.client.connection import ReconnectingConnection
from resilience.protocol.client.host import HostMachine
from resilience.protocol.client.participant import Identity, ParticipantClient
from resilience.protocol.effects import (
    AbortTransport,
    ClientEffect,
    CloseTransport,
    Deliver,
    OpenTransport,
    Record,
    SendToServer,
)
from resilience.protocol.messages import HostAction
from resilience.quiz.plan import QuizPlan
from resilience.quiz.questions import arithmetic_questions
from resilience.random_streams import random_for

FILE = Path(__file__).parents[1] / "vectors" / "client_traces.json"
STEPS = 60
SLEEP_S = 9.0
CODES = (1000, 1001, 1006, 1011, 1012, 1013, 4000, 4100, 4200, 4202)
ROSTER = {"count": 1, "players": [], "leaders": []}
TIMING = {
    "heartbeat_ms": 15000,
    "grace_ms": 30000,
    "cleanup_ms": 60000,
    "spread_ms": 700,
    "step_ms": 300,
    "cap_ms": 3000,
}
STATUS = {
    "event": "e", "title": "t", "step": 0, "phase": "lobby", "question": 0, "questions": 1, "text": "",
    "remaining_ms": None, "connected": 0, "away": 0, "gone": 0, "answered": 0, "leaders": [],
}  # fmt: skip
Json = dict[str, Any]


class TracedWalk:
    """One machine and the steps of its walk. ``draws`` are the uniform numbers it used, by purpose and numbers."""

    def __init__(self, name: str, seed: int, config: ClientConfig, *, host: bool) -> None:
        self.name, self.host, self.config = name, host, config
        self.now, self.steps, self.draws = 0.0, list[Json](), dict[str, float]()
        self._choose = random.Random(seed)
        self._keyed = random_for(seed, name)
        plan = QuizPlan(arithmetic_questions(1, 1, 10.0))
        self.machine: ReconnectingConnection = (
            HostMachine("e", "key", plan, config.rules, self._draw)
            if host
            else ParticipantClient(Identity("e", "Ada", "tab"), config.rules, self._draw)
        )
        self._seq = 0

    def _draw(self, purpose: str, incident: int, attempt: int) -> float:
        value = self._keyed(purpose, incident, attempt)
        self.draws[f"{purpose}/{incident}/{attempt}"] = value
        return value

    def walk(self) -> Json:
        """Make the steps; the whole trace."""
        self._step("start")
        while len(self.steps) < STEPS and not (self.machine.state == "closed" and len(self.steps) > STEPS // 3):
            self._any_step()
        return self._trace()

    def hold_questions(self) -> Json:
        """Questions that arrive over a stalled link, after a sleep, and after the reply to a probe; the trace."""
        for held in (self._stall, self._sleep, self._stall_until_the_reply):
            self._open()
            held()
            self._receive(self._opened(self._seq + 1), self.machine.dial)
        return self._trace()

    def _trace(self) -> Json:
        rules = {"preset": self.config.preset, "attempts": self.config.attempts, "budget": self.config.budget}
        kind = "host" if self.host else "participant"
        return {"name": self.name, "machine": kind, "rules": rules, "draws": self.draws, "steps": self.steps}

    def _open(self) -> None:
        if not self.steps:
            self._step("start")
        else:
            self._handle_timeout()
        self._step("transport_opened", dial=self.machine.dial)
        self._receive(self._welcome(), self.machine.dial)

    def _handle_timeout(self) -> None:
        self.now = self.machine.next_deadline() or self.now
        self._step("handle_timeout")

    def _stall(self) -> None:
        self._handle_timeout()
        self.now += 1.5

    def _sleep(self) -> None:
        self.now += SLEEP_S

    def _stall_until_the_reply(self) -> None:
        self._stall()
        sent = [effect["message"] for effect in self.steps[-1]["effects"] if effect["effect"] == "send"]
        self._receive({"type": "probe_reply", "id": sent[-1]["id"]}, self.machine.dial)

    def _any_step(self) -> None:
        deadline, roll = self.machine.next_deadline(), self._choose.random()
        if roll < 0.35 and deadline is not None:
            self.now = max(self.now, deadline + self._choose.choice((0.0, 0.0, 0.0, 0.25, 1.0, 40.0)))
            self._step("handle_timeout")
            return
        self.now += self._choose.choice((*(0.0, 0.125, 0.5, 1.5) * 3, SLEEP_S))
        self._choose.choice(self._events())()

    def _events(self) -> list[Callable[[], None]]:
        dial = self.machine.dial - (self._choose.random() < 0.05)
        likely: dict[str, list[Callable[[], None]]] = {
            "connecting": [lambda: self._step("transport_opened", dial=dial)] * 3 + [lambda: self._fail(dial)],
            "joining": [lambda: self._receive(self._welcome(), dial)] * 4
            + [lambda: self._receive(self._refusal(), dial)],
            "open": [lambda: self._receive(self._news(), dial)] * 6 + [self._work] * 3,
            "gave_up": [lambda: self._step("start")],
        }
        woken = [lambda: self._step("wake"), lambda: self._step("slept")]
        rare = [*woken, lambda: self._lose(dial), self._work, lambda: self._unknown(dial)]
        last = [lambda: self._step("leave")] if len(self.steps) > STEPS - 5 else []
        return likely.get(self.machine.state, []) * 2 + rare + last

    # the events -------------------------------------------------------------------------------------------------------

    def _fail(self, dial: int) -> None:
        status = self._choose.choice((None, None, 503, 429, 502, 404))
        advice = self._choose.choice((None, 2.5)) if status in (503, 429) else None
        self._step("transport_failed", dial=dial, cause="refused", advice=advice, status=status)

    def _lose(self, dial: int) -> None:
        code = self._choose.choice(CODES)
        advice = self._choose.choice((None, 0.01, 7.25)) if code in (1012, 1013, 4100) else None
        self._step("transport_lost", dial=dial, cause=f"close_{code}", code=code, advice=advice, reason="why")

    def _unknown(self, dial: int) -> None:
        self._step("receive_unknown", seq=self._choose.choice((None, self._seq + 1)), dial=dial)

    def _work(self) -> None:
        if self.host:
            action = self._choose.choice(list(HostAction))
            self._step(*self._choose.choice((("order", {"action": str(action)}), ("create", {}))))
        else:
            self._step("answer", question=f"q{self._choose.randrange(3)}", choice=self._choose.randrange(4))

    def _receive(self, message: Json, dial: int) -> None:
        self._seq = message.get("seq", self._seq)
        self._step("receive", message=message, dial=dial)

    # the messages -----------------------------------------------------------------------------------------------------

    def _welcome(self) -> Json:
        if self.host:
            known = self._choose.choice(({}, {"status": self._status()}))
            return {"type": "hosting", "event": "e", **known}
        self._seq = len(self.steps)
        name = self._choose.choice(("joined", "state_restored"))
        credentials = {
            "participant": "p1",
            "token": f"T{self._seq}",
            "generation": self._seq,
            "connection_no": self._seq,
        }
        snapshot: Json = {
            "epoch": "x",
            "seq": self._seq,
            "phase": "question",
            "score": 5,
            "server_time_ms": 1,
            "roster": ROSTER,
        }
        if self._choose.random() < 0.5:
            question = {"id": "q1", "text": "?", "choices": ["a", "b"], "time_ms": 9000, "remaining_ms": 500}
            snapshot |= {"question": question, "answer": 1}
        return {"type": name, "credentials": credentials, "timing": TIMING, "snapshot": snapshot}

    def _status(self) -> Json:
        return {**STATUS, "step": len(self.steps), "remaining_ms": self._choose.choice((None, 9000))}

    def _refusal(self) -> Json:
        error = {"type": "error", "code": "malformed", "field": "name", "rule": "must be visible"}
        if self.host or self._choose.random() < 0.3:
            return error
        reason = self._choose.choice(("unknown", "unknown", "unknown", "retired", "superseded"))
        return {"type": "resume_rejected", "reason": reason}

    def _news(self) -> Json:
        ping = {"type": "ping", "id": len(self.steps), "spread_ms": 50, "step_ms": 400, "cap_ms": 4000}
        common = [ping, {"type": "probe_reply", "id": 1}]
        if self.host:
            result = {"verdict": "done", "step": len(self.steps)}
            pending = getattr(self.machine, "pending", None)
            action = str(pending.action) if pending else "create"
            results = [{"type": "host_result", "action": name, **result} for name in (action, "finish")]
            return self._choose.choice([*common, {"type": "host_status", **self._status()}, *results])
        seq = self._seq + self._choose.choice((1, 1, 1, 1, 1, 1, 0, 2))
        presence = {"type": "presence_changed", "seq": seq, "count": 1, "joined": [], "changed": []}
        revealed = {"type": "question_revealed", "seq": seq, "question": "q1", "correct": 0}
        opened = self._opened(seq)
        score = {"type": "score_changed", "question": "q1", "points": 3, "score": 8}
        verdicts = [self._verdict(), self._verdict()]
        return self._choose.choice([*common, presence, opened, opened, revealed, score, *verdicts])

    def _opened(self, seq: int) -> Json:
        question = {"id": "q1", "text": "?", "choices": ["a", "b"], "time_ms": 9000, "remaining_ms": 9000}
        return {"type": "question_opened", "seq": seq, "question": question}

    def _verdict(self) -> Json:
        assert isinstance(self.machine, ParticipantClient)
        pending = list(self.machine.pending.values())
        key = pending[0].key if pending else "tab-1"
        question = pending[0].question if pending else "q1"
        return {"type": "answer_result", "question": question, "key": key, "verdict": "accepted"}

    # one step ---------------------------------------------------------------------------------------------------------

    def _step(self, event: str, arguments: Json | None = None, /, **more: Any) -> None:  # noqa: ANN401 - any argument
        arguments = {**(arguments or {}), **more}
        returned = self._call(event, arguments)
        step = {"at": self.now, "event": event, **{k: v for k, v in arguments.items() if v is not None}}
        if isinstance(returned, bool):
            step["returned"] = returned
        effects = [effect_json(effect) for effect in self.machine.effects()]
        step |= {"effects": effects, "state": str(self.machine.state), "next": self.machine.next_deadline()}
        self.steps.append(step)

    def _call(self, event: str, arguments: Json) -> object:
        machine: Any = self.machine
        if event == "receive":
            message = codec.decode_server(json.dumps(arguments["message"]))
            return machine.receive(message, arguments["dial"], self.now)
        if event == "order":
            return machine.order(HostAction(arguments["action"]))
        if event == "create":
            return machine.create()
        return getattr(machine, event)(**arguments, now=self.now)


def effect_json(effect: ClientEffect) -> Json:
    """An effect as it stands in a trace."""
    match effect:
        case Record():
            fields = {name: getattr(effect, name) for name in effect.__struct_fields__}
            return {"effect": "record", **{name: value for name, value in fields.items() if value is not None}}
        case OpenTransport():
            return {"effect": "open", "dial": effect.dial, "attempt": effect.attempt}
        case SendToServer():
            return {"effect": "send", "message": json.loads(codec.encode(effect.message))}
        case AbortTransport():
            return {"effect": "abort", "dial": effect.dial}
        case CloseTransport():
            return {"effect": "close", "dial": effect.dial}
        case Deliver():
            return {"effect": "deliver", "message": {"type": effect.message.__struct_config__.tag}}


CONFIGS = {
    "window": ClientConfig(),
    "classic": ClientConfig(preset=Preset.CLASSIC),
    "three attempts": ClientConfig(preset=Preset.CLASSIC, attempts=3),
    "half a minute": ClientConfig(budget=30.0),
}


def traces() -> list[Json]:
    """All traces, the same at every call."""
    found = []
    for label, config in CONFIGS.items():
        for host in (False, True):
            kind = "host" if host else "participant"
            found += [TracedWalk(f"{kind}, {label}, {n}", n, config, host=host).walk() for n in range(1, 3)]
    return [*found, TracedWalk("participant, held questions", 1, ClientConfig(), host=False).hold_questions()]


def rendered() -> str:
    """The content of the file: one line for each step."""
    lines = []
    for trace in traces():
        head = {name: value for name, value in trace.items() if name != "steps"}
        steps = ",\n  ".join(json.dumps(step) for step in trace["steps"])
        lines.append(f'{json.dumps(head)[:-1]}, "steps": [\n  {steps}\n]}}')
    return "[\n" + ",\n".join(lines) + "\n]\n"


if __name__ == "__main__":
    FILE.write_text(rendered(), "utf-8")
