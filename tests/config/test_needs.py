"""The settings of a project's own needs: packages, variables, masked files."""

import pytest

from orchestrator.errors import ConfigurationError

SECRETS = ["API_TOKEN", "github_token", "PGPASSWORD", "DB_PASS", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"]
SECRETS += [
    "OPENAI_API_KEY",
    "apiKey",
    "GOOGLE_CREDENTIALS",
    "MY_SECRETS",
    "SSH_PASSPHRASE",
    "TOKEN2",
    "GH_PAT",
    "MYSQL_PWD",
    "PGPASS",
    "NPM_AUTH",
]
PLAIN = [
    "TZ",
    "KEYBOARD",
    "MONKEY_PATCH",
    "PUBLIC_KEY",
    "PWD_SHOWN",
    "GIT_AUTHOR_NAME",
    "NODE_ENV",
    "PYTHONUNBUFFERED",
    "RUST_LOG",
    "TOKENIZERS_PARALLELISM",
    "BYPASS",
    "DATABASE_URL",
    "A1",
    "_x",
]


@pytest.mark.parametrize("name", SECRETS)
def test_a_variable_that_looks_like_a_secret_is_refused_with_the_reason(place, write, name):
    write("repository", f"[environment]\nvariables = {{ {name} = 'x' }}\n")
    with pytest.raises(ConfigurationError, match=f"{name}, which looks like a secret: agents and gates"):
        place.load()


@pytest.mark.parametrize("name", PLAIN)
def test_other_variables_are_taken(place, write, name):
    write("repository", f"[environment.variables]\n{name} = 'a b'\n")
    assert place.load().settings.environment.variables == ((name, "a b"),)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("{ HOME = '/x' }", "HOME, which the orchestrator sets itself"),
        ("{ ORCHESTRATOR_RUN = 'x' }", "which the orchestrator sets itself"),
        ("{ 'a b' = 'x' }", "cannot be the name of a variable"),
        ("{ A = 1 }", "needs a string for A, not 1"),
        ("['A=1']", "must be a table of strings"),
    ],
    ids=["home", "ours", "no name", "number", "list"],
)
def test_an_invalid_table_of_variables_is_refused(place, write, written, words):
    write("repository", f"environment.variables = {written}\n")
    with pytest.raises(ConfigurationError, match=words) as caught:
        place.load()
    assert caught.value.where == "orchestrator.toml:1"


def test_variables_by_flag(place):
    loaded = place.load(overrides=["environment.variables={ A = '1', B = '2' }"])
    assert loaded.settings.environment.variables == (("A", "1"), ("B", "2"))


@pytest.mark.parametrize("path", [".git", ".git/config", "./.git", ".GIT/hooks"])
def test_git_is_never_masked(place, write, path):
    write("repository", f"masked.files = ['.env', '{path}']\n")
    with pytest.raises(ConfigurationError, match=r"must not contain \.git"):
        place.load()


def test_masked_paths_are_normalised(place, write):
    write("repository", "masked.files = ['./.env', 'a//b/']\n")
    assert place.load().settings.masked.files == (".env", "a/b")


@pytest.mark.parametrize("package", ["golang-go", "g++", "libc6:amd64", "jq=1.6-2.1+deb12u1"])
def test_packages(place, package):
    assert place.load(overrides=[f"image.packages=['{package}']"]).settings.image.packages == (package,)


@pytest.mark.parametrize("package", ["", "-y", "a b", "a;b", "$(x)", "UPPER", "a\nb"], ids=repr)
def test_an_invalid_package_is_refused(place, package):
    with pytest.raises(ConfigurationError, match="a list of Debian packages"):
        place.load(overrides=[f"image.packages={[package]!r}"])


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "BASH_ENV",
        "LD_PRELOAD",
        "NODE_OPTIONS",
        "PYTHONPATH",
        "PYTEST_ADDOPTS",
        "GIT_DIR",
        "JAVA_TOOL_OPTIONS",
        "GNUMAKEFLAGS",
        "PYTHONOPTIMIZE",
        "https_proxy",
        "npm_config_registry",
        "SHELL",
    ],
)
def test_a_variable_that_steers_programs_needs_approval(place, write, name):
    write("repository", f"[environment]\nvariables = {{ {name} = 'x' }}\n")
    with pytest.raises(ConfigurationError, match="orchestrator trust"):
        place.load()
    write("repository", "")
    assert place.load(overrides=[f"environment.variables={{{name}='x'}}"]).settings.environment.variables


@pytest.mark.parametrize(
    "name",
    ["TZ", "LC_ALL", "GREETING", "NODE_ENV", "PYTHONUNBUFFERED", "GIT_AUTHOR_NAME", "ENVIRONMENT", "GOAL"],
)
def test_other_variables_need_no_approval(place, write, name):
    write("repository", f"[environment]\nvariables = {{ {name} = 'x' }}\n")
    assert dict(place.load().settings.environment.variables) == {name: "x"}
