"""Decision points: choices outside runs, learning live, the modes, the ramp, and falling back to the rules."""

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from learning_loop import LearningOrchestrator
from learning_loop.errors import NotFoundError, UsageError
from learning_loop.flows.experience import BY, Log
from learning_loop.flows.points import DecisionPoint, standing
from learning_loop.flows.ramps import judge, roll_back, set_mode
from learning_loop.flows.training import judged, train
from learning_loop.records import Decision, Event
from learning_loop.workspace import Workspace
from learning_loop.workspace.versions import folder_of
from tests.conftest import MakeLoop, SteppingClock

MODELS = ("large", "small")
CONFIG = """
policies:
  ramp: {{hours: 0, least_units: 40}}
  points:
    model:
      mode: {mode}
      learner: {learner}
      floor: 0.02
      explore: 0.3
      rules: [{{when: context.language = python, take: large}}, {{take: large}}]
      {more}
"""


@pytest.fixture
def configured(workspace: Workspace, make_loop: MakeLoop) -> Callable[..., LearningOrchestrator]:
    def make(mode: str = "production", learner: str = "lints", more: str = "") -> LearningOrchestrator:
        text = CONFIG.format(mode=mode, learner=learner, more=more)
        (workspace.config / "policies.yaml").write_text(text, encoding="utf-8")
        return make_loop()

    return make


def _point(loop: LearningOrchestrator) -> DecisionPoint:
    assert loop._parts is not None
    return loop._parts.points["model"]


def choose(loop: LearningOrchestrator, rng: random.Random, runs: int, good: Callable[[str, str], float]) -> list[str]:
    found = []
    for _ in range(runs):
        language = rng.choice(["python", "rust"])
        decision = loop.decide({"language": language}, MODELS, point="model")
        loop.reward(decision, float(rng.random() < good(language, decision.chosen)))
        found.append(decision.chosen if language == "rust" else "-")
    return [name for name in found if name != "-"]


def small_is_better_for_rust(language: str, model: str) -> float:
    return 0.8 if (language == "python") == (model == "large") else 0.3


def test_choices_outside_runs_are_learned_from_as_their_rewards_come(configured: Any) -> None:
    loop = configured()
    found = choose(loop, random.Random(1), 300, small_is_better_for_rust)
    assert found[-60:].count("small") > 45
    decisions = loop.app.ledger.decision
    last = loop.decide({"language": "rust"}, MODELS, point="model")
    by = decisions(f"{last.id}{BY}")
    assert by is not None
    assert by.alternatives == ("learned", "rules")
    assert by.probabilities == pytest.approx((0.95, 0.05))
    assert decisions(last.id) == last


def test_a_reward_is_given_once_for_a_choice_that_was_made(configured: Any) -> None:
    loop = configured()
    decision = loop.decide({}, MODELS, point="model")
    loop.reward(decision.id, 1.0)
    with pytest.raises(UsageError, match="has a reward already"):
        loop.reward(decision, 0.0)
    with pytest.raises(NotFoundError, match="no choice 'nope'"):
        loop.reward("nope", 1.0)
    with pytest.raises(UsageError, match="finite"):
        loop.reward(decision, float("nan"))
    with pytest.raises(UsageError, match="one or more actions"):
        loop.decide({}, [], point="model")


def test_what_was_learned_live_outlives_the_process_and_is_derived(
    configured: Any, workspace: Workspace, make_loop: MakeLoop
) -> None:
    loop = configured()
    choose(loop, random.Random(2), 260, small_is_better_for_rust)
    context = {"language": "rust"}
    learner = _point(loop).learner
    assert learner is not None
    before = learner.distribution(context, MODELS)
    loop.close()
    folder = workspace.metrics / "policies" / "model" / "live"
    assert sorted(path.name for path in folder.iterdir()) == ["policy.json", "weights.npz"]
    for removed in (False, True):
        if removed:
            for path in folder.iterdir():
                path.unlink()
        again = make_loop()
        point = _point(again)
        point.catch_up()
        assert point.learner is not None
        assert point.learner.distribution(context, MODELS) == pytest.approx(before, abs=1e-3)
        again.close()


def test_by_default_the_first_is_chosen_and_nothing_else_is_drawn(make_loop: MakeLoop) -> None:
    loop = make_loop()
    decision = loop.decide({"language": "rust"}, MODELS)
    assert (decision.chosen, decision.propensity, decision.policy) == ("large", 1.0, "first/1")
    assert loop.app.ledger.decision(f"{decision.id}{BY}") is None


def test_in_shadow_the_rules_choose_and_what_would_have_been_chosen_is_logged(configured: Any) -> None:
    loop = configured("shadow", more="unit: task")
    with loop.run({"id": "t1", "type": "build"}) as run:
        assert run.decide("model", MODELS, language="python") in MODELS
    shadow, own = loop.app.ledger.execution(run.id).decisions[-2:]
    assert (shadow.point, own.point) == ("loop:shadow:model", "model")
    assert shadow.policy.startswith("lints/")
    assert own.policy.startswith("rules/")
    assert own.probabilities == pytest.approx((0.7, 0.3))
    assert own.context["type"] == "build"


@pytest.mark.parametrize(("variable", "mode"), [("disabled", "disabled"), ("shadow", "shadow"), ("production", "production")])
def test_the_environment_outranks_what_was_configured(workspace: Workspace, variable: str, mode: str) -> None:
    (workspace.config / "policies.yaml").write_text(CONFIG.format(mode="ab_test", learner="lints", more=""), encoding="utf-8")
    with LearningOrchestrator(workspace=workspace.root, environ={"LEARNING_LOOP_MODE": variable}) as loop:
        found = standing(loop.app, "model")
        assert found.mode == mode
        assert "LEARNING_LOOP_MODE" in found.why


class Broken:
    version = "broken/1"

    def distribution(self, context: Any, options: Any) -> Any:
        raise ZeroDivisionError


def test_whatever_goes_wrong_in_what_was_learned_the_rules_choose(configured: Any, workspace: Workspace) -> None:
    configured().close()
    with LearningOrchestrator(workspace=workspace.root) as loop:
        point = _point(loop)
        point.look(fresh=True)
        point.learner = Broken()
        made = [loop.decide({"language": "python"}, MODELS, point="model") for _ in range(20)]
        assert sum(decision.policy.startswith("fallback rules/") for decision in made) > 15


def test_a_policy_that_takes_too_long_does_not_choose(configured: Any, workspace: Workspace) -> None:
    configured().close()
    environ = {"LEARNING_LOOP_POLICIES_TIME_BUDGET_MS": "0.0001"}
    with LearningOrchestrator(workspace=workspace.root, environ=environ) as loop:
        made = [loop.decide({"language": "python"}, MODELS, point="model") for _ in range(20)]
        assert sum(decision.policy.startswith("fallback rules/") for decision in made) > 15


def test_a_unit_stays_with_who_chooses_for_it_while_the_share_grows(configured: Any) -> None:
    loop = configured()
    point = _point(loop)
    point.look(fresh=True)
    by: dict[str, list[str]] = {}
    for share in (0.1, 0.5, 0.9):
        object.__setattr__(point.standing, "share", share)
        for number in range(200):
            made = point.decide(MODELS, {}, loop._guard, [], unit=f"user-{number}")
            by.setdefault(f"user-{number}", []).append(made[0].chosen)
    assert all(sorted(chosen, reverse=True) == chosen for chosen in by.values()), "rules, then learned, and never back"
    shares = [sum(chosen[place] == "learned" for chosen in by.values()) / 200 for place in range(3)]
    assert shares == pytest.approx([0.1, 0.5, 0.9], abs=0.08)


def work(loop: LearningOrchestrator, rng: random.Random, runs: int, good: Callable[[str, str], float]) -> None:
    for number in range(runs):
        with loop.run({"id": f"t{number}", "type": "build"}) as run:
            language = rng.choice(["python", "rust"])
            model = run.decide("model", MODELS, language=language)
            run.outcome(success=rng.random() < good(language, model))


def test_a_policy_is_trained_let_in_past_the_log_and_ramped_to_all(configured: Any, clock: SteppingClock) -> None:
    loop = configured("shadow")
    app, rng = loop.app, random.Random(4)
    with pytest.raises(UsageError, match="0 episodes of 'model' are too few"):
        train(app, "model")
    choose(loop, rng, 1_500, small_is_better_for_rust)
    done = train(app, "model", algo="lints")
    assert done.judgement.passes, done.judgement.says
    assert (app.workspace.root / done.path / "policy.json").is_file()
    assert standing(app, "model").version == done.version
    with pytest.raises(UsageError, match="has not shown in its ramp"):
        set_mode(app, "model", "production")
    assert "had not seen" in str(set_mode(app, "model", "ab_test"))
    assert standing(app, "model").share == pytest.approx(0.1)
    seen = []
    for _ in range(40):
        choose(loop, rng, 60, small_is_better_for_rust)
        seen += [told.step.value for told in judge(app, "model")]
        _point(loop).look(fresh=True)
        if "complete" in seen:
            break
    assert seen == ["advanced", "advanced", "complete"]
    assert standing(app, "model").share == pytest.approx(0.95)
    work(loop, rng, 20, small_is_better_for_rust)
    recent = app.ledger.executions(limit=20, parts=(Decision,))
    assert done.version in {one.policy for record in recent for one in record.decisions if one.point == "model"}
    set_mode(app, "model", "production")
    roll_back(app, "model", None, reason="a look at it")
    now = standing(app, "model")
    assert (now.version, now.incumbent, now.share) == (now.waiting, None, 0.0), "what never had its share does not choose"
    with pytest.raises(UsageError, match="no version 'nope'"):
        roll_back(app, "model", "nope", reason="")


def say(loop: LearningOrchestrator, action: str, version: str) -> None:
    data = {"action": action, "version": version, "by": "test", "reason": "", "outcome": 0, "share": 0.0}
    loop.app.ledger.append(Event(kind="policy", subject="model", at=loop.app.clock(), data=data))


def kept(loop: LearningOrchestrator, version: str, **data: Any) -> None:
    about = {"candidate": version, "stage": 3, "complete": True, "over": None, "anew": False, **data}
    loop.app.ledger.append(Event(kind="ramp", subject=f"{version} at model", at=loop.app.clock(), data=about))


def test_a_newer_one_that_is_taken_back_leaves_the_one_before_it_what_it_had(configured: Any) -> None:
    loop = configured("ab_test", learner="imitation")
    for action, version in (("train", "one"), ("enter", "one"), ("complete", "one"), ("train", "two"), ("enter", "two")):
        say(loop, action, version)
    kept(loop, "one")
    kept(loop, "two", stage=0, complete=False)
    now = standing(loop.app, "model")
    assert (now.version, now.incumbent, now.share) == ("two", "one", 0.1)
    say(loop, "rollback", "two")
    now = standing(loop.app, "model")
    assert (now.version, now.incumbent) == ("one", None)
    assert now.share == pytest.approx(0.95)


def test_what_was_doubted_has_the_share_of_its_stage_until_it_has_all_again(configured: Any) -> None:
    loop = configured("production", learner="imitation")
    for action in ("train", "enter", "complete"):
        say(loop, action, "one")
    for stage, anew, share in ((0, True, 0.1), (1, True, 0.25), (3, False, 0.95)):
        kept(loop, "one", stage=stage, anew=anew, complete=not anew)
        assert standing(loop.app, "model").share == pytest.approx(share)


def test_what_never_chose_takes_nothing_along_when_it_is_taken_back(configured: Any) -> None:
    loop = configured("production")
    live = standing(loop.app, "model").version
    say(loop, "train", "one")
    say(loop, "rollback", "one")
    assert (live or "").startswith("live-")
    assert standing(loop.app, "model").version == live


def test_what_is_set_up_anew_is_another_candidate_and_has_to_enter(configured: Any) -> None:
    loop = configured("production")
    first = standing(loop.app, "model")
    assert first.share == pytest.approx(0.95), "the configuration says so"
    for action in ("enter", "rollback"):
        say(loop, action, str(first.version))
    loop.close()
    for mode in ("production", "ab_test"):
        again = configured(mode, more="pseudo: 50")
        now = standing(again.app, "model")
        assert now.version == now.waiting != first.version
        assert (now.version or "").startswith("live-")
        assert now.share == 0.0
        again.close()


def test_to_take_back_the_one_before_leaves_the_one_on_its_way(configured: Any) -> None:
    loop = configured("ab_test", learner="imitation")
    for action, version in (("train", "one"), ("enter", "one"), ("complete", "one"), ("train", "two"), ("enter", "two")):
        say(loop, action, version)
    say(loop, "rollback", "one")
    now = standing(loop.app, "model")
    assert (now.version, now.incumbent, now.share) == ("two", None, 0.1)


def test_a_share_is_no_more_than_what_was_earned_whatever_the_stages_are_now(configured: Any, workspace: Workspace) -> None:
    loop = configured("ab_test", learner="imitation")
    for action in ("train", "enter"):
        say(loop, action, "one")
    kept(loop, "one", stage=2, complete=False)
    assert standing(loop.app, "model").share == 0.5
    loop.close()
    config = workspace.config / "policies.yaml"
    config.write_text(config.read_text().replace("least_units: 40", "least_units: 40, stages: [10, 100]"))
    with LearningOrchestrator(workspace=workspace.root) as again:
        assert standing(again.app, "model").share == 0.1


def test_a_fault_at_one_point_keeps_no_other_from_learning(workspace: Workspace, make_loop: MakeLoop) -> None:
    points = "policies: {points: {a: {mode: production, reward: nosuch}, model: {mode: production, learner: lints}}}"
    (workspace.config / "policies.yaml").write_text(points, encoding="utf-8")
    loop = make_loop(strict=False)
    for point in ("a", "model"):
        loop.reward(loop.decide({}, MODELS, point=point), 1.0)
    loop.learn()
    learner = _point(loop).learner
    assert learner is not None
    assert learner.version == "lints/1#1"


def test_choices_outside_of_runs_are_learned_while_a_run_waits(workspace: Workspace, make_loop: MakeLoop) -> None:
    (workspace.config / "rewards").mkdir(exist_ok=True)
    late = "main: sold\nterms: {sold: {of: sold, weight: 1, delay_days: 30}}\nclip: [0, 1]\n"
    (workspace.config / "rewards" / "late.yaml").write_text(late, encoding="utf-8")
    points = "policies: {points: {model: {mode: production, learner: lints, reward: late}}}"
    (workspace.config / "policies.yaml").write_text(points, encoding="utf-8")
    loop = make_loop()
    work(loop, random.Random(1), 1, small_is_better_for_rust)
    for _ in range(5):
        loop.reward(loop.decide({}, MODELS, point="model"), 1.0)
    loop.learn()
    learner = _point(loop).learner
    assert learner is not None
    assert learner.version == "lints/1#5"


class Slow:
    version = "slow/1"

    def distribution(self, context: Any, options: Any) -> Any:
        time.sleep(0.2)
        return [1.0, *(0.0 for _ in options[1:])]


@pytest.mark.parametrize("mode", ["shadow", "production"])
def test_what_is_slow_is_asked_once(configured: Any, mode: str) -> None:
    loop = configured(mode)
    point = _point(loop)
    point.look(fresh=True)
    point.learner = Slow()
    started = time.monotonic()
    for _ in range(15):
        loop.decide({"language": "python"}, MODELS, point="model")
    assert time.monotonic() - started < 1.5, "fifteen times would take three seconds"


def test_the_first_choices_of_many_threads_are_all_made_by_the_rules(configured: Any) -> None:
    loop = configured("shadow")
    found: list[str] = []
    ready = threading.Barrier(8)

    def use() -> None:
        ready.wait()
        found.append(loop.decide({}, MODELS, point="model").policy)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(policy.startswith("rules/") for policy in found)


def test_a_version_is_judged_by_what_is_on_record_today(configured: Any) -> None:
    loop = configured("shadow")
    choose(loop, random.Random(4), 1_500, small_is_better_for_rust)
    done = train(loop.app, "model", algo="lints")
    assert done.judgement.passes
    assert set(done.judgement.estimates) == {"doubly robust", "inverse propensity", "self-normalised", "rewards dealt anew"}
    assert judged(loop.app, "model", done.version).passes
    choose(loop, random.Random(5), 1_500, lambda language, model: 1 - small_is_better_for_rust(language, model))
    later = judged(loop.app, "model", done.version)
    assert later.episodes == done.judgement.episodes + 1_500, "what came since counts as well"
    assert not later.passes, "and says now that the rules do better"


def test_nothing_is_judged_by_what_was_learned_from_however_late_it_was_rewarded(configured: Any) -> None:
    loop = configured("shadow")
    first = loop.decide({"language": "rust"}, MODELS, point="model")
    choose(loop, random.Random(4), 240, small_is_better_for_rust)
    loop.reward(first, 1.0)
    choose(loop, random.Random(5), 59, small_is_better_for_rust)
    done = train(loop.app, "model", algo="lints")
    assert (done.episodes, done.held_out) == (240, 60)
    assert judged(loop.app, "model", done.version).episodes == 60


def test_a_newcomer_is_judged_where_the_rules_explore_nothing(configured: Any, workspace: Workspace) -> None:
    loop = configured("production")
    loop.close()
    config = workspace.config / "policies.yaml"
    config.write_text(config.read_text().replace("explore: 0.3", "explore: 0").replace("floor: 0.02", "floor: 0.2"))
    with LearningOrchestrator(workspace=workspace.root) as again:
        work(again, random.Random(4), 500, small_is_better_for_rust)
        log = Log(again.app, "model")
        whole = [episode for episode, _ in log.episodes()]
        assert 0 < len(whole) - len(log.left_to_chance(whole)) < 60, "the holdout, which is left to the rules alone"
        assert train(again.app, "model", algo="probit").judgement.learned is not None


def test_what_was_just_trained_waits_and_what_has_its_share_goes_on(configured: Any) -> None:
    loop = configured("production", learner="imitation")
    for action, version in (("train", "one"), ("enter", "one"), ("complete", "one"), ("train", "two")):
        say(loop, action, version)
    now = standing(loop.app, "model")
    assert (now.version, now.waiting) == ("one", "two")
    assert now.share == pytest.approx(0.95)
    say(loop, "enter", "two")
    now = standing(loop.app, "model")
    assert (now.version, now.incumbent, now.waiting) == ("two", "one", None)
    say(loop, "rollback", "two")
    now = standing(loop.app, "model")
    assert (now.version, now.incumbent) == ("one", None)
    assert now.share == pytest.approx(0.95)
    say(loop, "rollback", "one")
    assert standing(loop.app, "model").version is None
    say(loop, "train", "three")
    now = standing(loop.app, "model")
    assert (now.version, now.waiting, now.share) == ("three", "three", 0.0)


def test_what_learns_live_begins_with_the_rules(configured: Any, workspace: Workspace) -> None:
    loop = configured(more="pseudo: 100")
    decisions = [loop.decide({"language": "rust"}, MODELS, point="model") for _ in range(40)]
    learned = [decision for decision in decisions if decision.policy.startswith("lints")]
    assert all(decision.probabilities == pytest.approx((0.98, 0.02)) for decision in learned), (
        "as the rules say, but for the floor"
    )
    assert len(learned) > 20
    rng = random.Random(4)
    assert choose(loop, rng, 300, small_is_better_for_rust)[-60:].count("small") > 30
    loop.close()
    with LearningOrchestrator(workspace=workspace.root) as again:
        point = DecisionPoint(again.app, "model")
        point.look()
        assert point.learner is not None
        assert "#300 from rules/" in point.learner.version, "it goes on where it stopped"
    configured(more="pseudo: 0").close()
    with LearningOrchestrator(workspace=workspace.root) as again:
        point = DecisionPoint(again.app, "model")
        point.catch_up()
        assert point.learner is not None
        assert point.learner.version == "lints/1#300"


def test_rewards_from_many_threads_are_learned_once_each(configured: Any) -> None:
    loop = configured()

    def use() -> None:
        for _ in range(30):
            loop.reward(loop.decide({}, MODELS, point="model"), 1.0)

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loop.learn()
    learner = _point(loop).learner
    assert learner is not None
    assert learner.version.startswith("lints/1#180 from rules/")


def test_choices_alone_are_judged_and_kept_without_any_run(configured: Any, workspace: Workspace) -> None:
    loop = configured()
    for _ in range(800):
        decision = loop.decide({}, MODELS, point="model")
        learned = not decision.policy.startswith("rules/")
        loop.reward(decision, 0.0 if learned else 1.0)
    loop.close()
    assert (workspace.metrics / "policies" / "model" / "live" / "policy.json").is_file()
    with LearningOrchestrator(workspace=workspace.root) as again:
        assert standing(again.app, "model").version is None
        assert again.app.ledger.events("policy", "model")[-1].data["action"] == "rollback"


def test_one_who_comes_again_is_one_unit(configured: Any) -> None:
    loop = configured()
    for _ in range(100):
        for customer in ("a", "b", "c"):
            decision = loop.decide({}, MODELS, point="model", unit=customer)
            loop.reward(decision, 0.0 if decision.policy.startswith("lints") else 1.0)
    judge(loop.app, "model")
    (kept,) = loop.app.ledger.events("ramp", last=1)
    assert kept.data["units"] == 3


@pytest.mark.parametrize("broken", ["weights", "document", "settings", "rules"])
def test_what_cannot_be_loaded_does_not_choose_and_choices_stay_on_record(
    configured: Any, workspace: Workspace, broken: str
) -> None:
    loop = configured()
    choose(loop, random.Random(2), 260, small_is_better_for_rust)
    loop.close()
    folder = workspace.metrics / "policies" / "model" / "live"
    config = workspace.config / "policies.yaml"
    if broken == "weights":
        (folder / "weights.npz").write_bytes(b"junk")
    elif broken == "document":
        (folder / "policy.json").write_text('{"state": {}, "about": {}}')
    elif broken == "settings":
        config.write_text(config.read_text().replace("floor: 0.02", "settings: {nope: 3}"))
    else:
        config.write_text(config.read_text().replace("context.language = python", "context.language ="))
    with LearningOrchestrator(workspace=workspace.root) as again:
        made = [again.decide({"language": "python"}, MODELS, point="model") for _ in range(20)]
        assert all(again.app.ledger.decision(one.id) == one for one in made)
        for one in made:
            again.reward(one, 1.0)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_reward_that_is_none_stops_nothing(make_loop: MakeLoop, value: float) -> None:
    loop = make_loop(strict=False)
    with loop.run({"id": "t"}) as run:
        run.decide("model", MODELS)
        run.credit(value)
    assert any("finite" in warning for warning in run.warnings)
    assert len([one for one in loop.app.ledger.execution(run.id).decisions if one.point == "model"]) == 1


def test_a_choice_made_in_a_run_is_rewarded_with_it(configured: Any) -> None:
    loop = configured()
    work(loop, random.Random(1), 1, small_is_better_for_rust)
    (record,) = loop.app.ledger.executions(limit=1, parts=(Decision,))
    with pytest.raises(UsageError, match="was made in a run"):
        loop.reward(record.decisions[-1].id, 1.0)
    with pytest.raises(UsageError, match="finite number, not 'good'"):
        loop.reward("whatever", "good")


def test_points_that_are_written_alike_learn_apart(workspace: Workspace) -> None:
    folders = {folder_of(workspace, point) for point in ("model", "Model", "a/b", "a b", "模型", "工具")}
    assert len(folders) == 6


def test_facts_may_have_any_name(make_loop: MakeLoop) -> None:
    loop = make_loop()
    with loop.run({"id": "t"}) as run:
        assert run.act("walk", ("one", "two"), {"point": 1, "options": 2, "self": 3}) == "one"
        assert run.decide("set", iter(("one", "two"))) == "one"


def test_a_changed_setting_is_no_second_test_of_the_same_units(configured: Any, workspace: Workspace) -> None:
    loop = configured()
    choose(loop, random.Random(1), 120, small_is_better_for_rust)
    judge(loop.app, "model")
    (first,) = loop.app.ledger.events("ramp", last=1)
    loop.close()
    config = workspace.config / "policies.yaml"
    config.write_text(config.read_text().replace("least_units: 40", "least_units: 40, level: 0.04"))
    with LearningOrchestrator(workspace=workspace.root) as again:
        judge(again.app, "model")
        (second,) = again.app.ledger.events("ramp", last=1)
    assert (first.data["again"], second.data["again"]) == (0, 1)
    assert second.data["credit"] == 120
    assert second.data["units"] == 0
    assert second.data["trials"]["begun"] == 2


def test_learning_never_holds_a_choice_up(configured: Any) -> None:
    loop = configured()
    point = _point(loop)
    loop.decide({}, MODELS, point="model")
    held, release = threading.Event(), threading.Event()

    def learn() -> None:
        with point.lock:
            held.set()
            release.wait(20)

    thread = threading.Thread(target=learn)
    thread.start()
    held.wait(20)
    point._looked_at = 1e12
    loop._guard.strict = False
    made = [loop.decide({}, MODELS, point="model").policy for _ in range(5)]
    release.set()
    thread.join()
    assert any(policy.startswith("fallback rules/") for policy in made)
