"""One attempt's socket: checks the token, accepts only the model's API, and answers or forwards.

| method, path | answer |
|---|---|
| POST /v1/messages, /v1/messages/count_tokens | the model's answer; without the attempt's token 401 |
| HEAD, GET /api/hello | 200 without asking the provider: the CLI tests the connection with it |
| anything else | 404 |
"""

import hashlib
import hmac
import json
import logging
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

import aiohttp
from aiohttp import web

from orchestrator.clock import Clock
from orchestrator.files import Owner
from orchestrator.gateway import anthropic
from orchestrator.gateway.access import AttemptKey, Provider
from orchestrator.gateway.accounts import AccountFiles, AccountRecorder
from orchestrator.gateway.limit_recorder import Answers, AppendFact, LimitRecorder, append_nothing
from orchestrator.gateway.passing import cut_connection, pass_on
from orchestrator.gateway.script import Answer, Drop, Refusal, Script
from orchestrator.gateway.scripted import count_turns, next_step
from orchestrator.gateway.sockets import open_listening_socket

log = logging.getLogger(__name__)

MESSAGES = "/v1/messages"
COUNT_TOKENS = "/v1/messages/count_tokens"
HELLO = "/api/hello"
BODY_BYTES = 64 * 2**20  # twice the limit of the provider
SHUTDOWN_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The attempt that a socket serves, and its model; replaced when the attempt is opened again."""

    key: AttemptKey
    token_hash: bytes
    """SHA-256 of the attempt's token."""
    model: Script | Provider
    outage_seconds: float = 600.0
    """How long the model may be away before it is recorded."""
    chosen: str | None = None
    """The setting `agent.model`."""


class Endpoint:
    """An attempt's socket and its HTTP server."""

    def __init__(
        self,
        serving: Serving,
        session: aiohttp.ClientSession,
        clock: Clock,
        append: AppendFact = append_nothing,
        accounts: AccountFiles | None = None,
    ) -> None:
        """`append` stores what is seen of the provider's limits, `accounts` what other runs need of it."""
        self.serving = serving
        self._accounts = accounts
        self._limits = LimitRecorder(append, clock)
        self._clock = clock
        self._session = session
        self._runner: web.AppRunner | None = None

    async def listen(self, folder: Path, owner: Owner) -> None:
        """Serve in this folder; a socket of an earlier call is replaced at the same path."""
        await self.close()
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,
            handler_cancellation=True,  # when the agent hangs up, the provider's answer is cancelled
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        await runner.setup()
        self._runner = runner
        await web.SockSite(runner, open_listening_socket(folder, owner)).start()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        serving = self.serving
        try:
            response = await self._answer(request, serving)
        except web.HTTPRequestEntityTooLarge:
            response = error_response(413, f"The request is larger than {BODY_BYTES} bytes.")
        except ConnectionError:
            cut_connection(request)
            response = web.Response(status=499)  # for the log only: the agent has hung up
        except Exception as error:
            # Without the exception's message, which may quote a request and so a prompt or a key.
            frames = "".join(traceback.format_tb(error.__traceback__))
            log.error("gateway.fault run=%s task=%r %s\n%s", *serving.key[:2], type(error).__name__, frames)
            response = error_response(503, "The gateway failed; see its log.")
        run, task, attempt = serving.key
        path = request.rel_url.raw_path
        log.info(
            "gateway.request run=%s task=%r attempt=%d %s %s %d",
            *(run, task, attempt, request.method, path, response.status),
        )
        return response

    async def _answer(self, request: web.Request, serving: Serving) -> web.StreamResponse:
        path = request.rel_url.raw_path
        if path == HELLO and request.method in ("HEAD", "GET"):
            return web.Response()
        if request.method != "POST" or path not in (MESSAGES, COUNT_TOKENS):
            return error_response(404, "The gateway forwards only requests to the model's API.")
        # Checked before the body is read: a program without the token cannot make the gateway hold large
        # requests.
        if not presents_token(request, serving.token_hash):
            return error_response(401, "The token is not valid for this attempt.")
        answers = Answers(
            self._limits, serving.outage_seconds, await request.read(), self._account_of(serving)
        )
        match serving.model:
            case Provider() as provider:
                is_counted = path == MESSAGES
                return await pass_on(request, provider, self._session, answers if is_counted else None)
            case Script() as script:
                return await self._answer_from_script(request, script, serving.key, answers)
        assert_never(serving.model)

    def _account_of(self, serving: Serving) -> AccountRecorder | None:
        if self._accounts is None or isinstance(serving.model, Script):
            return None
        return AccountRecorder(
            self._accounts,
            serving.model.credential,
            self._clock,
            run=serving.key.run,
            chosen=serving.chosen,
        )

    async def _answer_from_script(
        self, request: web.Request, script: Script, key: AttemptKey, answers: Answers
    ) -> web.StreamResponse:
        body = await request.read()
        asked = _parse_conversation(body)
        if asked is None:
            return error_response(400, "The request is not a JSON object with a list of messages.")
        if request.rel_url.raw_path == COUNT_TOKENS:
            return web.json_response({"input_tokens": len(body) // 4})
        messages = [message for message in asked["messages"] if isinstance(message, dict)]
        agent = request.headers.get("x-claude-code-agent-id", "")
        step = next_step(script, task=key.task, attempt=key.attempt, messages=messages, subagent=bool(agent))
        await self._clock.sleep(step.delay)
        match step:
            case Drop():
                await answers.take(None, {})
                cut_connection(request)
                return web.Response()
            case Refusal(error=error):
                text = anthropic.error_body(error.status, error.message, kind=error.type)
                headers = {"Content-Type": "application/json", **error.headers}
                await answers.take(error.status, headers, text)
                return web.Response(status=error.status, body=text, headers=headers)
            case Answer() as answer:
                session = request.headers.get("x-claude-code-session-id", "")
                await answers.take(200, {})
                turns = count_turns(messages)
                seed = "/".join((*key[:2], session, agent, str(turns.total), str(len(messages))))
                whole = anthropic.build_message(answer, model=str(asked.get("model")), seed=seed)
                if not asked.get("stream"):
                    return web.json_response(whole)
                events = anthropic.stream_events(whole)
                response = web.StreamResponse(
                    headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
                )
                await response.prepare(request)
                for event in events[: answer.cut_after]:
                    await response.write(event)
                if answer.cut_after is not None and answer.cut_after < len(events):
                    cut_connection(request)
                else:
                    await response.write_eof()
                return response
        assert_never(step)


def presents_token(request: web.Request, token_hash: bytes) -> bool:
    """Whether the request carries the token, as a key or as a bearer token; compared in constant time."""
    presented = [request.headers.get("x-api-key", "")]
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        presented.append(bearer.strip())
    hashes = [hashlib.sha256(value.encode("utf-8", "replace")).digest() for value in presented if value]
    return any(hmac.compare_digest(value, token_hash) for value in hashes)


def error_response(status: int, text: str) -> web.Response:
    return web.Response(
        status=status, body=anthropic.error_body(status, text), content_type="application/json"
    )


def _parse_conversation(body: bytes) -> dict[str, Any] | None:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return None
    valid = isinstance(asked, dict) and isinstance(asked.get("messages"), list)
    return asked if valid else None
