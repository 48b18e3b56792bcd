"""Errors in the sources of settings: the fault, its place, and the fix. One table for each source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config import load_settings
from orchestrator.errors import ConfigurationError, EnvironmentInvalid, OrchestratorError

FILES = [
    # content, line, words of the message, words of the hint
    ("[limits]\nattemps = 1", 2, "unknown setting `limits.attemps`", "`limits.attempts`"),
    ("[limit]\nattempts = 1", 2, "unknown setting `limit.attempts`", "`limits.attempts`"),
    ("# x\n[limts]", 2, "unknown setting `limts`", "`limits`"),
    ("[budget]\nusd = 5", 2, "unknown setting `budget.usd`", "The sections are `agent`"),
    ("[limits]\nqqqqqqq = 5", 2, "unknown setting `limits.qqqqqqq`", "[limits] has `attempts`"),
    ("limits.attempts.x = 1", 1, "`limits.attempts` must be a whole number", None),
    ('"limits.attempts" = 1', 1, 'unknown setting `"limits.attempts"`', "`limits.attempts`"),
    ("attempts = 1", 1, "unknown setting `attempts`", ""),
    ("limits = 1", 1, "`limits` is a section", "[limits] has `attempts`"),
    ("[mounts]\nsource = 'a'", 2, "`mounts` is a list of tables", "[[mounts]]"),
    (
        "[limits]\nattempts = '3'",
        2,
        "`limits.attempts` must be a whole number from 1 to 1000, not '3'",
        "Default: 3",
    ),
    ("[limits]\nattempts = 0", 2, "not 0", None),
    ("[limits]\nattempts = -1", 2, "not -1", None),
    ("[limits]\nattempts = true", 2, "not true", None),
    ("[limits]\nattempts = 1.5", 2, "not 1.5", None),
    ("[limits]\nattempts = inf", 2, "not inf", None),
    ("[limits]\nattempts = 1979-05-27", 2, "not a date or time", None),
    (f"[limits]\nattempts = 0x1{'0' * 50}", 2, "not a huge number", None),
    ("[limits]\nattempt_seconds = 0", 2, "must be a number of seconds above 0", None),
    ("[limits]\nattempt_seconds = nan", 2, "must be a number of seconds above 0", None),
    ("[limits]\nattempt_seconds = inf", 2, "must be a number of seconds above 0", None),
    ("[limits]\nattempt_seconds = '1h'", 2, "not '1h'", None),
    ("[verify]\ntimeout = false", 2, "not false", None),
    ("[verify]\nsmoke_tests = 1", 2, "must be true or false, not 1", None),
    ("[verify]\ntask = 'make'", 2, 'must be a list of strings, such as ["a", "b"], not \'make\'', None),
    ("[verify]\ntask = [\n'make',\n3]", 2, "must be a list of strings, but contains 3", None),
    ("[verify]\ntask = ['']", 2, "must not contain an empty command", None),
    ("[verify]\ntask = ['a\\u0000b']".replace("'", '"'), 2, "control characters", None),
    ("[agent]\ncommand = ['', 'x']", 2, "must begin with the name of a program", None),
    ("[agent]\nname = ' '", 2, "must not be empty", None),
    ('[agent]\nmodel = "a\\nb"', 2, "one line of UTF-8 text", None),
    ("[agent]\nmodel = ['a']", 2, "must be a string, not a list", None),
    ("[container]\nmemory = '4 apples'", 2, "must be a size", None),
    ("[container]\nmemory = '5m'", 2, "must be a size", None),
    ("[container]\nmemory = -1", 2, "must be a size", None),
    ("[container]\nmemory = true", 2, "must be a size", None),
    ("[container]\ncpus = 0", 2, "must be a number from 0.01", None),
    ("[container]\ncpus = nan", 2, "must be a number from 0.01", None),
    ("[container]\ncpus = '2'", 2, "must be a number from 0.01", None),
    ("[container]\npids = -1", 2, "must be a whole number", None),
    ("[container]\nnetwork = 'host'", 2, "must be \"open\", not 'host'", None),
    ("[image]\nname = '--privileged'", 2, "must be the name of an image", None),
    ("[environment]\nrequired_files = ['../x']", 2, "but contains '../x'", None),
    ("[environment]\nrequired_files = ['/etc/passwd']", 2, "but contains '/etc/passwd'", None),
    ("[gateway]\nupstream = 'ftp://x'", 2, "must be an address", None),
    ("[gateway]\nupstream = 'http://'", 2, "must be an address", None),
    ("[gateway]\nupstream = 'http://[x'", 2, "must be an address", None),
    ("[gateway]\nupstream = 'http://h:99999'", 2, "must be an address", None),
    ("[gateway]\nupstream = 'https://me:key@host'", 2, "without user name, password", None),
    ("[limits]\nattempts = ", 2, "is not TOML: Invalid value", "https://toml.io"),
    ("[limits\n", 1, "is not TOML", "https://toml.io"),
    ("a = 1\na = 2", 2, "is not TOML: Cannot overwrite a value", ""),
    ("x = '''\n\n", 1, "is not TOML", ""),
    ("name: yaml\nlist:\n - a", 1, "is not TOML", ""),
    (b"\xef\xbb\xbf[limits]\n", 1, "begins with a byte order mark", "UTF-8"),
    (b"\xff\xfe[\0l\0", 1, "begins with a byte order mark", "UTF-8"),
    (b"# a\n# b\n# \xe9\n", 3, "is not UTF-8 text", "UTF-8"),
    (b"# a\0", 1, "is not TOML", ""),
    ("x = " + "[" * 5000, None, "is nested too deeply", None),
    ("a" + ".a" * 3000 + " = 1", 1, "unknown setting `a.a`", ""),
    ("[a" + ".a" * 3000 + "]", None, "unknown setting `a.a`", ""),
    ("x = " + "9" * 5000, None, "is not TOML", None),
    ("# " + "x" * 70_000, None, "is larger than 32768 bytes", None),
]


@pytest.mark.parametrize(("content", "line", "what", "hint"), FILES, ids=[repr(f[0])[:40] for f in FILES])
@pytest.mark.parametrize("which", ["repository", "user"])
def test_mistakes_in_a_file(place, write, which, content, line, what, hint):
    write(which, content)
    with pytest.raises(ConfigurationError) as caught:
        place.load()
    name = "orchestrator.toml" if which == "repository" else str(place.user_file)
    assert caught.value.where == (name if line is None else f"{name}:{line}")
    assert what in caught.value.what
    assert (hint or "") in (caught.value.hint or "")
    assert len(str(caught.value).splitlines()) <= 10
    assert caught.value.exit_code == 2


VARIABLES = [
    ("ORCHESTRATOR_LIMITS_ATTEMPS", "1", "unknown setting", "ORCHESTRATOR_LIMITS_ATTEMPTS"),
    ("ORCHESTRATOR_LIMITS", "1", "unknown setting", ""),
    ("ORCHESTRATOR_LIMITS_", "", "unknown setting", ""),
    ("ORCHESTRATOR_limits_attempts", "1", "unknown setting", ""),
    ("ORCHESTRATOR_BUDGET_USD", "5", "unknown setting", "Unset it"),
    ("ORCHESTRATOR_LIMITS_ATTEMPTS", "three", "must be a whole number from 1 to 1000, not 'three'", ""),
    ("ORCHESTRATOR_LIMITS_ATTEMPTS", "1\nx = 2", "must be a whole number", ""),
    ("ORCHESTRATOR_VERIFY_TASK", "make", "must be a list of strings", ""),
    ("ORCHESTRATOR_AGENT_MODEL", "m\udcff", "UTF-8", ""),
    ("ORCHESTRATOR_CONTAINER_CPUS", "[" * 5000, "must be a number", ""),
]


@pytest.mark.parametrize(
    ("name", "value", "what", "hint"), VARIABLES, ids=[v[0] + v[1][:8] for v in VARIABLES]
)
def test_mistakes_in_a_variable(place, name, value, what, hint):
    with pytest.raises(ConfigurationError) as caught:
        place.load(environ={name: value})
    assert caught.value.where == name
    assert what in caught.value.what
    assert hint in (caught.value.hint or "")


FLAGS = [
    ("limits.attemps=1", "unknown setting `limits.attemps`", "`limits.attempts`"),
    ("limits.attempts", "is not SECTION.KEY=VALUE", "-c limits.attempts=2"),
    ("=1", "is not SECTION.KEY=VALUE", ""),
    ("limits={attempts=1}", "`limits` is a section", ""),
    ("limits=", "`limits` is a section", ""),
    ("limits.attempts=", "must be a whole number from 1 to 1000, not ''", ""),
    ("limits.attempts=two", "not 'two'", ""),
    ("a.b.c=1", "unknown setting `a.b.c`", ""),
    ("\x1b[31m.x=1", 'unknown setting `"�[31m".x`', ""),
]


@pytest.mark.parametrize(("text", "what", "hint"), FLAGS, ids=[repr(flag[0]) for flag in FLAGS])
def test_mistakes_in_a_flag(place, text, what, hint):
    with pytest.raises(ConfigurationError) as caught:
        place.load(overrides=[text])
    assert caught.value.where == "-c"
    assert what in caught.value.what
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("variable", ["HOME", "XDG_CONFIG_HOME"])
def test_relative_home_is_an_error(place, variable):
    with pytest.raises(EnvironmentInvalid, match=f"{variable}=here"):
        place.load(environ={variable: "here"})


KEYS = st.sampled_from(
    ["limits", "attempts", "verify", "task", "mounts", "source", "x", '"a b"', "limits.attempts"]
)
VALUES = st.sampled_from(
    ["1", "'a'", "['a']", "true", "1.5", "{a = 1}", "[{source = 'v', target = '/t'}]", '"""\n[x]\n"""', "["]
)
LINES = st.one_of(
    st.builds("[{}]".format, KEYS),
    st.builds("[[{}]]".format, KEYS),
    st.builds("{} = {}".format, KEYS, VALUES),
    st.text(max_size=20),
)


@given(
    st.one_of(
        st.lists(LINES, max_size=8).map("\n".join).map(lambda text: text.encode("utf-8", "replace")),
        st.binary(),
    )
)
def test_any_content_gives_settings_or_one_of_our_errors(content):
    for folder_content in (content, None):
        try:
            load_settings(None, environ={"HOME": "/nonexistent"}, repository_file=folder_content)
        except ConfigurationError as error:
            assert error.where is not None and error.where.startswith("orchestrator.toml")


@given(st.text(), st.text())
def test_any_flag_and_variable_gives_settings_or_one_of_our_errors(flag, value):
    environ = {"HOME": "/nonexistent", "ORCHESTRATOR_CONTAINER_MEMORY": value}
    for override in (flag, f"mounts={value}", f"gateway.upstream={value}", f"verify.task={value}"):
        try:
            load_settings(None, environ=environ, overrides=[override])
        except OrchestratorError as error:
            assert isinstance(error, ConfigurationError)
