"""A project whose tests start a PostgreSQL server inside the container."""

import pytest
from e2e_kit import AGENT, Done, MakeScene, Scene, plan, task
from project_kit import AGENT_HEAD, owner, verdicts

pytestmark = pytest.mark.docker

# A server of its own for each run of the tests, reached by a socket in the container's /tmp.
CHECK = """\
#!/bin/bash
set -e
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
data=$(mktemp -d)
initdb --pgdata "$data" --username tester --auth trust > /dev/null
pg_ctl --pgdata "$data" --log "$data/log" --wait --options "-k $data -c listen_addresses=" start > /dev/null
trap 'pg_ctl --pgdata "$data" --mode immediate stop > /dev/null' EXIT
ask() { psql --host "$data" --username tester --dbname postgres --no-psqlrc --tuples-only --no-align "$@"; }
ask --set ON_ERROR_STOP=1 --quiet --file schema.sql
test "$(ask --command 'SELECT area FROM shapes')" = 6
"""
AGENT_PROGRAM = f"""{AGENT_HEAD}
test "$ORCHESTRATOR_ATTEMPT" = 1 && sum='a + b' || sum='a * b'
sed -i "s/AS ([a-z +*]*)/AS ($sum)/" schema.sql
bash check.sh && report completed || report completed "The check fails, but I report completed."
"""
SCHEMA = """\
CREATE TABLE shapes (a int, b int, area int GENERATED ALWAYS AS (b * a) STORED);
INSERT INTO shapes VALUES (2, 3);
"""


@pytest.fixture(scope="module")
def carried_out(new_module_scene: MakeScene) -> tuple[Scene, Done]:
    scene = new_module_scene(owner=owner())
    text = plan(task("1", "bash check.sh"))
    scene.commit(plan__md=text, agent__sh=AGENT_PROGRAM, check__sh=CHECK, schema__sql=SCHEMA)
    return scene, scene.run("-c", 'image.packages=["postgresql"]', *AGENT)


def test_it_lands(carried_out: tuple[Scene, Done]) -> None:
    scene, done = carried_out
    assert done.exit_code == 0, done
    assert len(scene.commits("work", since=done.events[0]["base"])) == 1


def test_gates_run_on_the_candidate_and_not_on_the_base(carried_out: tuple[Scene, Done]) -> None:
    _, done = carried_out
    assert [each["before"] for each in done.of("base_checked")] == ["already_green"]
    assert verdicts(done) == [(1, "verify-1", "fail"), (2, "verify-1", "pass")]


def test_no_container_is_left(carried_out: tuple[Scene, Done]) -> None:
    assert carried_out[0].containers() == []
