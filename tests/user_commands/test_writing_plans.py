"""The page that teaches a coding agent to write plans: its example checks clean and can be carried out."""

import re
from importlib import resources
from pathlib import Path

import pytest
from cli_kit import orchestrate
from e2e_kit import REPORT, Scene

PAGE = (resources.files("orchestrator.cli") / "writing_plans.md").read_text("utf-8")
(EXAMPLE,) = re.findall(r"^````markdown\n(.*?)^````$", PAGE, re.MULTILINE | re.DOTALL)
AGENT = f"""{REPORT}
if [ "$ORCHESTRATOR_TASK" = 1.1 ]; then
    echo '[ $# = 1 ] || {{ echo "usage: greet.sh NAME" >&2; exit 2; }}' > greet.sh
    echo 'echo "Hello, $1!"' >> greet.sh
else
    printf '%s\\n' '## Use' '' '    sh greet.sh Ada' > README.md
fi
report completed
"""


def test_it_is_printed_and_has_the_head_of_a_skill(tmp_path: Path) -> None:
    done = orchestrate("plan", "new", "--prompt", cwd=tmp_path)
    assert (done.returncode, done.stdout.decode()) == (0, PAGE)
    assert re.match(r"---\nname: [a-z-]{1,64}\ndescription: [^\n<>]{1,1024}\n---\n\n# ", PAGE)


def test_its_example_checks_clean(tmp_path: Path) -> None:
    (tmp_path / "plan.md").write_text(EXAMPLE)
    done = orchestrate("plan", "check", "--strict", "plan.md", cwd=tmp_path)
    assert (done.returncode, done.stdout.decode()) == (0, "plan.md: 2 tasks, nothing to report\n")


@pytest.mark.docker
def test_its_example_is_carried_out_and_its_commands_fail_before_the_work(scene: Scene) -> None:
    scene.commit(plan__md=EXAMPLE, agent__sh=AGENT)
    done = scene.run("--agent-command", "bash agent.sh")
    assert done.exit_code == 0, done
    before = {event["before"] for event in done.of("base_checked")}
    assert before == {"red"}, before
