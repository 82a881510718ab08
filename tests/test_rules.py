"""Rules: what they may say, when they hold, and that they reach the work without ever breaking it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning_loop.errors import ConditionError
from learning_loop.features import parse
from learning_loop.records import Decision, Feedback, Pattern
from learning_loop.rules import Rule, Then, plan_changes, proposals, read_rule
from learning_loop.workspace import Workspace
from tests.conftest import MakeLoop


def write_rule(workspace: Workspace, name: str, front: str) -> Path:
    path = workspace.memory / "rules" / f"{name}.md"
    path.write_text(f"---\nid: {name}\nkind: rule\n{front}\n---\n# {name}\n\nBecause.\n", encoding="utf-8")
    return path


def test_rules_reach_the_work(make_loop: MakeLoop, workspace: Workspace) -> None:
    write_rule(workspace, "advice", "when: component = api\nthen: {advise: pin the version}")
    write_rule(
        workspace, "setting", "when: type = build\nthen: {set: {retries: 3}, prefer: {model: large}, avoid: {model: tiny}}"
    )
    write_rule(workspace, "checking", "then: {check: 'tokens < 100 and success = true'}")
    write_rule(workspace, "elsewhere", "when: component = web\nthen: {advise: never here}")
    write_rule(workspace, "waiting", "when: component = api\nstatus: candidate\nthen: {advise: not yet}")
    seen: dict[str, Any] = {}

    def runner(task: Any, run: Any) -> dict[str, bool]:
        seen["parameters"], seen["briefing"] = dict(run.parameters), run.briefing.markdown
        seen["model"] = run.decide("model", ["tiny", "small", "large"])
        seen["other"] = run.decide("other", ["first", "second"])
        run.usage("m", tokens=500)
        return {"success": True}

    loop = make_loop(runner)
    task = {"id": "t", "type": "build", "component": "api", "parameters": {"level": 1}}
    report = loop.execute_with_learning(task)
    assert seen["parameters"] == {"level": 1, "retries": 3}
    assert "pin the version" in seen["briefing"]
    assert "never here" not in seen["briefing"]
    assert "not yet" not in seen["briefing"]
    assert (seen["model"], seen["other"]) == ("large", "first")
    assert any("checking" in line for line in report.improvements)
    record = loop.app.ledger.execution(report.execution_id)
    (decision,) = [item for item in record.decisions if item.point == "loop:expose"]
    assert isinstance(decision, Decision)
    assert [unit.partition("@")[0] for unit in decision.alternatives] == [
        "memory",
        "rule:advice",
        "rule:checking",
        "rule:setting",
    ]
    assert decision.chosen.split() == list(decision.alternatives)
    assert decision.propensity == 1
    assert [item.value for item in record.feedback if item.metric == "rule_check:checking"] == [0.0]
    assert isinstance(record.feedback[0], Feedback)


def test_what_cannot_see_parameters_keeps_its_own(make_loop: MakeLoop, workspace: Workspace) -> None:
    write_rule(workspace, "setting", "then: {set: {retries: 3}}")
    loop = make_loop(lambda task: task["parameters"])
    report = loop.execute_with_learning({"id": "t", "parameters": {"retries": 0}})
    assert report.result == {"retries": 0}
    assert loop.app.ledger.execution(report.execution_id).execution.parameters == {"retries": 0}
    run = loop.begin({"id": "t", "parameters": {"retries": 0}})
    assert run.parameters == {"retries": 3}
    loop.finish(run)


def test_a_rule_that_cannot_be_read_breaks_nothing(make_loop: MakeLoop, workspace: Workspace) -> None:
    write_rule(workspace, "broken", "when: nonsense is here\nthen: {advise: x}")
    write_rule(workspace, "good", "then: {advise: still here}")
    loop = make_loop(lambda task, run: run.briefing.markdown)
    assert "still here" in loop.execute_with_learning({"id": "t"}).result
    assert "memory/rules/broken.md" in loop._must().rules.faults[0]


def test_a_rule_that_is_written_counts_from_the_next_look_on(make_loop: MakeLoop, workspace: Workspace) -> None:
    loop = make_loop(lambda task, run: run.briefing.markdown)
    assert loop.execute_with_learning({"id": "t"}).result == ""
    path = write_rule(workspace, "new", "then: {advise: look twice}")
    assert [rule.title for rule in loop._must().rules.rules(fresh=True)] == ["new"]
    assert "look twice" in loop.execute_with_learning({"id": "t"}).result
    path.unlink()
    loop._must().rules.rules(fresh=True)
    assert "look twice" not in loop.execute_with_learning({"id": "t"}).result


@pytest.mark.parametrize(
    ("then", "says"),
    [
        (None, "then must say at least one of"),
        ({}, "then must say at least one of"),
        ({"advice": "x"}, "then cannot 'advice'"),
        ({"advise": ""}, "then.advise must be a text"),
        ({"set": [1]}, "then.set must be a mapping"),
        ({"prefer": "small"}, "then.prefer must name options"),
        ({"avoid": {"model": {}}}, "then.avoid.model must be an option"),
        ({"check": "component = api"}, "'component' is no name here"),
    ],
)
def test_what_a_rule_does_is_checked(then: Any, says: str) -> None:
    with pytest.raises(ConditionError) as caught:
        read_rule(id="a", path="memory/rules/a.md", title="a", meta={"then": then}, written_by_loop=False)
    assert str(caught.value).startswith("memory/rules/a.md: ")
    assert says in str(caught.value)


names = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=8)
options = st.dictionaries(names, st.lists(names, min_size=1, max_size=3).map(tuple), max_size=2)


@given(
    st.builds(
        Then, advise=names.map(str.strip).filter(bool), set=st.dictionaries(names, st.integers()), prefer=options, avoid=options
    )
)
def test_what_a_rule_does_is_written_and_read_as_an_identity(then: Then) -> None:
    assert Then.read(then.plain()) == then


def pattern(antecedent: str, *, family: str = "failure", hits: int = 30, consequent: str = "score < 60") -> Pattern:
    return Pattern(
        family=family,
        key=f"{family}: {antecedent}",
        antecedent=antecedent,
        consequent=consequent,
        title=antecedent,
        text=f"{hits} of 40",
        support=40,
        hits=hits,
        confidence=0.75,
        base=0.2,
        lift=2.0,
        effect=55.0,
        low=40.0,
        high=70.0,
        unit="points",
        p_value=1e-9,
        adjusted=1e-6,
        executions=("e1",),
    )


@pytest.mark.parametrize(
    ("antecedent", "family", "when", "then"),
    [
        (
            "component = api and parameter.client = httpx",
            "failure",
            "component = api",
            {"advise": "avoid parameter client = httpx"},
        ),
        ("parameter.retries = 3", "success", None, {"advise": "use parameter retries = 3", "set": {"retries": 3}}),
        ("type = write and decision.model = small", "failure", "type = write", {"avoid": {"model": "small"}}),
        ("decision.model = large and parameter.size > 9", "success", "parameter.size > 9", {"prefer": {"model": "large"}}),
        ("tag = a and agent = bob", "failure", None, None),
        ("component = web", "success", None, None),
    ],
)
def test_patterns_become_rules(antecedent: str, family: str, when: str | None, then: Any) -> None:
    found = proposals([pattern(antecedent, family=family)], settable=["retries"])
    if then is None:
        assert not found
        return
    (proposal,) = found
    assert proposal.then.plain() == then
    assert proposal.when == (parse(when) if when is not None else None)


def test_parameters_are_only_set_where_that_is_allowed() -> None:
    (proposal,) = proposals([pattern("parameter.retries = 3", family="success")])
    assert proposal.then.plain() == {"advise": "use parameter retries = 3"}


def rule(antecedent: str, *, mine: bool = False, status: str = "active") -> Rule:
    (proposal,) = proposals([pattern(antecedent)])
    return Rule(
        id=antecedent,
        path=f"memory/rules/{antecedent}.md",
        title=proposal.title,
        when=proposal.when,
        then=proposal.then,
        status=status,
        mine=mine,
        pattern=proposal.pattern,
    )


def plan(rules: list[Rule], patterns: Sequence[str | Pattern], **given: Any) -> Any:
    known = {"fallen": {}, "rejected": {}, "most_new": 5, **given}
    found = [pattern(item) if isinstance(item, str) else item for item in patterns]
    return plan_changes(rules, proposals(found, settable=["client"]), **known)


def test_changes_are_small() -> None:
    names = [f"parameter.p{number} = 1" for number in range(8)]
    added = plan([], names)
    assert [change.action for change in added.changes] == ["add"] * 5
    assert len(added.held_back) == 3
    assert not plan([rule(name) for name in names], names).changes
    revised = plan([replace(rule(names[0]), then=Then(advise="old words"))], names[:1])
    assert [change.action for change in revised.changes] == ["revise"]


def test_what_would_retire_most_rules_is_not_believed() -> None:
    names = [f"parameter.p{number} = 1" for number in range(8)]
    rules = [rule(name) for name in names]
    fallen = {item.pattern: "gone" for item in rules if item.pattern}
    refused = plan(rules, [], fallen=fallen)
    assert not refused.changes
    assert "would be retired at once" in refused.held_back[0]
    few = dict(list(fallen.items())[:2])
    assert [change.action for change in plan(rules, [], fallen=few).changes] == ["retire", "retire"]
    assert not plan(rules[:2], [], fallen=fallen).changes
    assert [change.action for change in plan(rules[:1], [], fallen=fallen).changes] == ["retire"]


def test_rules_that_say_the_same_are_merged() -> None:
    one = rule("parameter.p = 1")
    same = replace(one, id="b", path="memory/rules/b.md", pattern="failure: something else")
    (change,) = plan([one, same], []).changes
    assert (change.action, change.rule) == ("retire", same)
    assert "says the same" in change.reason
    (change,) = plan([one, replace(same, mine=True)], []).changes
    assert change.rule == one


def test_a_rule_may_only_ask_what_is_known_before_a_run() -> None:
    for name in ("state.git.branch", "decision.model"):
        with pytest.raises(ConditionError, match="not known of a task"):
            read_rule(id="a", path="a", title="a", meta={"when": f"{name} != x", "then": {"advise": "x"}}, written_by_loop=True)


def test_peoples_rules_are_left_alone_and_not_repeated() -> None:
    name = "parameter.p = 1"
    assert not plan([rule(name, mine=True)], [name]).changes
    assert not plan([rule(name, mine=True)], [], fallen={f"failure: {name}": "gone"}).changes
    same = Rule(id="x", path="x", title="x", when=None, then=Then(advise="avoid parameter p = 1"), status="active", mine=True)
    assert not plan([same], [name]).changes


def test_rejected_rules_need_a_larger_effect() -> None:
    name = "parameter.p = 1"  # its effect is 55 points, 40 at least
    key = f"rule: failure: {name}"
    assert not plan([], [name], rejected={key: 50.0}).changes
    assert not plan([], [name], rejected={key: 40.0}).changes
    assert plan([], [name], rejected={key: 35.0}).changes


def titles(planned: Any) -> list[str]:
    return [change.title for change in planned.changes]


SMALL, LARGE = pattern("decision.model = small"), pattern("decision.model = large", family="success")
OLD, NEW = pattern("parameter.client = old"), pattern("parameter.client = new", family="success")


def test_two_patterns_about_one_choice_give_one_rule() -> None:
    assert titles(plan([], [SMALL, LARGE])) == ["Avoid small for model"]
    assert titles(plan([], [OLD, NEW])) == ["Use parameter client = new; set client to new"], "what sets it, rather than advice"
    elsewhere = pattern("type = write and decision.model = large", family="success")
    assert len(titles(plan([], [SMALL, elsewhere]))) == 2


def test_of_a_choice_that_has_its_rule_nothing_else_is_tried() -> None:
    assert not titles(plan([rule("decision.model = small")], [LARGE]))
    assert not titles(plan([rule("parameter.client = old")], [NEW])), "although it could be set"
    both = Then(prefer={"model": ("large",), "effort": ("high",)}, avoid={"model": ("small",)}, set={"client": "old"})
    by_hand = Rule(id="x", path="x", title="x", when=None, then=both, status="active", mine=True)
    assert not titles(plan([by_hand], [NEW, SMALL, pattern("decision.effort = low")]))
    replaced = plan([rule("decision.model = small")], [LARGE], fallen={"failure: decision.model = small": "gone"})
    assert [change.action for change in replaced.changes] == ["add", "retire"]


def test_a_choice_is_not_tried_beside_a_part_of_it() -> None:
    pair = pattern("parameter.client = old and parameter.retry = 3", family="success")
    assert titles(plan([], [NEW, pair])) == ["Use parameter client = new; set client to new"]
    assert not titles(plan([rule("parameter.client = old")], [pair]))
    (partly,) = plan([], [pair]).changes
    kept = Rule(id="p", path="p", title="p", when=None, then=partly.proposal.then, status="trial", mine=False, pattern=pair.key)
    assert not titles(plan([kept], [pattern("parameter.retry = 1")])), "it is about both, although it sets one"


def test_where_a_person_moved_a_rule_to_is_where_it_is() -> None:
    moved = replace(rule("parameter.client = old", mine=True), when=parse("component = api"), then=Then(advise="in my words"))
    assert titles(plan([moved], [pattern("component = api and parameter.client = new", family="success")])) == []
    assert titles(plan([moved], [pattern("parameter.client = newer", family="failure")])) != []


def test_nothing_comes_in_the_place_of_what_is_not_believed_to_be_gone() -> None:
    standing = [rule(f"decision.d{number} = a") for number in range(4)]
    fallen = {item.pattern: "gone" for item in standing if item.pattern}
    others = [pattern(f"decision.d{number} = b", family="success") for number in range(4)]
    refused = plan(standing, others, fallen=fallen)
    assert not refused.changes
    assert len(refused.held_back) == 1


def test_what_a_wider_rule_says_is_not_said_again_of_a_part() -> None:
    narrow = pattern("component = api and decision.model = small")
    assert not titles(plan([rule("decision.model = small")], [narrow]))
    assert titles(plan([], [SMALL, narrow])) == ["Avoid small for model"]
    assert titles(plan([rule("component = api and decision.model = small")], [SMALL])) == ["Avoid small for model"]


def test_a_rejected_rule_does_not_come_back_from_the_other_side() -> None:
    rejected = {"rule: failure: decision.model = small": 50.0}
    assert not titles(plan([], [LARGE], rejected=rejected))
    assert titles(plan([], [LARGE], rejected={"rule: failure: decision.model = small": 30.0})), "its effect is larger"
    assert not titles(plan([], [LARGE], rejected={"rule: failure: decision.model = small": 30.0, f"rule: {LARGE.key}": 60.0}))
    assert titles(plan([], [pattern("decision.model = small", family="success")], rejected=rejected)), "that is the opposite"
    assert titles(plan([], [pattern("component = api and decision.model = large", family="success")], rejected=rejected))
    by_hand = rule("decision.model = small", mine=True, status="retired")
    assert not titles(plan([by_hand], [SMALL, LARGE]))


@pytest.mark.parametrize(
    ("antecedent", "family", "comes"),
    [
        ("parameter.size <= 9", "success", False),
        ("parameter.size <= 9", "failure", True),
        ("parameter.size > 9", "success", True),
        ("parameter.size > 9", "failure", False),
        ("parameter.size <= 5", "success", True),
    ],
)
def test_the_other_side_of_a_cut_is_the_same_choice(antecedent: str, family: str, *, comes: bool) -> None:
    rejected = {"rule: failure: parameter.size > 9": 50.0}
    assert bool(titles(plan([], [pattern(antecedent, family=family)], rejected=rejected))) == comes


def test_of_a_pair_there_is_no_other_side() -> None:
    rejected = {"rule: failure: parameter.a = 1 and parameter.b = 1": 50.0}
    assert titles(plan([], [pattern("parameter.a = 1 and parameter.b = 3", family="success")], rejected=rejected))
    assert not titles(plan([], [pattern("parameter.a = 1 and parameter.b = 1")], rejected=rejected))


def test_one_choice_waits_once() -> None:
    assert len(plan([], [SMALL, LARGE, OLD, NEW], most_new=0).held_back) == 2
