"""A resumed run keeps candidate and evidence ids while tree, branch and commands are unchanged."""

from collections.abc import Callable

from orchestrator.run.facts import CandidateMade, GateEnded
from orchestrator.testing.agent import ScriptedAgent, reports, writes
from orchestrator.testing.project import PLAN, TemporaryProject, plan_of


def test_gates_run_again_on_the_same_candidate_until_something_changes(
    make_project: Callable[..., TemporaryProject],
) -> None:
    steps = (writes("other.txt", "not the file of the gate\n"), reports())
    agent = ScriptedAgent({("1", number): steps for number in range(1, 9)})
    project = make_project(agent=agent, settings="[limits]\nattempts = 1\n")
    run = project.run().run

    def candidates() -> list[tuple[str, tuple[str, ...]]]:
        bodies = [fact.body for fact in project.facts(run)]
        return [(body.commit, body.evidence) for body in bodies if isinstance(body, CandidateMade)]

    def resumed() -> list[tuple[str, tuple[str, ...]]]:
        """The attempt's state and candidates in the resumed run, before the task got another attempt."""
        before = len(candidates())
        project.resume()
        return candidates()[before:][:1]

    last = candidates()[-1:]
    assert resumed() == last
    ended = [fact.body.evidence for fact in project.facts(run) if isinstance(fact.body, GateEnded)]
    assert ended[:2] == [last[0][1][0]] * 2, "resume runs the gate again"
    last = candidates()[-1:]
    (project.folder / "other.txt").write_text("changed by the user\n")
    assert resumed() != last
    last = candidates()[-1:]
    (project.folder / PLAN).write_text(plan_of(("1",)).replace("check 1", "check one"))
    assert resumed()[0][1] != last[0][1], "another command has evidence of its own"
