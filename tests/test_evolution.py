"""Evolution: when it may be, what is proposed and refused, and that it is done whole or not at all."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from learning_loop import LearningOrchestrator
from learning_loop.app import App
from learning_loop.errors import LanguageModelError
from learning_loop.flows import choosing, points
from learning_loop.flows.ab_judging import judge
from learning_loop.flows.ab_report import plain, report_of, write_report
from learning_loop.flows.ab_tests import EVIDENCE, experiments, start, stop
from learning_loop.flows.contributions import Contributions, Made, contributed
from learning_loop.flows.drift import last_drift, notice
from learning_loop.flows.evolution import EVOLUTION, _Look, eligible, evolve, evolve_due, lately
from learning_loop.flows.strategies import load, standing_of, standings
from learning_loop.records import Clock, Decision, Experience, utc_now
from learning_loop.settings import Evolution
from learning_loop.strategies import Strategy
from learning_loop.strategies.analysis import Analysis, Ran, analysis_of
from learning_loop.strategies.effects import Context, Effects
from learning_loop.strategies.fitness import fitness
from learning_loop.strategies.propose import Proposal, Room, _named, proposals
from learning_loop.strategies.safety import faults, mark
from learning_loop.strategies.strategy import SELECT_AGENT, Parallelism
from learning_loop.workspace import Workspace
from tests.conftest import WORDS_ONLY, SteppingClock
from tests.strategy_world import QUIET
from tests.test_cli import command

FOR = {"a-hopeless": "rust", "b-hopeful": "python"}
FILES = {
    "plain": "{name: plain, rank: 0, retry_policy: {max_attempts: 1}}",
    "bobs": "{name: bobs, agent_selection_rules: [{take: bob}], retry_policy: {max_attempts: 1}}",
}
SETTINGS = """
strategies: {mode: production, explore: 0.3, tests: {traffic: 1, guards: [success]}, evolution: {longest_timeout_s: 0.02}}
policies: {time_budget_ms: 60000}
"""


class Runner:
    agents = ("ann", "bob", "cy")

    def __init__(self, rng: random.Random, good: dict[str, str]) -> None:
        self._rng, self._good = rng, good

    def __call__(self, task: Any, run: Any) -> Any:
        return {"success": self._rng.random() < (0.85 if run.agent == self._good[task["language"]] else 0.35)}


def worked(
    root: Path, runs: int, *, good: dict[str, str] | None = None, files: dict[str, str] = FILES, clock: Clock | None = None
) -> Workspace:
    """Return a workspace in which so many runs followed strategies; cy is best with python, nobody takes cy."""
    workspace, _ = Workspace.init(root)
    for path in (workspace.config / "strategies").glob("*.yaml"):
        path.unlink()
    for name, text in files.items():
        (workspace.config / "strategies" / f"{name}.yaml").write_text(text, encoding="utf-8")
    (workspace.config / "policies.yaml").write_text(SETTINGS, encoding="utf-8")
    (workspace.config / "triggers.yaml").write_text(QUIET, encoding="utf-8")
    with (
        unhurried(),
        LearningOrchestrator(
            Runner(random.Random(1), good or {"python": "cy", "rust": "bob"}),
            workspace=workspace.root,
            environ=WORDS_ONLY,
            clock=clock or SteppingClock(),
            rng=random.Random(1),
            strict=True,
        ) as loop,
    ):
        work(loop, runs)
    return workspace


@contextmanager
def unhurried() -> Iterator[None]:
    """Leave it to whoever asks when it is learned, not to how quick the machine is: what comes of it is the same each time."""
    with (
        patch.object(App, "later", lambda *_: None),
        patch.object(choosing, "LOOK_S", 0.0),
        patch.object(points, "LOOK_S", 0.0),
    ):
        yield


def work(loop: LearningOrchestrator, runs: int, seed: int = 1, name: str = "t") -> None:
    rng = random.Random(seed)
    with unhurried():
        for number in range(runs):
            task = {
                "id": f"{name}{number}",
                "type": "x",
                "language": rng.choice(["python", "rust"]),
                "project": rng.choice("pq"),
            }
            loop.execute_with_learning(task)
            if number % 100 == 99:
                loop.learn()


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worked(tmp_path_factory.mktemp("evolution") / "w", 500).root


@pytest.fixture
def evolving(history: Path, tmp_path: Path) -> Iterator[App]:
    """Return a copy of a workspace with five hundred runs, an hour after the last of them."""
    root = shutil.copytree(history, tmp_path / "w")
    clock = SteppingClock()
    clock.now += timedelta(hours=3)
    with App.open(Workspace(root), environ=WORDS_ONLY, clock=clock, rng=random.Random(9)) as app:
        yield app


# -------------------------------------------------------------------------------------------------------- eligibility


def test_it_says_why_a_strategy_may_not_evolve(evolving: App, tmp_path: Path) -> None:
    assert eligible(evolving, "plain").ok
    fresh, _ = Workspace.init(tmp_path / "fresh")
    with App.open(fresh, environ=WORDS_ONLY) as empty:
        load(empty)
        assert eligible(empty, "direct").status == "insufficient_data"
        assert evolve_due(empty) == []  # strategies are in shadow there
    evolved = evolve(evolving, "plain")
    assert evolved.status == "started"
    assert eligible(evolving, "plain").status == "test_active"
    assert evolve(evolving, "plain", force=True).status == "test_active"
    stop(evolving, str(evolved.test), reason="enough")
    assert evolve(evolving, "plain").status == "too_recent"
    evolving.clock.now += timedelta(days=15)  # type: ignore[attr-defined]
    assert eligible(evolving, "plain").ok


def test_who_does_well_is_left_alone(tmp_path: Path) -> None:
    workspace = worked(tmp_path / "w", 60, good={"python": "ann", "rust": "ann"})
    (workspace.config / "policies.yaml").write_text(SETTINGS.replace("explore: 0.3", "explore: 0"), encoding="utf-8")
    clock = SteppingClock()
    clock.now += timedelta(hours=1)
    with App.open(workspace, environ=WORDS_ONLY, clock=clock) as app:
        status = eligible(app, "plain")
        assert status.status in ("satisfactory", "ok")
        assert (status.status == "satisfactory") == (status.success_rate is not None and status.success_rate >= 0.8)


def test_after_a_drift_it_waits_for_what_is_known_since_and_for_nothing_else(history: Path, tmp_path: Path) -> None:
    root, flags = (
        shutil.copytree(history, tmp_path / "w"),
        {"strategies.drift_runs": "300", "strategies.tests.most_units": "250"},
    )
    clock = SteppingClock()
    clock.now += timedelta(hours=3)
    with App.open(Workspace(root), environ=WORDS_ONLY, flags=flags, clock=clock, rng=random.Random(9)) as app:
        found = evolve(app, "plain")
        assert notice(app) is None
        assert len(_Look(app, "plain", lately(app)).rejected) == 2
        status, known = eligible(app, "plain"), [0]
        while status.status != "ok":  # nobody does it right any more
            assert status.status == ("too_recent" if known[-1] else "test_active")
            assert len(known) < 30
            nobody = Runner(random.Random(len(known)), {"python": "-", "rust": "-"})
            with (
                unhurried(),
                LearningOrchestrator(
                    nobody, workspace=root, environ=WORDS_ONLY, clock=clock, rng=random.Random(len(known)), strict=True
                ) as loop,
            ):
                work(loop, 50, len(known), f"later{len(known)}-")
            drifted = notice(app) or last_drift(app)
            status = eligible(app, "plain")
            since = 0 if drifted is None else len(app.ledger.places_deciding("strategy", after=drifted.data["outcome"]))
            assert ("the world changed" in status.says) == (0 < since < 250)
            known.append(since)
        assert known[-1] >= 250 > known[-2] > 0
        assert not experiments(app)[str(found.test)].stands
        assert _Look(app, "plain", lately(app)).rejected == set(), "it was tested in another world"


@pytest.mark.parametrize("most", [1, 2])
def test_so_many_tests_are_begun_at_a_time_each_of_another_strategy(tmp_path: Path, most: int) -> None:
    rules = {name: f"{{name: {name}, context_rules: [context.project_language = {name}]}}" for name in ("python", "rust")}
    workspace = worked(tmp_path / "w", 300, files=rules)
    clock = SteppingClock()
    clock.now += timedelta(hours=3)
    flags = {"strategies.tests.at_once": str(most)}
    with App.open(workspace, environ=WORDS_ONLY, flags=flags, clock=clock, rng=random.Random(9)) as app:
        begun = [one.slug for one in evolve_due(app) if one.test is not None]
        assert len(begun) == len(set(begun)) == most
        clock.now += timedelta(days=15)
        assert evolve_due(app) == [], "there is no room"


def test_what_promises_most_is_tested_first_though_something_else_fails_more(tmp_path: Path) -> None:
    rules = {name: f"{{name: {name}, context_rules: [context.project_language = {of}]}}" for name, of in FOR.items()}
    workspace = worked(tmp_path / "w", 300, good={"python": "cy", "rust": "nobody"}, files=rules)
    clock = SteppingClock()
    clock.now += timedelta(hours=3)
    flags = {"strategies.tests.at_once": "1"}
    with App.open(workspace, environ=WORDS_ONLY, flags=flags, clock=clock, rng=random.Random(9)) as app:
        assert eligible(app, "a-hopeless").success_rate < eligible(app, "b-hopeful").success_rate  # type: ignore[operator]
        assert [one.slug for one in evolve_due(app)] == ["b-hopeful"]


# ---------------------------------------------------------------------------------------------------------- proposals


def test_what_was_left_to_chance_shows_which_change_helps(evolving: App) -> None:
    found = evolve(evolving, "plain", dry_run=True)
    assert found.test is None
    assert experiments(evolving) == {}
    python, rust = ({"context.project_language": language} for language in ("python", "rust"))
    assert found.proposals[0].strategy.agents(python, Runner.agents)[0] == "cy"
    assert "runs so far suggest +" in found.proposals[0].reasoning
    taken = {made.strategy.agents(rust, Runner.agents)[0] for made in found.proposals if made.strategy.is_for(rust)}
    assert "bob" not in taken, "another strategy does so already"
    (evolving.workspace.config / "strategies" / "bobs.yaml").unlink()
    best = evolve(evolving, "plain", dry_run=True).proposals[0].strategy
    assert best.agents(python, Runner.agents)[0] == "cy"
    assert best.agents(rust, Runner.agents)[0] == "bob"


def test_an_evolution_is_a_test_of_versions_that_are_not_in_force(evolving: App) -> None:
    found = evolve(evolving, "plain")
    test = experiments(evolving)[str(found.test)]
    assert len(test.candidates) == 2
    assert test.control == standing_of(evolving, "plain").current
    versions = evolving.ledger.strategy_versions(list(test.candidates))
    assert all(version.parent_id == test.control and version.origin == "evolution" for version in versions.values())
    assert all(version.expected_improvement for version in versions.values())
    assert evolving.ledger.events(EVOLUTION, "plain")[0].data["status"] == "started"
    in_force = {stands.current for stands in standings(evolving).values()}
    assert not in_force & set(test.candidates)


def proposal(**changes: Any) -> Proposal:
    made = Strategy.model_validate({"slug": "plain", "name": "plain", "retry_policy": {"max_attempts": 1}, **changes})
    return Proposal(strategy=made, reasoning=str(changes), expected_improvement="", origin="language model", worth=1.0)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "does what the strategy does already"),
        ({"retry_policy": {"max_attempts": 50}}, "tries more than 5 times"),
        ({"parallelism_config": {"max_parallel": 200}}, "more than 8 parts at once"),
        ({"retry_policy": {"max_attempts": 2, "timeout_s": 9_999}}, "its timeout_s is longer"),
        ({"escalation_rules": [{"when": "attempts >= 1"}]}, "escalation_rules is fixed"),
        ({"agent_selection_rules": [{"take": "mallory"}]}, "nobody offers the agent 'mallory'"),
        ({"slug": "bobs", "context_rules": ["type = x"]}, "another strategy 'bobs'"),
        ({"parallelism_config": {"max_parallel": 2}}, "no work came to be taken apart"),
    ],
)
def test_whoever_proposes_it_what_must_not_be_is_refused(evolving: App, changes: dict[str, Any], why: str) -> None:
    def propose(_parent: Strategy, _analysis: Analysis, _agents: Sequence[str], _most: int) -> list[Proposal]:
        return [proposal(**changes)]

    found = evolve(evolving, "plain", proposers=[propose])
    assert any(why in reason for _, reason in found.refused)
    assert all(made.origin == "evolution" for made in found.proposals)
    assert len(found.proposals) == 2


@pytest.mark.parametrize(
    ("only", "rules", "why"),
    [
        ([], [{"when": "context.project_language = python", "take": "cy"}, {"take": "bob"}], None),
        ([], [{"when": "context.project_language = python", "take": "bob"}], "to what is done already"),
        (["context.project_language = rust"], [{"take": "bob"}], "another strategy does so already"),
    ],
)
def test_what_runs_say_adds_nothing_is_not_tested(evolving: App, only: list[str], rules: list[Any], why: str | None) -> None:
    def propose(_parent: Strategy, _analysis: Analysis, _agents: Sequence[str], _most: int) -> list[Proposal]:
        retry = {"max_attempts": 1, "wait_s": 0.01}
        return [proposal(retry_policy=retry, agent_selection_rules=rules, context_rules=only)]

    file = evolving.workspace.config / "strategies" / "plain.yaml"
    file.write_text(FILES["plain"].replace("rank: 0", f"rank: 0, context_rules: {only}"), encoding="utf-8")
    found = evolve(evolving, "plain", proposers=[propose], dry_run=True)
    said = " ".join(reason for _, reason in found.refused)
    assert (why or "") in said
    assert ("language model" in [one.origin for one in found.proposals]) == (why is None)


@pytest.mark.parametrize("divides", [True, False])
def test_how_much_is_done_at_once_is_changed_only_where_work_is_taken_apart(divides: bool) -> None:
    rng, runs = random.Random(5), []
    for _ in range(300):
        ways = {"loop:decompose": "parallel", "loop:retry": "1"} | ({"loop:parallelize": "4"} if divides else {})
        runs.append(({"context.type": "x"}, ways, float(rng.random() < 0.5)))
    parent = Strategy(slug="s", name="s", decomposition_approach="parallel")
    effects = Effects(runs, idle=() if divides else ("loop:parallelize",))
    where: dict[Context, int] = {(("context.type", "x"),): 300}
    room = Room(agents=(), decomposes=False, divides=divides, tuned={}, limits=Evolution())
    found = proposals(parent, analysis_of([]), effects, where, room, origin="evolution")
    assert ("parallelism" in [one.part for one in found]) == divides
    more = parent.model_copy(update={"parallelism_config": Parallelism(max_parallel=8)})
    assert (effects.compare(more, effects.ways([parent], where, ()), where, ()) is not None) == divides


def test_a_model_that_fails_changes_nothing(evolving: App) -> None:
    def fails(_parent: Strategy, _analysis: Analysis, _agents: Sequence[str], _most: int) -> list[Proposal]:
        raise LanguageModelError("it is down")

    found = evolve(evolving, "plain", proposers=[fails])
    assert found.status == "started"
    assert ("a proposer", "it is down") in found.refused


def test_what_was_tested_and_not_taken_is_not_proposed_again() -> None:
    parent = Strategy(slug="s", name="s")
    made = parent.model_copy(update={"decomposition_approach": "parallel"})
    limits = Evolution()
    assert faults(made, parent, limits, agents=(), rejected=set(), known={"s"}) == []
    assert faults(made, parent, limits, agents=(), rejected={mark(made)}, known={"s"}) == [
        "it was tested before, and not taken"
    ]
    renamed = made.model_copy(update={"name": "other", "reasoning": "because"})
    assert mark(renamed) == mark(made)


def test_what_is_for_less_work_takes_no_strategys_place() -> None:
    """A slug that is too long for all that it says must not become its parent's."""
    parent = Strategy(slug="s", name="s")
    made = parent.model_copy(update={"context_rules": ("context.project = q",), "decomposition_approach": "parallel"})
    (why,) = faults(made, parent, Evolution(), agents=(), rejected=set(), known={"s"})
    assert "give it a slug of its own" in why
    long = "-".join(["plain"] * 10)
    named = {_named(f"{long} {word} {other}") for word in ("one", "two") for other in ("and", "so", "on")}
    assert len(named) == 6
    assert all(len(name) <= 60 and name != long for name in named)


def test_what_runs_speak_against_is_refused(evolving: App) -> None:
    """To take ann alone is what `plain` did by itself; where another version did that, the log says what it is worth."""

    def propose(_parent: Strategy, _analysis: Analysis, _agents: Sequence[str], _most: int) -> list[Proposal]:
        return [proposal(agent_selection_rules=[{"take": "bob"}])]

    assert evolve(evolving, "plain", proposers=[propose], dry_run=True).proposals


def test_a_pattern_is_where_runs_fail_more_than_chance_gives() -> None:
    rng = random.Random(4)
    runs = [
        Ran(
            id=str(place),
            version="s@1",
            facts={"context.size": size, "context.project": "p", "context.noise": rng.choice("ab")},
            success=(good := rng.random() < (0.9 if size == "small" else 0.5)),
            reward=float(good),
            attempts=1,
            error=None if good else "TimeoutError",
        )
        for place, size in enumerate(["small", "large"] * 150)
    ]
    found = analysis_of(runs)
    assert [pattern.condition for pattern in found.patterns] == ["context.size = large"]
    assert found.passing == 1.0
    assert found.success_rate == pytest.approx(sum(run.reward for run in runs) / 300)


def test_what_does_well_in_one_project_alone_is_worth_less() -> None:
    rng = random.Random(1)
    even = fitness({project: [0.6 + rng.gauss(0, 0.1) for _ in range(40)] for project in "abcd"})
    uneven = fitness(
        {
            project: [mean + rng.gauss(0, 0.1) for _ in range(40)]
            for project, mean in zip("abcd", (1.2, 0.4, 0.4, 0.4), strict=True)
        }
    )
    assert even is not None
    assert uneven is not None
    assert abs(even.mean - uneven.mean) < 0.05
    assert uneven.value < even.value - 0.1
    alone = fitness({"a": [0.5] * 10})
    assert alone is not None
    assert alone.between is None


def test_effects_are_told_apart_where_options_were_mixed() -> None:
    rng, runs = random.Random(2), []
    for _ in range(3_000):
        facts = {"context.size": rng.choice(["small", "large"]), "context.project": rng.choice("pqr")}
        options = {
            "loop:decompose": rng.choice(["single", "parallel"]),
            "loop:retry": rng.choice("12"),
            "loop:parallelize": "-",
        }
        good = (
            0.3
            + 0.3 * (options["loop:decompose"] == "parallel" and facts["context.size"] == "large")
            + 0.1 * (options["loop:retry"] == "2")
        )
        runs.append((facts, options, float(rng.random() < good)))
    effects = Effects(runs)
    one = Strategy(slug="s", name="s", retry_policy={"max_attempts": 1})
    other = one.model_copy(update={"decomposition_approach": "parallel"})
    large = effects.contexts([facts for facts, _, _ in runs if facts["context.size"] == "large"])
    small = effects.contexts([facts for facts, _, _ in runs if facts["context.size"] == "small"])
    ways = effects.ways([one], [*large, *small], ())
    assert effects.compare(one, ways, large, ()) is None
    gain, none = effects.compare(other, ways, large, ()), effects.compare(other, ways, small, ())
    assert gain is not None
    assert none is not None
    assert 0.15 < gain.value < 0.35
    assert abs(none.value) < 0.12
    best = effects.ways([one, other], large, ())
    assert {way["loop:decompose"] for way in best.values()} == {"parallel"}
    assert effects.compare(other, best, large, ()) is None, "it is done already"
    elsewhere = other.model_copy(update={"context_rules": ("context.size = small",)})
    assert {way["loop:decompose"] for way in effects.ways([one, elsewhere], large, ()).values()} == {"single"}


def test_an_effect_that_turns_round_between_projects_counts_against_a_change_and_is_seen_whatever_a_strategy_asks() -> None:
    rng = random.Random(7)
    runs = []
    projects = [f"p{number}" for number in range(12)]  # more than features may have values
    for _ in range(6_000):
        project, options = rng.choice(projects), {"loop:decompose": rng.choice(["single", "parallel"]), "loop:retry": "1"}
        options["loop:parallelize"] = "-" if options["loop:decompose"] == "single" else "1"
        turned = 0.35 if projects.index(project) % 2 else -0.25
        good = 0.4 + turned * (options["loop:decompose"] == "parallel")
        facts = {"context.project": project, "project": project, "context.color": "red"}
        runs.append((facts, options, float(rng.random() < good)))
    effects = Effects(runs)
    one = Strategy(slug="s", name="s", context_rules=("context.color = red",))  # all work is: the feature tells nothing apart
    other = one.model_copy(update={"decomposition_approach": "parallel"})
    where = effects.contexts([facts for facts, _, _ in runs], one.asks)
    gain = effects.compare(other, effects.ways([one], where, ()), where, ())
    assert gain is not None
    assert -0.3 < gain.value < -0.1, "the lower quartile over projects is -.15"
    assert effects.compare(one, effects.ways([one], where, ()), where, ()) is None


def test_of_a_number_nobody_had_the_one_next_to_it_says_most() -> None:
    rng = random.Random(8)
    tries = [rng.choice("13") for _ in range(3_000)]
    runs = [
        ({"context.size": rng.choice("abc")}, {"loop:retry": one}, float(rng.random() < 0.3 + 0.2 * (one == "3")))
        for one in tries
    ]
    effects = Effects(runs)
    where = effects.contexts([facts for facts, _, _ in runs])
    three, four = (Strategy(slug="s", name="s", retry_policy={"max_attempts": number}) for number in (3, 4))
    gain = effects.compare(four, effects.ways([three], where, ()), where, ())
    assert gain is not None
    assert (round(gain.value, 6), gain.runs) == (0.0, 0)
    assert 0.12 < gain.error < 0.2, "one number's, and what it does in contexts"


# ------------------------------------------------------------------------------------------------------ contributions


def test_contributions_are_those_of_a_world_whose_counterfactuals_are_known() -> None:
    worth = {("a", "x"): 0.7, ("a", "y"): 0.4, ("a", "z"): 0.5, ("b", "x"): 0.3, ("b", "y"): 0.8, ("b", "z"): 0.5}
    shares = {"a": {"x": 0.6, "y": 0.3, "z": 0.1}, "b": {"x": 0.2, "y": 0.2, "z": 0.6}}

    def better(context: str, option: str) -> float:
        """Return by how much an option is better than the others as they are drawn: the exact counterfactual."""
        rest = {other: share for other, share in shares[context].items() if other != option}
        return worth[context, option] - sum(share * worth[context, other] for other, share in rest.items()) / sum(rest.values())

    held, missed = 0, []
    for seed in range(40):
        rng, made, exact = random.Random(seed), list[Made](), list[float]()
        truth: dict[str, list[float]] = {option: [] for option in "xyz"}
        for _ in range(600):
            context = rng.choice("ab")
            options = shares[context]
            option = rng.choices(list(options), list(options.values()))[0]
            one = Experience(
                context={"kind": context},
                options=tuple(options),
                chosen=option,
                propensity=options[option],
                reward=float(rng.random() < worth[context, option]),
                probabilities=tuple(options.values()),
            )
            made.append(Made(None, one, None, str(len(made))))  # type: ignore[arg-type]
            exact.append(better(context, option))
            for each in "xyz":
                truth[each].append(better(context, each))
        found = Contributions(made)
        for option, advantage in found.advantages().items():
            held += advantage.low <= sum(truth[option]) / 600 <= advantage.high
        single = [value for value in found.single() if value is not None]
        missed.append(sum(abs(one - other) for one, other in zip(single, exact, strict=True)) / 600)
    assert held >= 0.9 * 120  # of intervals that are to hold 95 times of 100
    assert sum(missed) / 40 < 0.09


def test_what_the_decisions_of_one_run_contributed_is_told(evolving: App) -> None:
    """In rust bob succeeds where others mostly do not."""
    told: dict[bool, list[float]] = {True: [], False: []}
    for record in evolving.ledger.executions(limit=60, parts=(Decision,)):
        chosen = {made.point: made for made in record.decisions}
        agent = chosen[SELECT_AGENT]
        if record.execution.parameters.get("language") == "rust" and agent.id in (found := contributed(evolving, record)):
            told[agent.chosen == "bob"].append(found[agent.id])
            assert set(found) <= {made.id for made in record.decisions}
    assert min(told[True]) > 0.2
    assert max(told[False]) < 0


def test_tasks_that_draw_alike_are_no_more_evidence_than_one_run_of_each() -> None:
    missed = 0
    for seed in range(100):
        rng, made = random.Random(seed), list[Made]()
        for task in range(20):
            option, likely = rng.choice("xy"), rng.random()
            for _ in range(20):
                one = Experience(
                    context={},
                    options=("x", "y"),
                    chosen=option,
                    propensity=0.5,
                    reward=float(rng.random() < likely),
                    probabilities=(0.5, 0.5),
                )
                made.append(Made(None, one, None, str(task)))  # type: ignore[arg-type]
        found = Contributions(made).advantages()["x"]
        missed += not found.low <= 0 <= found.high
    assert missed <= 15  # of intervals that are to miss five times of a hundred; as independent runs they miss forty times


def test_where_nothing_else_could_have_been_decided_nothing_is_said() -> None:
    one = Experience(context={}, options=("x", "y"), chosen="x", propensity=1.0, reward=1.0, probabilities=(1.0, 0.0))
    found = Contributions([Made(None, one, None, "t")] * 20)  # type: ignore[arg-type]
    assert found.advantages() == {}
    assert found.single() == [None] * 20


# -------------------------------------------------------------------------------------------------- from end to end


def test_a_winner_is_promoted_by_itself_and_reported(history: Path, tmp_path: Path) -> None:
    root = shutil.copytree(history, tmp_path / "w")
    clock = SteppingClock()
    clock.now += timedelta(hours=3)
    with LearningOrchestrator(
        Runner(random.Random(3), {"python": "cy", "rust": "bob"}),
        workspace=root,
        environ=WORDS_ONLY,
        clock=clock,
        rng=random.Random(4),
        strict=True,
    ) as loop:
        app = loop.app
        test = str(evolve(app, "plain").test)
        before = experiments(app)[test].control
        for batch in range(12):
            loop._parts.chooser.look(loop._guard, [], fresh=True)  # type: ignore[union-attr]
            work(loop, 60, seed=batch + 20, name=f"b{batch}.")
            loop.learn()
            judge(app)
            if experiments(app)[test].winner is not None:
                break
        winner = str(experiments(app)[test].winner)
        stands = standing_of(app, winner.partition("@")[0])
        assert stands.current == winner != before
        report = report_of(app, experiments(app)[test])
        won = next(arm for arm in report.arms if arm.state == "won")
        assert won.lift is not None
        assert won.lift.low is not None
        assert won.lift.low > 0
        assert won.carries is not None
        assert won.carries.projects == 2
        assert set(won.contexts["project_language"]) == {"python", "rust"}
        assert json.dumps(plain(report))
        text = (root / write_report(app, experiments(app)[test])).read_text(encoding="utf-8")
        assert "won, is in force, and is watched" in text
        assert "| project language |" in text


# ------------------------------------------------------------------------------------------------------------ commands


def test_commands_say_what_is_in_force_what_is_tested_and_take_a_persons_word(tmp_path: Path) -> None:
    root = worked(tmp_path / "w", 300, clock=utc_now).root

    def said(*arguments: str, ends: int = 0) -> str:
        done = command(*arguments, folder=root, env=WORDS_ONLY)
        assert done.returncode == ends, done.stderr
        return done.stdout + done.stderr

    listed = said("strategy", "list")
    assert re.search(r"plain\ttype any\tplain@\w+\tfile\tin force", listed)
    assert "mode: production" in listed
    assert "may it evolve? ok" in said("strategy", "show", "plain")
    assert json.loads(said("strategy", "evolve", "plain", "--dry-run", "--json"))[0]["status"] == "dry run"
    assert "plain: started" in said("strategy", "evolve", "plain")
    test = json.loads(said("experiment", "list", "--json"))[0]
    assert test["phase"] == "running"
    candidate, control = test["candidates"][0], test["control"]
    assert "It is under way" in said("experiment", "show", test["id"])
    changed = said("strategy", "diff", control, candidate)
    assert f"+++ {candidate}" in changed
    assert "is over" in said("experiment", "stop", test["id"], "--reason", "enough of it")
    assert "enough of it" in said("experiment", "list")
    assert said("experiment", "start", candidate, "--control", control).startswith("2")
    assert "plain is retired" in said("strategy", "retire", "plain")
    assert "is retired: `learning-loop strategy revive plain`" in said(
        "experiment", "start", candidate, "--control", control, ends=2
    )
    assert f"{control} is in force" in said("strategy", "revive", "plain")
    assert "none: see language_model" in said("spending")


def test_all_that_is_wrong_with_files_is_said_at_once(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    texts = {"one.yaml": "{name: one, retries: 3}", "two.yml": "{name: two}", "three.yaml": "{name: three}"}
    for name, text in texts.items():
        (workspace.config / "strategies" / name).write_text(text, encoding="utf-8")
    own = [f"config/strategies/{name}" for name in texts]
    for done in (command("strategy", "validate", *files, folder=workspace.root) for files in (own, ())):
        assert done.returncode == 4
        assert "three: three" in done.stdout
        assert "one.yaml:1" in done.stderr
        assert "two.yml: name it two.yaml" in done.stderr


# --------------------------------------------------------------------------------------------------------- crash tests

EVOLVE = """
import sys, random
from datetime import timedelta
from learning_loop.app import App
from learning_loop.flows.evolution import evolve
from learning_loop.workspace import Workspace
from pathlib import Path
from tests.conftest import WORDS_ONLY, SteppingClock
clock = SteppingClock()
clock.now += timedelta(hours=3)
with App.open(Workspace(Path(sys.argv[1])), environ=WORDS_ONLY, clock=clock) as app:
    print("begun", flush=True)
    print("done", evolve(app, "plain").test, flush=True)
"""
PROMOTE = EVOLVE.replace(
    "from learning_loop.flows.evolution import evolve", "from learning_loop.flows.ab_judging import judge"
).replace('evolve(app, "plain").test', "len(judge(app))")


def killed(script: str, root: Path, after_s: float | None) -> tuple[str, float]:
    """Run a script on a workspace, killed so long after it began; return what it said, and how long that took."""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(root)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1], text=True
    ) as process:
        assert process.stdout
        said = process.stdout.readline()
        began = time.monotonic()
        if after_s is not None:
            time.sleep(after_s)
            os.kill(process.pid, signal.SIGKILL)
        return said + process.stdout.read(), time.monotonic() - began


def counted(root: Path) -> dict[str, int]:
    """Return how many rows of evidence there are, of which none may go."""
    import sqlite3

    with sqlite3.connect(root / "metrics" / "ledger.db") as connection:
        tables = ("decisions", "outcomes", "executions", "feedback")
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


@pytest.mark.parametrize("moments", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_an_evolution_that_is_killed_was_done_or_was_not(history: Path, tmp_path: Path, moments: int) -> None:
    _, takes = killed(EVOLVE, shutil.copytree(history, tmp_path / "whole"), None)
    before, done, rng = counted(history), 0, random.Random(moments)
    for moment in range(moments):
        root = shutil.copytree(history, tmp_path / f"w{moment}")
        said, _ = killed(EVOLVE, root, takes * rng.uniform(0, 1.05))
        with App.open(Workspace(root), environ=WORDS_ONLY) as app:
            assert app.ledger.faults() == []
            tests, events = experiments(app), app.ledger.events(EVOLUTION, "plain")
            versions = app.ledger.versions_of("plain")
            assert len(tests) == len(events) <= 1
            assert "done" not in said or len(tests) == 1
            for test in tests.values():
                assert set(test.candidates) <= app.ledger.strategy_versions(list(test.candidates)).keys()
            assert len(tests) == 1 or len(versions) == 1
            done += len(tests)
        assert counted(root) == before
        shutil.rmtree(root)
    assert done > 0 or moments < 20


@pytest.fixture(scope="module")
def decided(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace in which a test has all it needs for a winner, and nobody has looked yet."""
    root = shutil.copytree(history, tmp_path_factory.mktemp("decided") / "w")
    clock = SteppingClock()
    clock.now += timedelta(hours=2)
    with LearningOrchestrator(
        Runner(random.Random(3), {"python": "cy", "rust": "cy"}),
        workspace=root,
        environ=WORDS_ONLY,
        clock=clock,
        rng=random.Random(4),
        strict=True,
    ) as loop:
        from learning_loop.flows.strategies import rows_of
        from learning_loop.strategies import version_of

        made = Strategy.model_validate(
            {"slug": "plain", "name": "plain", "agent_selection_rules": [{"take": "cy"}], "retry_policy": {"max_attempts": 1}}
        )
        parent = str(standing_of(loop.app, "plain").current)
        start(
            loop.app, parent, [version_of(made)], by="loop", reason="", rows=rows_of(made, "evolution", clock(), parent=parent)
        )
        loop._parts.chooser.judge = lambda: None  # type: ignore[union-attr, method-assign]
        loop._parts.chooser.look(loop._guard, [], fresh=True)  # type: ignore[union-attr]
        work(loop, 250, seed=8, name="d")
        assert [test.winner for test in experiments(loop.app).values()] == [None]
    return root


@pytest.mark.parametrize("moments", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_a_promotion_that_is_killed_was_done_or_was_not(decided: Path, tmp_path: Path, moments: int) -> None:
    whole = shutil.copytree(decided, tmp_path / "whole")
    _, takes = killed(PROMOTE, whole, None)
    with App.open(Workspace(whole), environ=WORDS_ONLY) as app:
        assert standing_of(app, "plain").current == next(iter(experiments(app).values())).winner
    before, done, rng = counted(decided), 0, random.Random(moments)
    for moment in range(moments):
        root = shutil.copytree(decided, tmp_path / f"w{moment}")
        killed(PROMOTE, root, takes * rng.uniform(0, 1.05))
        with App.open(Workspace(root), environ=WORDS_ONLY) as app:
            assert app.ledger.faults() == []
            test = next(iter(experiments(app).values()))
            in_force = standing_of(app, "plain").current
            assert in_force == (test.winner or test.control)
            assert bool(app.ledger.events(EVIDENCE, test.id)) == (test.winner is not None)
            done += test.winner is not None
        assert counted(root) == before
        shutil.rmtree(root)
    assert done > 0 or moments < 20
