"""The messages of the control socket: one JSON object per line, one reply per request."""

from pathlib import Path

import msgspec

from orchestrator.errors import ConfigurationError, EnvironmentInvalid, OrchestratorError
from orchestrator.gateway.access import AttemptAccess, AttemptKey, Credential, ModelSource, Provider, Scripted

PROTOCOL = 2
LINE_BYTES = 2**20


class ScriptedModel(msgspec.Struct, frozen=True, kw_only=True, tag="scripted"):
    path: str


class ProviderModel(msgspec.Struct, frozen=True, kw_only=True, tag="provider"):
    upstream: str
    kind: str
    value: str


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    protocol: int


class OpenAttempt(msgspec.Struct, frozen=True, kw_only=True, tag="open"):
    run: str
    task: str
    attempt: int
    token_hash: str
    uid: int
    gid: int
    model: ScriptedModel | ProviderModel
    outage_seconds: float
    chosen: str | None = None

    @property
    def key(self) -> AttemptKey:
        return AttemptKey(self.run, self.task, self.attempt)


class CloseAttempt(msgspec.Struct, frozen=True, kw_only=True, tag="close"):
    run: str
    task: str
    attempt: int

    @property
    def key(self) -> AttemptKey:
        return AttemptKey(self.run, self.task, self.attempt)


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag="welcome"):
    protocol: int
    pid: int


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    folder: str | None = None


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    error: str
    what: str
    where: str | None
    hint: str | None


Request = Hello | OpenAttempt | CloseAttempt
Reply = Welcome | Done | Refused

_ERRORS: dict[str, type[OrchestratorError]] = {
    kind.__name__: kind for kind in (ConfigurationError, EnvironmentInvalid)
}


def refusal(error: OrchestratorError) -> Refused:
    return Refused(error=type(error).__name__, what=error.what, where=error.where, hint=error.hint)


def to_error(refused: Refused) -> OrchestratorError:
    kind = _ERRORS.get(refused.error, EnvironmentInvalid)
    return kind(refused.what, where=refused.where, hint=refused.hint)


def open_request(access: AttemptAccess) -> OpenAttempt:
    """The request that opens the attempt."""
    return OpenAttempt(
        run=access.run,
        task=access.task,
        attempt=access.attempt,
        token_hash=access.token_hash,
        uid=access.uid,
        gid=access.gid,
        model=_to_wire(access.model),
        outage_seconds=access.outage_seconds,
        chosen=access.chosen,
    )


def _to_wire(model: ModelSource) -> ScriptedModel | ProviderModel:
    match model:
        case Scripted(path=path):
            return ScriptedModel(path=str(path.absolute()))
        case Provider(upstream=upstream, credential=credential):
            return ProviderModel(upstream=upstream, kind=credential.kind, value=credential.value)


def model_source(model: ScriptedModel | ProviderModel) -> ModelSource:
    """Raises ValueError for an unknown kind of credential, or one that cannot be sent as a header."""
    match model:
        case ScriptedModel(path=path):
            return Scripted(path=Path(path))
        case ProviderModel(upstream=upstream, kind="api_key" | "oauth_token" as kind, value=value):
            return Provider(upstream=upstream, credential=Credential(kind=kind, value=value))
        case ProviderModel(kind=kind):
            raise ValueError(f"unknown kind of credential: {kind}")
