"""Rewards as data: the packaged ones against tables worked out by hand, over real runs, and what is wrong with a file."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from learning_loop.app import App
from learning_loop.cli.group import cli
from learning_loop.errors import ConfigurationError, UsageError
from learning_loop.flows.rewards import gamed, load_rewards, reward_named, rewards_of, summary_of
from learning_loop.importers.crm import read_crm
from learning_loop.ledger import Filter
from learning_loop.rewards.reward import Facts, Reward, Use
from learning_loop.workspace import Workspace
from tests.conftest import MakeLoop

NOW = datetime(2026, 3, 2, tzinfo=UTC)
GLM, KIMI, OPUS, GPT = (Use(name, True) for name in ("glm-4.7", "kimi-k2.5", "claude-opus-4", "gpt-5.2-codex"))
GOOD: dict[str, Any] = {"success": True}
BAD: dict[str, Any] = {"success": False}

ORCHESTRA: list[tuple[dict[str, Any], list[Use], float | None, float | None]] = [
    ({}, [], None, None),
    (GOOD, [], 100, 100),
    (BAD, [], -100, -100),
    # a session of two steps: 100 for success, 50 for 0.055 USD, 10 for glm, 20 for 3.75 s a call, 15 without errors
    ({**GOOD, "cost_usd": 0.055, "mean_latency_ms": 3750.0, "failed_steps": 0, "fallback_rotations": 0}, [KIMI, GLM], 195, 180),
    ({**GOOD, "cost_usd": 0.0999}, [], 150, 150),
    ({**GOOD, "cost_usd": 0.10}, [], 100, 100),
    ({**GOOD, "cost_usd": 0.50}, [], 100, 100),
    ({**GOOD, "cost_usd": 0.51}, [], 80, 80),
    ({**GOOD, "cost_usd": 0.0}, [], 150, 150),
    ({**GOOD, "mean_latency_ms": 29_999.0}, [], 120, 120),
    ({**GOOD, "mean_latency_ms": 30_000.0}, [], 110, 110),
    ({**GOOD, "mean_latency_ms": 90_000.0}, [], 110, 110),
    ({**GOOD, "failed_steps": 0}, [], 115, 115),
    ({**GOOD, "failed_steps": 1}, [], 90, 90),
    ({**GOOD, "failed_steps": 3}, [], 70, 70),
    ({**GOOD, "satisfaction": 1.0}, [], 110, 110),
    ({**GOOD, "satisfaction": -1.0}, [], 90, 90),
    ({**GOOD, "satisfaction": 0.5}, [], 105, 105),
    ({**GOOD, "safety": 1.0}, [], 110, 110),
    ({**GOOD, "safety": 0.0}, [], 50, 50),
    ({**GOOD, "tests_passed": True}, [], 105, 105),
    ({**GOOD, "tests_passed": False}, [], 100, 100),
    ({**GOOD, "resource_efficiency": 1.0}, [], 110, 110),
    ({**GOOD, "resource_efficiency": -1.0}, [], 90, 90),
    (GOOD, [GLM, GLM, GLM], 130, 130),
    (GOOD, [Use("glm-4.7", False)], 100, 100),
    (GOOD, [OPUS, OPUS, GPT], 100, 100),
    (GOOD, [OPUS, OPUS, GPT, GPT], 95, 95),
    (GOOD, [OPUS, OPUS, GPT, GPT, Use("gpt-5.2", False), OPUS], 85, 85),
    ({**GOOD, "fallback_rotations": 2}, [], 80, 80),
    (
        {**BAD, "cost_usd": 0.6, "failed_steps": 5, "fallback_rotations": 3, "safety": 0.0, "satisfaction": -1.0}
        | {"mean_latency_ms": 40_000.0},
        [OPUS] * 8,
        -275,
        -100,
    ),
    ({**BAD, "cost_usd": 0.05}, [GLM] * 20, 150, 150),  # what capping is for
]

HARBOR: list[tuple[dict[str, Any], float | None]] = [
    ({"crm.sales": 2.0}, None),
    ({**GOOD, "crm.sales": 0.0, "crm.stage": "none"}, 1),
    ({**BAD, "crm.sales": 0.0, "crm.stage": "none"}, 0),
    ({**GOOD, "crm.sales": 1.0}, 1.5),
    ({**GOOD, "crm.sales": 5.0}, 3.5),
    ({**GOOD, "crm.sales": 9.0}, 3.5),
    ({**GOOD, "crm.stage": "engaged"}, 1.1),
    ({**GOOD, "crm.stage": "qualified"}, 1.2),
    ({**GOOD, "crm.stage": "proposal"}, 1.3),
    ({**GOOD, "crm.stage": "purchased"}, 1.3),
    ({**GOOD, "crm.stage": "lost"}, 1),
    ({**BAD, "crm.sales": 6.0, "crm.stage": "purchased"}, 2.8),
    ({**GOOD, "crm.sales": 3.0, "crm.stage": "qualified"}, 2.7),
]


def worth(app: App, name: str, values: dict[str, Any], uses: list[Use] | None = None) -> Any:
    return reward_named(app, name).worth(Facts(values=values, uses=uses or [], ended_at=NOW), now=NOW)


@pytest.mark.parametrize(("values", "uses", "raw", "clipped"), ORCHESTRA)
def test_orchestra_is_what_its_table_says(
    app: App, values: dict[str, Any], uses: list[Use], raw: float | None, clipped: float | None
) -> None:
    found = worth(app, "orchestra", values, uses)
    assert found.raw == (None if raw is None else pytest.approx(raw))
    assert found.clipped == (None if clipped is None else pytest.approx(clipped))
    if raw is not None:
        assert sum(found.terms.values()) == pytest.approx(raw), "every term is kept"


@pytest.mark.parametrize(("values", "points"), HARBOR)
def test_harbor_is_what_its_table_says(app: App, values: dict[str, Any], points: float | None) -> None:
    assert worth(app, "harbor_crm", values).clipped == (None if points is None else pytest.approx(points))


def test_with_capped_bonuses_a_failure_never_beats_a_success(app: App) -> None:
    bought = worth(app, "orchestra_safe", {**BAD, "cost_usd": 0.01, "failed_steps": 0}, [GLM] * 40).clipped
    assert bought == -100 + 20 + 10 + 15
    assert bought < worth(app, "orchestra_safe", {**GOOD, "cost_usd": 0.7, "failed_steps": 2}, [OPUS] * 4).clipped
    sold = worth(app, "harbor_crm_safe", {**BAD, "crm.sales": 50.0, "crm.stage": "purchased"}).clipped
    assert sold < worth(app, "harbor_crm_safe", {**GOOD, "crm.sales": 0.0}).clipped


def test_a_map_names_numbers_exactly() -> None:
    terms = {"success": {"of": "success", "map": {"true": 1}}, "tokens": {"of": "tokens", "map": {1234567: 5}}}
    reward = Reward.model_validate({"name": "exact", "terms": terms})
    near, exact = (reward.worth(Facts(values={"tokens": count}), now=NOW).raw for count in (1234571.0, 1234567.0))
    assert (near, exact) == (0, 5)


def test_what_may_still_come_is_waited_for() -> None:
    reward = Reward.model_validate(
        {
            "name": "late",
            "terms": {
                "success": {"of": "success", "map": {"true": 1}, "missing": "unknown"},
                "merged": {"of": "merged", "map": {1: 2, 0: -1}, "delay_days": 3, "missing": -0.5},
            },
        }
    )
    run = Facts(values={"success": True}, ended_at=NOW)
    early, later = reward.worth(run, now=NOW + timedelta(days=2)), reward.worth(run, now=NOW + timedelta(days=4))
    assert (early.clipped, early.mature) == (None, False)
    assert (later.clipped, later.mature) == (0.5, True)
    told = Facts(values={"success": True, "merged": 1.0}, ended_at=NOW)
    assert reward.worth(told, now=NOW).clipped == 3


@pytest.mark.parametrize(
    ("term", "says"),
    [
        ({"of": "cost_usd"}, "says not what its value is worth"),
        ({"of": "cost_usd", "weight": 1, "each": 1}, "cannot have both"),
        ({"of": "uses", "each": 1}, "needs `scope`"),
        ({"of": "cost_usd", "each": 1, "scope": {}}, "needs `scope`"),
        ({"of": "cost_usd", "weight": 1, "cap": 2}, "only a term with each"),
        ({"of": "cost_usd", "weight": float("inf")}, "finite"),
        ({"of": "cost_usd", "wait": 1}, "Extra inputs"),
        ({"of": "cost_usd", "each": True}, "not true or false"),
        ({"of": "cost_usd", "below": {"nan": 5}}, "finite"),
        ({"of": "cost_usd", "weight": 1, "delay_days": 1e10}, "less than or equal"),
    ],
)
def test_a_term_that_cannot_be_meant_is_told(term: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Reward.model_validate({"name": "x", "terms": {"success": {"of": "success", "map": {"true": 1}}, "other": term}})


def test_a_file_with_a_fault_is_told_with_its_line(app: App, workspace: Workspace) -> None:
    path = workspace.config / "rewards" / "mine.yaml"
    path.parent.mkdir(exist_ok=True)
    terms = "terms:\n  success: {of: success, map: {true: 1}}\n"
    path.write_text(f"{terms}  cost:\n    of: cost_usd\n    wait: 3\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"config/rewards/mine.yaml:5: terms.cost.wait: Extra inputs"):
        load_rewards(app)
    path.write_text(f"main: sales\n{terms}", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="'sales' is none of its terms"):
        load_rewards(app)
    path.write_text("description: mine\nterms:\n  success: {of: success, map: {true: 7}}\n", encoding="utf-8")
    assert list(load_rewards(app)) == ["harbor_crm", "harbor_crm_safe", "orchestra", "orchestra_safe", "strategy", "mine"]
    with pytest.raises(UsageError, match="write config/rewards/best"):
        reward_named(app, "best")


def test_rewards_are_a_view_of_the_history(make_loop: MakeLoop, workspace: Workspace) -> None:
    def work(task: dict[str, Any], run: Any) -> dict[str, Any]:
        with run.step("executor"):
            run.usage("glm-4.7", tokens=10, latency_ms=100.0, cost_usd=0.01)
        return {"success": task["good"]}

    loop = make_loop(work)
    reports = [loop.execute_with_learning({"id": f"t{n}", "type": "build", "good": n != 0}) for n in range(3)]
    first = reports[0].execution_id

    def found() -> dict[str, Any]:
        return dict(rewards_of(loop.app, reward_named(loop.app, "orchestra"), Filter(ended=True), limit=10)[0])

    loop.app.drain()
    assert [worth.raw for worth in found().values()] == [195, 195, -5]
    loop.feedback(first, "success", True)
    loop.feedback(first, "safety", 0)
    assert found()[first].raw == 145, "what was said later counts"
    path = workspace.config / "rewards" / "orchestra.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("true: 100", "true: 60"), encoding="utf-8")
    assert found()[first].raw == 105, "a changed weight replays history"
    loop.exclude(first, reason="a test")
    assert first not in found()
    about = summary_of(list(found().values()))
    assert (about.runs, about.known, about.clipped) == (2, 2, 0)
    assert about.terms["cheap_model"] == (10, 2)
    assert about.terms["safety"] == (None, 0), "what nobody said is not zero"
    assert about.low is None, "two runs have no interval"

    told = CliRunner().invoke(cli, ["-C", str(workspace.root), "rewards", "show", "orchestra", "--runs"])
    assert "orchestra: 155.0 a run, over 2 of 2 runs" in told.output
    assert "cheap_model +10" in told.output
    plain = CliRunner().invoke(cli, ["-C", str(workspace.root), "rewards", "show", "orchestra", "--json"])
    assert json.loads(plain.stdout)["mean"] == 155
    listed = CliRunner().invoke(cli, ["-C", str(workspace.root), "rewards", "list"])
    assert "harbor_crm_safe" in listed.output


@pytest.mark.parametrize(
    ("sales", "leads", "sold", "stage", "problems"),
    [
        (None, None, 0, "none", 2),
        ('[{"packSlug": "tax", "amount": 3}, {"packSlug": "tax"}, {"packSlug": "other"}]', "[]", 2, "none", 0),
        ('{"sales": [{"packSlug": "tax"}]}', '[{"packSlug": "tax", "stage": "lost"}]', 1, "none", 0),
        ("[]", '[{"packSlug": "tax", "stage": "proposal"}, {"packSlug": "tax", "stage": "engaged"}]', 0, "proposal", 0),
        ("{", "3", 0, "none", 2),
        ('[{"packSlug": null}, {"packSlug": "tax"}]', '[{"packSlug": "tax", "stage": "Proposal"}, 3]', 1, "proposal", 2),
        ('[{"pack": "tax"}]', '[{"packSlug": "tax"}]', 0, "none", 2),
        ("[" * 100_000, "null", 0, "none", 2),
    ],
)
def test_sales_and_leads_are_read_or_count_as_nothing(
    tmp_path: Path, sales: str | None, leads: str | None, sold: int, stage: str, problems: int
) -> None:
    folder = tmp_path / "revenue" / "data"
    folder.mkdir(parents=True)
    for name, text in (("sales.json", sales), ("master_leads.json", leads)):
        if text is not None:
            (folder / name).write_text(text, encoding="utf-8")
    crm = read_crm(tmp_path)
    assert crm.values("tax") == {"crm.sales": sold, "crm.stage": stage}
    assert len(crm.problems) == problems
    assert all("as empty" in problem or "as nothing" in problem for problem in crm.problems)


def test_runs_are_worth_what_their_pack_sold(make_loop: MakeLoop, workspace: Workspace) -> None:
    folder = workspace.root / "revenue" / "data"
    folder.mkdir(parents=True)
    (folder / "sales.json").write_text('[{"packSlug": "tax-assist"}, {"packSlug": "tax-assist"}]', encoding="utf-8")
    loop = make_loop(lambda _task: {"success": True})
    for pack in ("tax-assist", "genesis-mission"):
        loop.execute_with_learning({"id": pack, "type": "pack", "component": pack})
    loop.app.drain()
    found, problems = rewards_of(loop.app, reward_named(loop.app, "harbor_crm"), Filter(ended=True), limit=10)
    assert [worth.clipped for _, worth in found] == [1, 2]
    assert len(problems) == 1
    assert "master_leads.json is not there" in problems[0]


def test_a_rise_that_is_not_for_the_work_is_told(app: App) -> None:
    reward = reward_named(app, "orchestra")

    def runs(count: int, good: int, calls: int) -> list[Any]:
        return [
            reward.worth(Facts(values={"success": number % 10 < good}, uses=[GLM] * calls, ended_at=NOW), now=NOW)
            for number in range(count)
        ]

    before = runs(60, good=6, calls=0)
    assert gamed(reward, before, runs(60, good=9, calls=1)) is None, "most of it is success"
    told = gamed(reward, before, runs(60, good=6, calls=9))
    assert told is not None
    assert "most came from cheap_model (+90.0)" in told
    assert gamed(reward, before, runs(60, good=6, calls=0)) is None
    assert gamed(reward, before, runs(2, good=6, calls=9)) is None, "of two runs nothing is said"
    assert gamed(reward, [], before) is None
