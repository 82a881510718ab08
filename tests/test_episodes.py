"""Episodes: two adapters and nothing else; packs that do real work; what each step is owed; the lab."""

import json
import random
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from learning_loop.cli.group import cli
from learning_loop.decider import Decider
from learning_loop.errors import UsageError
from learning_loop.examples.harbor import ACTIONS, HarborAdapter, HarborExecutor, begin, packs
from learning_loop.examples.harbor.experiments import run_experiment
from learning_loop.flows.episodes import efficiency, play
from learning_loop.flows.experience import Log
from learning_loop.flows.lab import Effect, write_report
from learning_loop.policies import policy
from learning_loop.records import ActionResult, TaskState
from learning_loop.settings import Point
from learning_loop.workspace import Workspace
from tests.conftest import MakeLoop


@dataclass
class Counter:
    """A project whose state is a number, that is done at three."""

    value: int = 0
    seen: list[str] = field(default_factory=list)


class CounterAdapter:
    def project_state_to_task_state(self, state: Counter) -> TaskState:
        done = state.value >= 3
        return TaskState(facts={"value": state.value}, actions=("more", "less"), done=done, success=True if done else None)

    def update_states_from_action(self, state: Counter, action: str, result: ActionResult) -> Counter:
        state.value += 1 if action == "more" else -1
        return state


class CounterExecutor:
    def execute(self, action: str, state: Counter) -> ActionResult:
        state.seen.append(action)
        if action == "less" and state.value < -1:
            raise RuntimeError("below what there is")
        return ActionResult(ok=True, note=f"was {state.value}", reward=-0.1)


def test_an_episode_is_owed_what_the_whole_was_worth(make_loop: MakeLoop) -> None:
    """With the settings of a point that the configuration says nothing of."""
    loop = make_loop()
    for start in (0, -40):
        loop.run_episode({"id": "count"}, Counter(start), CounterAdapter(), CounterExecutor(), point="count", max_steps=5)
    log = Log(loop.app, "count")
    (good, bad) = [episode for episode, _ in log.episodes()]
    assert good.reward - bad.reward == pytest.approx(200, abs=30), "success is worth a hundred either way"
    assert log.scaled(good)[0].reward > log.scaled(bad)[0].reward + 0.5


def test_what_nothing_chose_earns_nothing_for_the_choice_before_it(
    make_loop: MakeLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = make_loop(strict=False)
    real, asked = Decider.decide, []

    def failing(self: Decider, point: str, *given: Any, **named: Any) -> Any:
        asked.append(point)
        if asked.count("count") == 2 and point == "count":
            raise OSError("gone")
        return real(self, point, *given, **named)

    monkeypatch.setattr(Decider, "decide", failing)
    played, report = loop.run_episode({"id": "count"}, Counter(), CounterAdapter(), CounterExecutor(), point="count")
    record = loop.app.ledger.execution(report.execution_id)
    assert len(record.credits) == 2
    assert [step.propensity for step in played.steps] == [1.0, None, 1.0]


def test_an_episode_is_a_run_whose_steps_are_decisions_with_their_rewards(make_loop: MakeLoop) -> None:
    loop = make_loop()
    played, report = loop.run_episode({"id": "count"}, Counter(), CounterAdapter(), CounterExecutor(), point="count")
    assert (played.actions, played.completed, played.success) == (("more",) * 3, True, True)
    assert played.reward == pytest.approx(-0.3)
    record = loop.app.ledger.execution(report.execution_id)
    assert [step.role for step in record.steps] == ["more"] * 3
    assert [credit.value for credit in record.credits] == [-0.1] * 3
    assert [point.data["note"] for point in record.checkpoints] == ["was 0", "was 1", "was 2"]
    assert [one.context["step"] for one in record.decisions if one.point == "count"] == [0, 1, 2]
    (episode,) = [found for found, _ in Log(loop.app, "count", Point(reward="harbor_crm")).episodes()]
    assert [step.reward for step in episode.steps] == pytest.approx([-0.1, -0.1, 0.9])
    assert {step.episode for step in episode.steps} == {report.execution_id}


class Choosing(CounterExecutor):
    """One whose work has choices of its own."""

    def execute(self, action: str, state: Counter) -> ActionResult:
        self.run.decide("tool", ["hammer", "saw"])  # type: ignore[attr-defined]  # given by the test
        return super().execute(action, state)


def test_a_step_s_reward_is_the_action_s_whatever_the_work_chooses_on_its_way(make_loop: MakeLoop) -> None:
    loop, executor = make_loop(), Choosing()
    with loop.run({"id": "count"}) as run:
        executor.run = run  # type: ignore[attr-defined]
        play(run, Counter(), CounterAdapter(), executor, point="count")
    record = loop.app.ledger.execution(run.id)
    points = {one.id: one.point for one in record.decisions}
    assert [points[credit.decision_id] for credit in record.credits] == ["count"] * 3


def test_steps_end_an_episode_that_does_not_and_a_fault_is_the_work_s_own(make_loop: MakeLoop) -> None:
    loop = make_loop()
    down = policy("static", shares={"less": 1.0})
    with loop.run({"id": "count"}) as run:
        run.result = None
        with pytest.raises(RuntimeError, match="below what there is"):
            play(run, Counter(), CounterAdapter(), CounterExecutor(), point="count", policy=down)
    with loop.run({"id": "again"}) as run:
        played = play(run, Counter(5 - 8), CounterAdapter(), CounterExecutor(), point="count", max_steps=2)
    assert (played.completed, played.success, len(played.steps)) == (False, False, 2)
    outcome = loop.app.ledger.execution(run.id).outcome
    assert outcome is not None
    assert outcome.success is False


class Stuck(CounterAdapter):
    def project_state_to_task_state(self, state: Counter) -> TaskState:
        return TaskState(facts={}, actions=())


def test_a_state_that_allows_nothing_is_told(make_loop: MakeLoop) -> None:
    loop = make_loop()
    with loop.run({"id": "stuck"}) as run, pytest.raises(UsageError, match="allows no action"):
        play(run, Counter(), Stuck(), CounterExecutor(), point="stuck")


def test_a_forgotten_episode_leaves_none_of_its_rewards(make_loop: MakeLoop) -> None:
    loop = make_loop()
    _, report = loop.run_episode({"id": "count"}, Counter(), CounterAdapter(), CounterExecutor(), point="count")
    loop.app.ledger.forget(report.execution_id, reason="asked for")
    record = loop.app.ledger.execution(report.execution_id)
    assert (record.credits, record.decisions) == ((), ())


@pytest.mark.parametrize("pack", packs())
def test_a_pack_done_well_succeeds_and_what_is_deployed_is_the_solution(pack: str, tmp_path: Path) -> None:
    for seed in range(3):
        state = begin(pack, tmp_path / f"{pack}{seed}", random.Random(seed))
        adapter, executor = HarborAdapter(), HarborExecutor()
        for _ in range(40):
            now = adapter.project_state_to_task_state(state)
            if now.done:
                break
            facts = now.facts
            action = (
                "RESEARCH" if facts["researched"] != "all" else "EVALUATE" if facts["evaluated"] != "passed" else "BUILD_CODE"
            )
            if facts["built"] == "new":
                action = "DEPLOY" if facts["tested"] == "passed" else "TEST"
            result = executor.execute(action, state)
            state = adapter.update_states_from_action(state, action, result)
        assert state.success is True
        manifest = json.loads((state.folder / "deploy" / "manifest.json").read_text())
        assert manifest["bytes"] == (state.folder / "deploy" / "solution.py").stat().st_size


@pytest.mark.parametrize("pack", packs())
def test_a_pack_built_from_what_is_out_of_date_fails_its_checks(pack: str, tmp_path: Path) -> None:
    state = begin(pack, tmp_path / pack, random.Random(1))
    state.unread, state.built = sorted((state.folder / "sources").glob("*.md")), "none"  # the oldest first, nobody compares
    state.solution.unlink(missing_ok=True)
    adapter, executor = HarborAdapter(), HarborExecutor()
    while state.unread:
        state = adapter.update_states_from_action(state, "RESEARCH", executor.execute("RESEARCH", state))
    assert executor.execute("BUILD_CODE", state).ok
    assert not executor.execute("TEST", state).ok
    deployed = executor.execute("DEPLOY", state)
    assert adapter.update_states_from_action(state, "DEPLOY", deployed).success is False


def test_there_is_no_such_pack(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="genesis-mission, tax-assist"):
        begin("nope", tmp_path, random.Random(0))


def test_efficiency_is_how_early_what_is_worth_most_comes() -> None:
    assert efficiency([], {}) is None
    assert efficiency(["a"], {"a": 1.0}) == 1.0
    early, late = (efficiency(order, {"a": 1.0}) for order in (["a", "b"], ["b", "a"]))
    assert early is not None
    assert late is not None
    assert early > late


# ------------------------------------------------------------------------------------------------------- commands and lab


needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="the actor-critic is trained by torch")


def invoke(workspace: Workspace, *arguments: str) -> Any:
    return CliRunner().invoke(cli, ["-C", str(workspace.root), *arguments])


@needs_torch
def test_packs_are_run_trained_on_and_run_by_what_was_learned(workspace: Workspace) -> None:
    made = invoke(workspace, "generate-dynamic-runs", "all", "--runs", "60", "--explore", "0.1", "--json")
    assert made.exit_code == 0, made.output
    runs = json.loads(made.output)["runs"]
    assert {run["pack"] for run in runs} == set(packs())
    assert all(run["reward"] is not None for run in runs)
    trained = invoke(workspace, "policy", "train", "--epochs", "2", "--json")
    assert trained.exit_code == 0, trained.output
    about = json.loads(trained.stdout)
    assert (about["point"], about["episodes"] + about["held_out"]) == ("harbor", 60)
    run = invoke(workspace, "run-pack-dynamic", "tax-assist", "--mode", "rl", "--seed", "1", "--json")
    assert json.loads(run.output)["policy"] == about["version"]
    assert all(step["action"] in ACTIONS for step in json.loads(run.output)["steps"])
    elsewhere = invoke(workspace, "policy", "train", "--start", "../../elsewhere", "--epochs", "1")
    assert "has no version '../../elsewhere'" in str(elsewhere.exception)
    tuned = invoke(workspace, "policy", "train", "--only", "pack=tax-assist", "--start", about["version"], "--epochs", "1")
    assert "episodes of 'harbor' are too few" in str(tuned.exception)


@needs_torch
def test_experiences_are_exported_and_trained_on_elsewhere(workspace: Workspace, tmp_path: Path) -> None:
    invoke(workspace, "generate-dynamic-runs", "tax-assist", "--runs", "55", "--explore", "0.1")
    file, models = tmp_path / "x.json", tmp_path / "models"
    exported = invoke(workspace, "learning-export", "-o", str(file))
    assert "55 experiences" in exported.output
    rows = json.loads(file.read_text())
    assert {round(row["reward"], 2) for row in rows} > {-0.03, -0.05}, "what each step cost"
    assert any(row["reward"] > 0.9 for row in rows), "and what the whole was worth"
    trained = invoke(workspace, "learning-train", "--data", str(file), "--epochs", "1", "--output", str(models))
    assert trained.exit_code == 0, trained.output
    assert (models / "policy.json").is_file()
    assert json.loads(invoke(workspace, "learning-stats", "--json").output)["experiences"] == 55
    assert "shadow" in invoke(workspace, "learning-mode").output
    file.write_text("[{}]")
    assert invoke(workspace, "policy", "train", "--data", str(file)).exit_code != 0


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make experiments small: what they come to says little then, how they go is the same."""
    for name, value in {"ROUNDS": 1, "PER_ROUND": 4, "JUDGED": 2}.items():
        monkeypatch.setattr(f"learning_loop.examples.harbor.experiments.{name}", value)


@needs_torch
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "number", ["001", "002", "005", *(pytest.param(number, marks=pytest.mark.slow) for number in ("003", "004"))]
)
def test_an_experiment_has_a_verdict_and_a_report_with_charts(app: Any, number: str) -> None:
    found = run_experiment(number, range(3))
    assert found.verdict in ("supported", "refuted", "not yet known")
    assert all(len(values) == 3 for effect in found.effects for values in effect.arms.values())
    path = write_report(app, found)
    text = path.read_text(encoding="utf-8")
    assert f"**Verdict: {found.verdict}.**" in text
    assert text.count("](effect-") == len(found.effects)
    assert all((path.parent / f"effect-{place}.svg").stat().st_size > 1_000 for place in range(1, len(found.effects) + 1))
    assert json.loads((path.parent / "report.json").read_text())["number"] == number


def test_there_is_no_such_experiment() -> None:
    with pytest.raises(UsageError, match="no experiment '9'"):
        run_experiment("9", range(3))


@needs_torch
@pytest.mark.slow
def test_what_is_learned_builds_where_that_pays() -> None:
    found = run_experiment("005", range(8))  # some repetitions learn it later than others
    assert all(found.criteria.values())


def test_an_effect_says_what_it_can() -> None:
    apart = Effect.of("x", {"one": [3.0, 3.1, 2.9], "two": [1.0, 1.2, 0.9]})
    assert apart.verdict() == "supported"
    assert Effect.of("x", {"two": [1.0, 1.2, 0.9], "one": [3.0, 3.1, 2.9]}).verdict() == "refuted"
    assert Effect.of("x", {"one": [1.0], "two": [2.0]}).verdict() == "not yet known"
