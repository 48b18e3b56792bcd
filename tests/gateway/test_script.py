import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConfigurationError
from orchestrator.gateway.script import Answer, Drop, Refusal, Script, load_script, parse_script

DOCS = Path(__file__).parents[2] / "docs" / "scripted-model.md"


def one_step(step: object) -> str:
    return json.dumps({"schema": 1, "tasks": {"3.1": {"steps": [{"text": "ok"}, step]}}})


def tasks(text: str) -> str:
    return f'{{"schema": 1, "tasks": {text}}}'


BAD = {
    "empty": ("", "not JSON", "line 1, column 1"),
    "truncated": ('{"schema": 1,\n "tasks": {', "not JSON", "line 2"),
    "not an object": ("[]", "expected `object`", "the top"),
    "no schema": ('{"tasks": {}}', "missing required field `schema`", "the top"),
    "later schema": ('{"schema": 2, "tasks": {"1": {"steps": []}}}', "schema 2 is not supported", "schema"),
    "no tasks": (tasks('{}'), "there is no task", "tasks"),
    "unknown key at the top": ('{"schema": 1, "tasks": {}, "x": 1}', "unknown field `x`", "the top"),
    "unknown key of a task": (tasks('{"1": {"step": []}}'), "`step`", 'tasks."1"'),
    "neither steps nor attempts": (tasks('{"1": {}}'), "either steps or attempts", 'tasks."1"'),
    "both": (tasks('{"1": {"steps": [], "attempts": []}}'), "either", 'tasks."1"'),
    "key twice": (tasks('{"1": {"steps": []}, "1": {"steps": []}}'), "the key \"1\" occurs twice", "the top"),
    "not a number": (tasks('{"1": {"steps": [{"delay": NaN}]}}'), "NaN is not a JSON number", "the top"),
    "nothing said": (one_step({"thinking": "hm"}), "a step needs", 'tasks."3.1".steps[1]'),
    "unknown key of a step": (one_step({"texts": "a"}), "`texts`", 'tasks."3.1".steps[1]'),
    "wrong type": (one_step({"text": 1}), "expected `str`, got `int`", 'tasks."3.1".steps[1].text'),
    "tool without name": (one_step({"tools": [{"input": {}}]}), "`name`", 'tasks."3.1".steps[1].tools[0]'),
    "stop reason": (one_step({"text": "a", "stop_reason": "over"}), "'over'", "steps[1].stop_reason"),
    "negative delay": (one_step({"text": "a", "delay": -1}), ">= 0", "steps[1].delay"),
    "status": (one_step({"error": {"status": 200}}), ">= 400", "steps[1].error.status"),
    "text with an error": (one_step({"error": {"status": 500}, "text": "a"}), "`text`", "steps[1]"),
    "line break in a header": (
        one_step({"error": {"status": 429, "headers": {"a": "b\r\nc: d"}}}),
        "matching regex",
        "steps[1].error.headers",
    ),
    "drop false": (one_step({"drop": False}), "must be true", "steps[1].drop"),
    "outcome of a sub-agent": (
        tasks('{"1": {"steps": [], "subagents": [{"outcome": {}}]}}'),
        "no outcome",
        'tasks."1".subagents[0]',
    ),
    "bad step of an attempt": (
        tasks('{"*": {"attempts": [[], [{"text": 1}]]}}'), "`str`", 'tasks."*".attempts[1][0].text'
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "what", "place"), BAD.values(), ids=BAD.keys())
def test_a_bad_script_is_one_error_with_its_place(tmp_path: Path, text: str, what: str, place: str) -> None:
    path = tmp_path / "script.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_script(path)
    assert what in caught.value.what
    assert f"(at {place}" in caught.value.what or place in caught.value.what
    assert caught.value.where == str(path)
    assert caught.value.hint is not None


@pytest.mark.parametrize(
    ("make", "what"),
    [
        pytest.param(lambda path: None, "No such file", id="absent"),
        pytest.param(lambda path: path.mkdir(), "not a regular file", id="folder"),
        pytest.param(lambda path: path.write_bytes(b'{"schema": \xff}'), "not UTF-8 (byte 11)", id="latin-1"),
        pytest.param(lambda path: path.write_text("[" * 100_000), "nested too deeply", id="deep"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, make: Any, what: str) -> None:
    path = tmp_path / "script.json"
    make(path)
    with pytest.raises(ConfigurationError, match=re.escape(what)):
        load_script(path)


def test_every_kind_of_step() -> None:
    steps = [{"text": "a"}, {"error": {"status": 529}}, {"drop": True, "delay": 1}]
    script = parse_script(json.dumps({"schema": 1, "tasks": {"1": {"steps": steps}}}), where="here")
    task = script.for_task("1")
    assert task is not None
    assert [type(step) for step in task.steps] == [Answer, Refusal, Drop]


def test_the_star_is_for_tasks_that_are_not_named() -> None:
    text = '{"schema": 1, "tasks": {"1": {"steps": [{"text": "one"}]}, "*": {"steps": [{"text": "any"}]}}}'
    script = parse_script(text, where="here")
    named, other = script.for_task("1"), script.for_task("2")
    assert named is not None and named.steps == (Answer(text="one"),)
    assert other is not None and other.steps == (Answer(text="any"),)


def test_the_examples_of_the_documentation_are_scripts() -> None:
    examples = re.findall(r"^```json\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) >= 2
    for example in examples:
        assert isinstance(parse_script(example, where=str(DOCS)), Script)


def test_the_documentation_names_every_key() -> None:
    documented = set(re.findall(r"`(\w+)`", DOCS.read_text()))
    keys = {key for kind in (Answer, Refusal, Drop) for key in kind.__struct_fields__}
    assert keys <= documented


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["schema", "tasks", "steps", "text", "tools", "error", "drop", "status"])
            | st.text(),
            inner,
        )
    ),
    max_leaves=12,
)


@given(st.text() | JSON.map(json.dumps))
def test_any_text_is_a_script_or_a_configuration_error(text: str) -> None:
    try:
        assert isinstance(parse_script(text, where="here"), Script)
    except ConfigurationError as error:
        assert str(error).count("\n") < 10
