"""Bytes to lines: the one place that knows about encodings and line endings."""

from orchestrator.errors import PlanError

MAX_BYTES = 10_000_000


def decode_plan(data: bytes | str, *, path: str) -> str:
    """The text with `\\n` as the only line end and without a byte order mark.

    Raises PlanError if the data is not plain text: longer than MAX_BYTES, not UTF-8, or with NUL bytes.
    """
    raw = _encode(data, path=path) if isinstance(data, str) else data
    if len(raw) > MAX_BYTES:
        raise PlanError(
            f"the plan is larger than {MAX_BYTES // 1_000_000} MB",
            where=path,
            hint="Split the plan, or check that this is the file you meant.",
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise PlanError(
            "the plan is not UTF-8 text", where=f"{path}:{line}", hint="Save it as UTF-8."
        ) from None
    if b"\0" in raw:
        line = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        raise PlanError("the plan contains a NUL byte", where=f"{path}:{line}", hint="Save it as UTF-8 text.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encode(text: str, *, path: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise PlanError(
            "the plan contains an incomplete character", where=path, hint="Save it as UTF-8."
        ) from None
