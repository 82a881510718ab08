"""Strategies as data: read, in force, chosen, carried out; what follows from a choice and how likely that was."""

import asyncio
import contextlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning_loop import LearningOrchestrator
from learning_loop.app import App
from learning_loop.decider import Decider
from learning_loop.errors import ConfigurationError, NotFoundError, UsageError
from learning_loop.features.conditions import facts_of_context
from learning_loop.flows.ab_judging import _Look, judge
from learning_loop.flows.ab_report import report_of
from learning_loop.flows.ab_tests import EVIDENCE, experiments, start, stop
from learning_loop.flows.carrying import Offer
from learning_loop.flows.strategies import (
    STRATEGY,
    load,
    read_strategies,
    read_strategy,
    retire,
    revive,
    standing_of,
    standings,
)
from learning_loop.ledger import Filter
from learning_loop.records import Decision, Task, utc_now
from learning_loop.strategies import Strategy, Version, context_of, version_of
from learning_loop.workspace import Workspace
from tests.conftest import MakeLoop

PARALLEL = "{name: parts, decomposition_approach: parallel, parallelism_config: {max_parallel: 4}}"
PATIENT = "{name: again, agent_selection_rules: [{take: bob}], retry_policy: {max_attempts: 3, wait_s: 0}}"


def only(workspace: Workspace, mode: str = "shadow", more: str = "", **files: str) -> None:
    """Leave these strategies alone in a workspace."""
    folder = workspace.config / "strategies"
    for path in folder.glob("*.yaml"):
        path.unlink()
    for name, text in files.items():
        (folder / f"{name.replace('_', '-')}.yaml").write_text(text, encoding="utf-8")
    text = f"strategies: {{mode: {mode}{', ' + more if more else ''}}}\n"
    (workspace.config / "policies.yaml").write_text(text, encoding="utf-8")


class Runner:
    """Does what its function says; parts are `count` for a task whose type is not part."""

    agents = ("ann", "bob")

    def __init__(self, work: Callable[[Any, Any], Any], parts: int = 0) -> None:
        self._work, self._parts = work, parts

    def __call__(self, task: Any, run: Any) -> Any:
        return self._work(task, run)

    def decompose(self, task: Any) -> list[Any]:
        if task["type"] == "part":
            return []
        return [{"id": f"{task['id']}.{place}", "type": "part"} for place in range(self._parts)]


def decisions(loop: LearningOrchestrator, execution_id: str) -> dict[str, Any]:
    return {one.point: one for one in loop.app.ledger.execution(execution_id).decisions}


# --------------------------------------------------------------------------------------------------------------- data


def test_what_is_shipped_is_read_and_in_force(app: App) -> None:
    catalogue = load(app)
    assert [version.strategy.slug for version in catalogue.versions] == ["direct", "patient", "side-by-side", "step-by-step"]
    assert catalogue.problems == ()
    simple = facts_of_context({"issue_complexity": "simple"})
    assert [version.strategy.slug for version in catalogue.for_(simple)] == ["direct", "patient", "side-by-side"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{name: x, decomposition_approach: both}", "decomposition_approach"),
        ("{name: x, retry_policy: {max_attempts: 0}}", "retry_policy.max_attempts"),
        ("{name: x, retries: 3}", "retries"),
        ("{name: x, context_rules: [context.size]}", "context_rules"),
        ("{name: x, context_rules: ['colour = red']}", "'colour' is no"),
        ("{name: x, slug: other}", "name the file other.yaml"),
        ("{name: x, escalation_rules: [{when: 'tries > 3'}]}", "no name here"),
        ("[1, 2]", "must hold `key: value`"),
        ("{name: x, slug: 'A B'}", "slug"),
    ],
)
def test_a_strategy_that_cannot_be_meant_says_where_and_why(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=says) as caught:
        read_strategy(path, "one.yaml")
    assert str(caught.value).startswith("one.yaml:")
    assert "\n" not in str(caught.value)


def test_one_that_is_broken_leaves_the_others_and_stays_in_force_as_it_was(app: App, workspace: Workspace) -> None:
    before = load(app)
    (workspace.config / "strategies" / "patient.yaml").write_text("{name: x, retries: 3}", encoding="utf-8")
    now = load(app)
    assert [version.id for version in now.versions] == [version.id for version in before.versions]
    assert "patient.yaml:1" in now.problems[0]
    assert len(read_strategies(app)[0]) == 3
    (workspace.config / "strategies" / "patient.yaml").rename(workspace.config / "strategies" / "patient.yml")
    assert "name it patient.yaml" in load(app).problems[0]
    assert not standing_of(app, "patient").retired


def test_an_edited_file_is_a_new_version_and_the_old_one_stays_on_record(app: App, workspace: Workspace) -> None:
    load(app)
    before = standing_of(app, "patient").current
    path = workspace.config / "strategies" / "patient.yaml"
    path.write_text(path.read_text().replace("max_attempts: 3", "max_attempts: 4"), encoding="utf-8")
    load(app)
    load(app)
    assert standing_of(app, "patient").current != before
    assert [version.id for version in app.ledger.versions_of("patient")] == [before, standing_of(app, "patient").current]
    path.write_text(path.read_text().replace("name: Try", "name: Try really"), encoding="utf-8")
    catalogue = load(app)
    assert len(app.ledger.versions_of("patient")) == 2  # what it is called is not what it does
    assert any(version.strategy.name.startswith("Try really") for version in catalogue.versions)


def test_a_file_that_is_gone_retires_its_strategy_and_one_that_returns_revives_it(app: App, workspace: Workspace) -> None:
    load(app)
    path = workspace.config / "strategies" / "patient.yaml"
    text = path.read_text()
    path.unlink()
    assert "patient" not in [version.strategy.slug for version in load(app).versions]
    path.write_text(text, encoding="utf-8")
    assert "patient" in [version.strategy.slug for version in load(app).versions]


def test_what_a_person_retired_stays_so_until_they_say_otherwise(app: App) -> None:
    load(app)
    retire(app, "patient", reason="too slow")
    assert "patient" not in [version.strategy.slug for version in load(app).versions]
    with pytest.raises(UsageError, match="already"):
        retire(app, "patient", reason="")
    revive(app, "patient")
    assert "patient" in [version.strategy.slug for version in load(app).versions]
    with pytest.raises(UsageError, match="no version"):
        revive(app, "patient", "patient@nothing")
    with pytest.raises(NotFoundError, match="there are direct"):
        retire(app, "other", reason="")


names = st.sampled_from(["ann", "bob", "cy"])
strategies = st.builds(
    Strategy,
    slug=st.just("s"),
    name=st.text(min_size=1, max_size=20),
    decomposition_approach=st.sampled_from(["single", "parallel", "hierarchical"]),
    agent_selection_rules=st.lists(
        st.fixed_dictionaries(
            {
                "when": st.sampled_from([None, "context.a = b", "type = x and context.n > 3"]),
                "take": st.lists(names, min_size=1, max_size=3),
            }
        ),
        max_size=3,
    ),
    retry_policy=st.fixed_dictionaries({"max_attempts": st.integers(1, 9), "wait_s": st.floats(0, 9)}),
)


@given(strategies)
def test_a_strategy_is_the_same_after_it_was_kept(strategy: Strategy) -> None:
    again = Strategy.model_validate(json.loads(json.dumps(strategy.model_dump(mode="json"))))
    assert again == strategy
    assert version_of(again) == version_of(strategy)


@given(strategies, st.lists(names, unique=True, min_size=1))
def test_every_agent_on_offer_is_there_once_whatever_rules_say(strategy: Strategy, offered: list[str]) -> None:
    found = strategy.agents(facts_of_context({"a": "b", "n": 5}), offered)
    assert sorted(found) == sorted(offered)


def test_a_copy_that_was_changed_does_what_the_change_says() -> None:
    one = Strategy.model_validate({"slug": "s", "name": "n", "agent_selection_rules": [{"take": "ann"}]})
    assert one.agents({}, ["bob", "ann"])[0] == "ann"
    other = one.model_copy(update={"agent_selection_rules": ()})
    assert other.agents({}, ["bob", "ann"])[0] == "bob"


def test_a_context_is_coarse_and_leaves_out_what_nobody_knows() -> None:
    task = Task(
        id="t",
        type="issue",
        description="Fix the crash in `parser.py`",
        tags=("urgent",),
        parameters={"loc": 20_000, "language": "Python"},
    )
    found = context_of(task, success_rate=0.4)
    assert found["issue_type"] == "bug"
    assert found["issue_has_code_refs"] is True
    assert found["labels"] == ["urgent"]
    assert (found["description_length"], found["project_language"], found["project_size"]) == ("short", "python", "medium")
    assert "project_test_coverage" not in found
    assert context_of(Task(id="t"), success_rate=None, project={"test_coverage": 0.9})["project_test_coverage"] == "high"


# ------------------------------------------------------------------------------------------------------- carrying out


def test_a_runner_that_leaves_nothing_to_strategies_is_left_alone(make_loop: MakeLoop) -> None:
    report = make_loop(lambda task: task["id"]).execute_with_learning({"id": "t"})
    assert report.result == "t"


@pytest.mark.parametrize(
    ("agents", "taken"),
    [
        ({"bob", "ann"}, ("ann", "bob")),
        (("bob", "ann"), ("bob", "ann")),
        ({"bob": object()}, ("bob",)),
        ("ann", None),
        ([object()], None),
        (object(), None),
    ],
)
def test_agents_are_names_and_what_is_something_else_is_the_runners_own(agents: Any, taken: Any) -> None:
    runner = Runner(lambda task, _: task)
    runner.agents = agents
    runner.decompose = None  # type: ignore[method-assign, assignment]
    offer = Offer.of(runner)
    assert (offer and offer.agents) == taken


def test_parts_run_side_by_side_as_runs_of_their_own(workspace: Workspace, make_loop: MakeLoop) -> None:
    only(workspace, parts=PARALLEL)
    meeting = threading.Barrier(4, timeout=20)

    def work(task: Any, run: Any) -> Any:
        meeting.wait()  # ends only where four are under way at once
        return task["id"], run.agent

    loop = make_loop(Runner(work, parts=4))
    report = loop.execute_with_learning({"id": "t", "type": "bug"})
    assert report.result == [(f"t.{place}", "ann") for place in range(4)]
    records = loop.app.ledger.executions(Filter(types=("part",)))
    assert {record.execution.parent_id for record in records} == {report.execution_id}
    made = decisions(loop, report.execution_id)
    assert made["loop:decompose"].chosen == "parallel"
    assert made["loop:parallelize"].chosen == "4"
    assert made["strategy"].chosen.startswith("parts@")


def test_what_is_hierarchical_is_taken_apart_again_and_combined(workspace: Workspace, make_loop: MakeLoop) -> None:
    only(workspace, tree="{name: tree, decomposition_approach: hierarchical}")

    class Tree(Runner):
        def decompose(self, task: Any) -> list[Any]:
            return [{**task, "id": f"{task['id']}{side}", "depth": task["depth"] - 1} for side in "ab"] if task["depth"] else []

        def combine(self, task: Any, results: list[Any]) -> Any:
            return f"{task['id']}({' '.join(results)})"

    loop = make_loop(Tree(lambda task, _run: task["id"]))
    assert loop.execute_with_learning({"id": "t", "type": "x", "depth": 2}).result == "t(ta(taa tab) tb(tba tbb))"
    assert loop.app.ledger.counts()["succeeded"] == 7
    made = [one for record in loop.app.ledger.executions(Filter(), parts=(Decision,)) for one in record.decisions]
    assert [one.chosen for one in made if one.point == "loop:decompose"] == ["hierarchical"]  # once, for all of it


def test_what_fails_is_tried_again_only_where_that_is_allowed(workspace: Workspace, make_loop: MakeLoop) -> None:
    only(workspace, patient=PATIENT)
    tried: list[str] = []

    def work(task: Any, run: Any) -> Any:
        tried.append(run.agent)
        if len(tried) < 3:
            raise ConnectionError("later")
        return "done"

    loop = make_loop(Runner(work))
    with pytest.raises(ConnectionError, match="later"):
        loop.execute_with_learning({"id": "t1", "type": "x"})
    assert len(tried) == 1
    tried.clear()
    report = loop.execute_with_learning({"id": "t2", "type": "x", "idempotent": True})
    assert report.result == "done"
    assert tried == ["bob"] * 3
    record = loop.app.ledger.execution(report.execution_id)
    assert [one.chosen for one in record.decisions if one.point == "loop:retry"] == ["try again", "try again"]
    assert [point.name for point in record.checkpoints] == ["attempt 1", "attempt 2", "attempt 3"]


def test_another_attempt_may_be_another_agents_and_a_timeout_is_a_failure(workspace: Workspace, make_loop: MakeLoop) -> None:
    only(workspace, relay="{name: relay, retry_policy: {max_attempts: 2, wait_s: 0, timeout_s: 0.2, other_agent: true}}")
    tried: list[str] = []

    def work(_task: Any, run: Any) -> Any:
        tried.append(run.agent)
        if len(tried) == 1:
            time.sleep(1)
        return run.agent

    assert make_loop(Runner(work)).execute_with_learning({"id": "t", "type": "x", "idempotent": True}).result == "bob"
    assert tried == ["ann", "bob"]


def test_a_person_is_asked_and_their_answer_is_the_result(workspace: Workspace, make_loop: MakeLoop) -> None:
    only(
        workspace,
        asks="{name: asks, retry_policy: {max_attempts: 5, wait_s: 0},"
        " escalation_rules: [{when: attempts >= 2 and error = KeyError}]}",
    )
    asked: list[str] = []

    class Asking(Runner):
        def escalate(self, task: Any, reason: str, error: BaseException) -> Any:
            asked.append(f"{task['id']} {reason} {error!r}")
            return "by hand"

    def work(_task: Any, _run: Any) -> Any:
        raise KeyError("gone")

    loop = make_loop(Asking(work))
    report = loop.execute_with_learning({"id": "t", "type": "x", "idempotent": True})
    assert report.result == "by hand"
    assert asked == ["t after 2 attempts: attempts >= 2 and error = KeyError KeyError('gone')"]
    loop.app.drain()
    lines = (workspace.root / "metrics" / "notices.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["sort"] for line in lines] == ["escalation"]
    made = [one.chosen for one in loop.app.ledger.execution(report.execution_id).decisions if one.point == "loop:escalate"]
    assert made == ["go on", "ask a person"]


def test_async_work_follows_the_same_strategy_and_is_cancelled_with_it(workspace: Workspace, make_loop: MakeLoop) -> None:
    only(workspace, parts=PARALLEL)
    under_way, most = 0, 0
    ended: list[str] = []

    async def work(task: Any, _run: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            await asyncio.sleep(task.get("takes", 0.2))
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        under_way -= 1
        return task["id"]

    loop = make_loop(Runner(work, parts=4))
    assert asyncio.run(loop.aexecute_with_learning({"id": "t", "type": "x"})).result == [f"t.{place}" for place in range(4)]
    assert most == 4

    async def impatient() -> None:
        await asyncio.wait_for(make_loop(Runner(work)).aexecute_with_learning({"id": "u", "type": "part", "takes": 60}), 0.5)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(impatient())
    assert ended == ["cancelled"]


def test_many_async_runs_leave_the_loops_threads_to_the_work(workspace: Workspace, make_loop: MakeLoop) -> None:
    async def work(task: Any, _run: Any) -> Any:
        await asyncio.sleep(0.05)
        return await asyncio.to_thread(lambda: task["id"])

    loop = make_loop(Runner(work))

    async def all_of_them() -> list[Any]:
        runs = [loop.aexecute_with_learning({"id": f"t{number}", "type": "part"}) for number in range(24)]
        return [report.result for report in await asyncio.wait_for(asyncio.gather(*runs), 60)]

    assert asyncio.run(all_of_them()) == [f"t{number}" for number in range(24)]


def test_what_was_cancelled_is_not_tried_again(workspace: Workspace, make_loop: MakeLoop) -> None:
    only(workspace, patient=PATIENT)
    begun: list[str] = []

    async def work(task: Any, _run: Any) -> None:
        begun.append(task["id"])
        await asyncio.sleep(60)

    async def impatient() -> None:
        loop = make_loop(Runner(work))
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(loop.aexecute_with_learning({"id": "t", "type": "part", "idempotent": True}), 0.5)
        await asyncio.sleep(0.5)

    asyncio.run(impatient())
    assert begun == ["t"]


def test_all_that_a_runner_offers_may_be_async(workspace: Workspace, make_loop: MakeLoop) -> None:
    only(workspace, parts="{name: p, decomposition_approach: parallel, escalation_rules: [{when: attempts >= 1}]}")

    class Async:
        agents = ("ann", "bob")

        async def decompose(self, task: Any) -> list[Any]:
            return [{"id": f"{task['id']}.{place}", "type": "part"} for place in range(2)]

        async def combine(self, _task: Any, results: Any) -> Any:
            return sum(results)

        async def escalate(self, task: Any, _reason: str, _error: BaseException) -> Any:
            return 10 if task["id"].endswith(".0") else None

        async def __call__(self, task: Any) -> Any:
            raise ValueError(task["id"])

    loop = make_loop(Async())
    with pytest.raises(ValueError, match=r"t\.1"):  # nobody answered for it
        asyncio.run(loop.aexecute_with_learning({"id": "t", "type": "x"}))


def test_what_a_person_says_ends_a_test(workspace: Workspace, make_loop: MakeLoop) -> None:
    only(workspace, "production", "tests: {traffic: 1}", a="{name: a}", b="{name: b}")
    loop = make_loop(Runner(lambda _task, run: run.strategy.slug))
    load(loop.app)
    a = str(standing_of(loop.app, "a").current)
    (workspace.config / "strategies" / "a.yaml").write_text("{name: a, retry_policy: {max_attempts: 2}}", encoding="utf-8")
    load(loop.app)
    now = str(standing_of(loop.app, "a").current)
    name = start(loop.app, now, [a], by="person", reason="")
    with pytest.raises(UsageError, match="was not made of it"):
        start(loop.app, now, [str(standing_of(loop.app, "b").current)], by="person", reason="")
    assert experiments(loop.app)[name].stands
    retire(loop.app, "a", reason="no more")
    assert not experiments(loop.app)[name].stands
    assert "a person said otherwise" in report_of(loop.app, experiments(loop.app)[name]).says


def test_what_a_person_says_while_a_test_is_looked_at_stays_so(workspace: Workspace, make_loop: MakeLoop) -> None:
    only(workspace, "production", "tests: {traffic: 1}", a="{name: a}")
    app = make_loop(Runner(lambda _task, run: run.strategy.slug)).app
    load(app)
    before = str(standing_of(app, "a").current)
    (workspace.config / "strategies" / "a.yaml").write_text("{name: a, retry_policy: {max_attempts: 2}}", encoding="utf-8")
    load(app)
    name = start(app, str(standing_of(app, "a").current), [before], by="person", reason="")
    look = _Look(app, experiments(app)[name], app.ledger.last_event(STRATEGY))
    retire(app, "a", reason="no more")
    assert look.carry_out() == []
    assert app.ledger.events(EVIDENCE, name) == [], "what it found was for a strategy that is gone"
    with pytest.raises(UsageError, match="is retired"):
        start(app, before, [str(standing_of(app, "a").current)], by="person", reason="")
    revive(app, "a", before)
    with pytest.raises(UsageError, match="not in force any more"):
        start(app, str(experiments(app)[name].control), [before], by="loop", reason="")
    (workspace.config / "strategies" / "a.yaml").unlink()
    load(app)
    with pytest.raises(UsageError, match="its file is gone"):
        revive(app, "a")


def test_evidence_that_begins_anew_has_a_level_of_its_own(workspace: Workspace, make_loop: MakeLoop) -> None:
    only(workspace, "production", a="{name: a}", b="{name: b}", c="{name: c}")
    app = make_loop(Runner(lambda _task, run: run.strategy.slug)).app
    load(app)
    first = {slug: str(standings(app)[slug].current) for slug in "abc"}
    for slug in "abc":
        text = f"{{name: {slug}, retry_policy: {{max_attempts: 2}}}}"
        (workspace.config / "strategies" / f"{slug}.yaml").write_text(text, encoding="utf-8")
    load(app)
    names = [start(app, str(standing_of(app, slug).current), [first[slug]], by="person", reason="") for slug in "ab"]
    assert judge(app) == []
    assert [experiments(app)[name].tried for name in names] == [0, 1]
    (workspace.config / "policies.yaml").write_text("strategies: {mode: production, tests: {level: 0.04}}\n", encoding="utf-8")
    app = make_loop(Runner(lambda _task, run: run.strategy.slug)).app
    assert judge(app) == []
    assert judge(app) == []
    again = [experiments(app)[name] for name in names]
    assert [(test.begun, test.tried) for test in again] == [(2, 2), (2, 3)]
    assert [test.moves[-1].data["action"] for test in again] == ["again", "again"]
    third = start(app, str(standing_of(app, "c").current), [first["c"]], by="person", reason="")
    assert experiments(app)[third].tried == 4
    (workspace.config / "policies.yaml").write_text("strategies: {mode: production}\n", encoding="utf-8")
    app = make_loop(Runner(lambda _task, run: run.strategy.slug)).app
    assert judge(app) == []
    assert [experiments(app)[name].begun for name in names] == [2, 2], "it goes on with what it knew by the level it had"


def test_rules_ask_about_tags_and_about_nothing_that_no_context_has(workspace: Workspace, make_loop: MakeLoop) -> None:
    only(workspace, "production", a="{name: a, context_rules: [tag = urgent]}", b="{name: b, rank: 90}")
    loop = make_loop(Runner(lambda _task, run: run.strategy.slug))
    assert loop.execute_with_learning({"id": "t", "type": "x", "tags": ["urgent"]}).result == "a"
    assert loop.execute_with_learning({"id": "u", "type": "x"}).result == "b"
    for rule in ("context.issue_complexty = complex", "agent = ann"):
        (workspace.config / "strategies" / "b.yaml").write_text(f"{{name: b, context_rules: [{rule}]}}", encoding="utf-8")
        assert any(f"no context has {rule.split()[0]}" in problem for problem in load(loop.app).problems)


def test_a_fault_of_strategies_leaves_the_work_as_it_was(workspace: Workspace, make_loop: MakeLoop) -> None:
    loop = make_loop(Runner(lambda _task, _run: "done"), strict=False)
    loop.execute_with_learning({"id": "t0", "type": "x"})
    (workspace.config / "strategies" / "direct.yaml").write_text("{name: [", encoding="utf-8")
    loop._parts.chooser.look(loop._guard, [], fresh=True)  # type: ignore[union-attr]
    loop._parts.app.decider.implied = None  # type: ignore[union-attr, method-assign]
    report = loop.execute_with_learning({"id": "t1", "type": "x"})
    assert report.result == "done"
    assert any("strategy" in warning for warning in report.warnings)


# ---------------------------------------------------------------------------------------------------------- selection


def test_in_shadow_the_rules_choose_and_nothing_is_left_to_chance(workspace: Workspace, make_loop: MakeLoop) -> None:
    only(workspace, a="{name: a, rank: 1}", b="{name: b, rank: 0}", c="{name: c, task_type: bug, rank: 1}")
    loop = make_loop(Runner(lambda _task, run: run.strategy.slug))
    found = [loop.execute_with_learning({"id": f"t{number}", "type": "bug"}).result for number in range(5)]
    assert found == ["b"] * 5
    (workspace.config / "strategies" / "b.yaml").unlink()
    loop._parts.chooser.look(loop._guard, [], fresh=True)  # type: ignore[union-attr]
    assert loop.execute_with_learning({"id": "u", "type": "bug"}).result == "c"  # what is for less comes first
    assert loop.execute_with_learning({"id": "v", "type": "docs"}).result == "a"


def test_a_running_test_assigns_first_and_keeps_to_it(workspace: Workspace, make_loop: MakeLoop) -> None:
    only(workspace, "production", "tests: {traffic: 1}", a="{name: a, retry_policy: {max_attempts: 2}}")
    loop = make_loop(Runner(lambda _task, run: run.strategy.retry_policy.max_attempts))
    load(loop.app)
    b = str(standing_of(loop.app, "a").current)
    (workspace.config / "strategies" / "a.yaml").write_text("{name: a}", encoding="utf-8")
    load(loop.app)
    a = str(standing_of(loop.app, "a").current)
    name = start(loop.app, a, [b], by="person", reason="to see")
    with pytest.raises(UsageError, match="already"):
        start(loop.app, a, [b], by="person", reason="again")
    loop._parts.chooser.look(loop._guard, [], fresh=True)  # type: ignore[union-attr]
    found = {f"t{number}": loop.execute_with_learning({"id": f"t{number}", "type": "x"}).result for number in range(60)}
    assert 15 <= Counter(found.values())[2] <= 45
    for task, attempts in found.items():
        report = loop.execute_with_learning({"id": task, "type": "x"})
        assert report.result == attempts
        choice = decisions(loop, report.execution_id)["strategy"]
        assert choice.policy == f"test/{name}"
        assert choice.probabilities == (0.5, 0.5)
    stop(loop.app, name, reason="enough")
    loop._parts.chooser.look(loop._guard, [], fresh=True)  # type: ignore[union-attr]
    report = loop.execute_with_learning({"id": "t0", "type": "x"})
    assert not decisions(loop, report.execution_id)["strategy"].policy.startswith("test/")
    assert experiments(loop.app)[name].moves[-1].data["by"] == "person"


def test_a_version_that_is_not_in_force_is_never_chosen_outside_of_its_test(workspace: Workspace, make_loop: MakeLoop) -> None:
    only(workspace, "production", "tests: {traffic: 0.3}", a="{name: a}")
    loop = make_loop(Runner(lambda _task, run: run.strategy.retry_policy.max_attempts))
    load(loop.app)
    parent = str(standing_of(loop.app, "a").current)
    made = Strategy.model_validate({"slug": "a", "name": "a", "retry_policy": {"max_attempts": 2}})
    from learning_loop.flows.strategies import rows_of

    start(loop.app, parent, [version_of(made)], by="loop", reason="", rows=rows_of(made, "evolution", utc_now(), parent=parent))
    loop._parts.chooser.look(loop._guard, [], fresh=True)  # type: ignore[union-attr]
    found = [loop.execute_with_learning({"id": f"t{number}", "type": "x"}) for number in range(80)]
    for report in found:
        tested = decisions(loop, report.execution_id)["strategy"].policy.startswith("test/")
        assert tested or report.result == 1
    assert {report.result for report in found} == {1, 2}


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=5), st.integers(0, 4), st.floats(0, 4))
def test_a_unit_changes_only_to_what_became_likelier(weights: list[float], grown: int, by: float) -> None:
    decider = Decider(clock=utc_now, ids=iter(str(number) for number in range(10**9)).__next__)
    options = [f"o{place}" for place in range(len(weights))]
    grown %= len(weights)

    class Shares:
        version = "s"

        def __init__(self, of: list[float]) -> None:
            self.of = of

        def distribution(self, context: Any, options: Any) -> Any:
            return self.of

    more = [weight + by * (place == grown) for place, weight in enumerate(weights)]
    for unit in map(str, range(30)):
        before = decider.decide("p", options, context={}, policy=Shares(weights), unit=unit).chosen
        after = decider.decide("p", options, context={}, policy=Shares(more), unit=unit).chosen
        assert after in (before, options[grown])


def test_units_are_drawn_as_often_as_they_should() -> None:
    decider = Decider(clock=utc_now, ids=iter(str(number) for number in range(10**9)).__next__)

    class Shares:
        version = "s"

        def distribution(self, context: Any, options: Any) -> Any:
            return [0.6, 0.3, 0.1]

    drawn = Counter(
        decider.decide("p", list("abc"), context={}, policy=Shares(), unit=str(unit)).chosen for unit in range(4_000)
    )
    for option, share in zip("abc", (0.6, 0.3, 0.1), strict=True):
        assert abs(drawn[option] / 4_000 - share) < 4 * (share * (1 - share) / 4_000) ** 0.5


def test_what_follows_from_a_choice_is_logged_with_how_likely_it_was(workspace: Workspace, make_loop: MakeLoop) -> None:
    """Over many runs an option is taken as often as was said, given what was done before it."""
    only(
        workspace,
        "production",
        "explore: 0.2, tests: {traffic: 1}",
        a="{name: a, rank: 0}",
        b="{name: b, decomposition_approach: parallel, agent_selection_rules: [{take: bob}]}",
        c="{name: c, agent_selection_rules: [{take: bob}]}",
    )
    loop = make_loop(Runner(lambda _task, _run: True), rng=random.Random(5))
    load(loop.app)
    points = loop._parts.points["strategy"]  # type: ignore[union-attr]
    points.look(loop._guard, [], fresh=True)
    expected: dict[tuple[str, str], float] = {}
    taken: Counter[tuple[str, str]] = Counter()
    for number in range(400):
        report = loop.execute_with_learning({"id": f"t{number}", "type": "x"})
        made = decisions(loop, report.execution_id)
        for point in ("loop:decompose", "loop:select_agent"):
            one = made[point]
            assert sum(one.probabilities) == pytest.approx(1)
            assert all(share > 0 for share in one.probabilities)
            taken[point, one.chosen] += 1
            for option, share in zip(one.alternatives, one.probabilities, strict=True):
                expected[point, option] = expected.get((point, option), 0.0) + share
    for key, mean in expected.items():
        assert abs(taken[key] - mean) < 4 * mean**0.5 + 4, key


def test_critical_tasks_are_nobodys_experiment(workspace: Workspace, make_loop: MakeLoop) -> None:
    only(workspace, "production", "explore: 0.5", a="{name: a}")
    loop = make_loop(Runner(lambda _task, run: run.agent))
    found = [loop.execute_with_learning({"id": f"t{number}", "type": "x", "critical": True}).result for number in range(30)]
    assert found == ["ann"] * 30


def test_versions_are_immutable_by_hand_too(app: App) -> None:
    import sqlite3

    load(app)
    by_hand = sqlite3.connect(app.ledger.path)
    for statement in ("UPDATE strategy_versions SET document = '{}'", "DELETE FROM strategies"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            by_hand.execute(statement)
    by_hand.close()
    assert set(standings(app)) == {"direct", "patient", "side-by-side", "step-by-step"}
    assert isinstance(Version.of(load(app).versions[0].strategy).id, str)
