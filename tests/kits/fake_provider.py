"""A provider of the model on this machine: it plays a script and remembers who asked with what."""

import json
import math
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

from orchestrator.gateway import anthropic
from orchestrator.gateway.script import Answer, parse_script
from orchestrator.gateway.scripted import next_step

CANARY = f"sk-ant-canary-{os.getpid()}-31415926535"  # of this worker alone


@dataclass
class FakeProvider:
    url: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)
    """Of each request, names in lower case."""
    refusal: "Refusal | None" = None
    """The answer to every request from now on, instead of the script's."""
    limited: dict[str, float] = field(default_factory=dict)
    """Tasks whose first request meets a usage limit, and how many seconds the limit lasts."""
    resets: dict[str, float] = field(default_factory=dict)
    """When these limits end, from their first request on."""

    def refuse(self, task: str) -> "Refusal | None":
        if task not in self.limited:
            return self.refusal
        reset = self.resets.setdefault(task, math.ceil(time.time() + self.limited[task]))
        if time.time() >= reset:
            return self.refusal
        unified = "anthropic-ratelimit-unified"
        headers = {f"{unified}-{name}": "rejected" for name in ("status", "5h-status")}
        headers |= {f"{unified}-{name}": str(reset) for name in ("reset", "5h-reset")}
        return Refusal(429, "You have hit your limit.", headers=headers)


@dataclass(frozen=True)
class Refusal:
    status: int
    message: str = "No."
    headers: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] | None = None
    """Of the error."""


def _find_task(messages: list[dict[str, Any]]) -> str:
    found = re.search(r"\\nTask: (\S+?)\\n", json.dumps(messages))
    return "1" if found is None else found[1]


@contextmanager
def provider(text: str, *, refuse: int | None = None) -> Iterator[FakeProvider]:
    """Serve the script of the task that the prompt names; with `refuse`, only that HTTP error."""
    script = parse_script(text, where="the test")
    seen = FakeProvider(refusal=None if refuse is None else Refusal(refuse))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.headers.append({name.lower(): value for name, value in self.headers.items()})
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            task = _find_task(asked["messages"])
            if (no := seen.refuse(task)) is not None:
                body = anthropic.error_body(no.status, no.message)
                if no.details is not None:
                    error = json.loads(body)
                    error["error"]["details"] = dict(no.details)
                    body = json.dumps(error).encode()
                self._answer(no.status, "application/json", body, no.headers)
                return
            step = next_step(script, task=task, attempt=1, messages=asked["messages"], subagent=False)
            assert isinstance(step, Answer)
            message = anthropic.build_message(step, model="m", seed=str(len(asked["messages"])))
            self._answer(200, "text/event-stream", b"".join(anthropic.stream_events(message)))

        def _answer(
            self, status: int, kind: str, body: bytes, headers: Mapping[str, str] = MappingProxyType({})
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        seen.url = f"http://127.0.0.1:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield seen
        finally:
            server.shutdown()
            serving.join()
