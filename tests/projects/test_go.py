"""A Go project: its toolchain is Debian's, on top of the agent image; its program is built in every gate.

Its dependency comes from a module proxy in its own folder, so that no address of the internet is needed.
"""

import base64
import io
import secrets
import zipfile
from collections.abc import Mapping
from hashlib import sha256

import pytest
from e2e_kit import AGENT, Done, MakeScene, Scene, plan, task
from project_kit import AGENT_HEAD, owner, verdicts

pytestmark = pytest.mark.docker

SUITE = secrets.token_hex(8)
"""Setup images of this session alone: one that an earlier session left would be reused."""
GO = (
    *("-c", 'image.packages=["golang-go"]'),
    *("-c", 'verify.build=["go build -o bin/shapes ."]'),
    *(
        "-c",
        f'environment.variables={{GOPROXY="file:///workspace/proxy", GOSUMDB="off", SUITE="{SUITE}"}}',
    ),
)
AGENT_PROGRAM = f"""{AGENT_HEAD}
go list -m all
test "$ORCHESTRATOR_ATTEMPT" = 1 && sum='a +' || sum='a * b'
sed -i "s/return .*/return $sum/" main.go
echo '# Shapes' > README.md
report completed
"""
MAIN = """\
package main

import (
\t"fmt"

\t"example.org/units"
)

func area(a, b int) int {
\treturn b * a
}

func main() {
\tfmt.Println(area(units.Sides, 3))
}
"""
TESTS = """\
package main

import "testing"

func TestArea(t *testing.T) {
\tif area(2, 3) != 6 {
\t\tt.Fatal("wrong")
\t}
}
"""
UNITS = {"go.mod": "module example.org/units\n\ngo 1.19\n", "units.go": "package units\n\nconst Sides = 2\n"}


def proxy() -> dict[str, bytes]:
    """The files that a module proxy serves for one module (go.dev/ref/mod#goproxy-protocol)."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for name, content in UNITS.items():
            packed.writestr(f"example.org/units@v1.0.0/{name}", content)
    at = "proxy/example.org/units/@v"
    return {
        f"{at}/list": b"v1.0.0\n",
        f"{at}/v1.0.0.info": b'{"Version": "v1.0.0"}',
        f"{at}/v1.0.0.mod": UNITS["go.mod"].encode(),
        f"{at}/v1.0.0.zip": archive.getvalue(),
    }


def go_sum() -> str:
    whole = {f"example.org/units@v1.0.0/{name}": content for name, content in UNITS.items()}
    of_mod = _h1({"go.mod": UNITS["go.mod"]})
    return f"example.org/units v1.0.0 {_h1(whole)}\nexample.org/units v1.0.0/go.mod {of_mod}\n"


def _h1(files: Mapping[str, str]) -> str:
    """Go's hash of a tree (golang.org/x/mod/sumdb/dirhash, Hash1)."""
    lines = [f"{sha256(files[name].encode()).hexdigest()}  {name}\n" for name in sorted(files)]
    return "h1:" + base64.b64encode(sha256("".join(lines).encode()).digest()).decode()


@pytest.fixture(scope="module")
def carried_out(new_module_scene: MakeScene) -> tuple[Scene, Done]:
    scene = new_module_scene(owner=owner())
    files: dict[str, str | bytes] = {
        "go.mod": "module example.org/shapes\n\ngo 1.19\n\nrequire example.org/units v1.0.0\n",
        "go.sum": go_sum(),
        "main.go": MAIN,
        "main_test.go": TESTS,
        ".gitignore": "bin/\n",
        "plan.md": plan(task("1", "go test ./...", "./bin/shapes | grep -qx 6; test -s README.md")),
        "agent.sh": AGENT_PROGRAM,
    }
    for path, content in {**files, **proxy()}.items():
        scene.write(path, content)
    scene.commit()
    return scene, scene.run(*GO, *AGENT)


def test_it_lands(carried_out: tuple[Scene, Done]) -> None:
    scene, done = carried_out
    assert done.exit_code == 0, done
    assert len(scene.commits("work", since=done.events[0]["base"])) == 1
    assert [event["found"] for event in done.of("setup_started")] == [["go.sum"]]


def test_a_candidate_is_built_before_it_is_checked(carried_out: tuple[Scene, Done]) -> None:
    _, done = carried_out
    assert [(each["gate"], each["before"]) for each in done.of("base_checked")] == [
        ("build-1", "already_green"),
        ("verify-1", "already_green"),
        ("verify-2", "red"),
    ]
    assert verdicts(done) == [
        (1, "build-1", "fail"),
        (1, "verify-1", "fail"),
        (1, "verify-2", "fail"),
        (2, "build-1", "pass"),
        (2, "verify-1", "pass"),
        (2, "verify-2", "pass"),
    ]


def test_the_commit_names_the_evidence_of_build_and_checks(carried_out: tuple[Scene, Done]) -> None:
    scene, done = carried_out
    (commit,) = scene.commits("work", since=done.events[0]["base"])
    named = commit.trailers["Orchestrator-Evidence"].split(",")
    assert named == [each["evidence"] for each in done.of("gate_ended") if each["attempt"] == 2]
    evidence = scene.evidence(done.run, named[0])
    assert (evidence["gate"], evidence["command"]) == ("build-1", "go build -o bin/shapes .")
