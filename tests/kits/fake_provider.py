"""A provider of the model on this machine: it plays a script and remembers who asked with what."""

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

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


@dataclass(frozen=True)
class Refusal:
    status: int
    message: str = "No."
    headers: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] | None = None
    """Of the error."""


@contextmanager
def provider(text: str, *, refuse: int | None = None) -> Iterator[FakeProvider]:
    """Serve the script's task 1; with `refuse`, only that HTTP error."""
    script = parse_script(text, where="the test")
    seen = FakeProvider(refusal=None if refuse is None else Refusal(refuse))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.headers.append({name.lower(): value for name, value in self.headers.items()})
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if (no := seen.refusal) is not None:
                body = anthropic.error_body(no.status, no.message)
                if no.details is not None:
                    error = json.loads(body)
                    error["error"]["details"] = dict(no.details)
                    body = json.dumps(error).encode()
                self._answer(no.status, "application/json", body, no.headers)
                return
            step = next_step(script, task="1", attempt=1, messages=asked["messages"], subagent=False)
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
