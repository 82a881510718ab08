"""Language models: a real server on this machine, scripted; limits, checks, and everything going on without one."""

import json
import random
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from learning_loop import LearningOrchestrator
from learning_loop.app import App
from learning_loop.errors import LanguageModelError
from learning_loop.flows.language import ASKED, spending, voice
from learning_loop.flows.modelling import Mutations, StrategyProposer, written
from learning_loop.flows.query import LearningQueryInterface
from learning_loop.providers.language import ChatModel, ScriptedModel
from learning_loop.settings import LanguageModel, Settings
from learning_loop.strategies import Strategy
from learning_loop.strategies.analysis import Ran, analysis_of
from learning_loop.workspace import Workspace
from tests.conftest import WORDS_ONLY, MakeLoop, SteppingClock
from tests.openai_server import Said, Server, serving

pytest.importorskip("pydantic_ai")


class Shape(BaseModel):
    word: str
    number: int


class Count:
    def __init__(self) -> None:
        self.input_tokens, self.output_tokens = 0, 0
        self.usd: float | None = None


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


def model(server: Server, **settings: Any) -> ChatModel:
    given = {"model": "small", "base_url": server.url, "timeout_s": 2.0, "retries": 1, **settings}
    return ChatModel(LanguageModel(**given), "the key")


def test_an_answer_comes_in_the_shape_that_was_asked_for(server: Server) -> None:
    server.say({"word": "yes", "number": 3})
    spent = Count()
    assert model(server).ask("be brief", "say yes", Shape, spent) == Shape(word="yes", number=3)
    assert (spent.input_tokens, spent.output_tokens) == (1_000, 100)
    assert server.keys == ["Bearer the key"]
    assert "be brief" in json.dumps(server.asked[0])


def test_what_has_another_shape_is_asked_for_again_and_both_are_counted(server: Server) -> None:
    server.say("here you are: word=yes", {"word": "yes", "number": 3})
    spent = Count()
    assert model(server).ask("", "say yes", Shape, spent).number == 3
    assert spent.output_tokens == 200


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (Said("not json at all"), "no usable answer"),
        (Said('{"word": "yes", "number": "many"}'), "no usable answer"),
        (Said(refusal="I cannot help with that."), "no usable answer"),
        (Said(status=429), "no usable answer"),
        (Said(status=500), "no usable answer"),
        (Said(status=401), "no usable answer"),
        (Said('{"word": "late", "number": 1}', after_s=1.5), "not answer within|no usable answer"),
    ],
    ids=["garbage", "wrong type", "refusal", "429", "500", "401", "hang"],
)
def test_whatever_is_no_answer_is_one_error_that_says_so(server: Server, said: Said, says: str) -> None:
    server.say(said)
    with pytest.raises(LanguageModelError, match=says) as caught:
        model(server, timeout_s=0.4).ask("", "say yes", Shape, Count())
    assert "the key" not in str(caught.value)


def test_a_limit_that_passes_is_waited_out(server: Server) -> None:
    server.say(Said(status=429), {"word": "yes", "number": 3})
    assert model(server).ask("", "say yes", Shape, Count()).number == 3


def test_without_a_key_and_a_server_of_ones_own_it_is_said_which_is_missing() -> None:
    with pytest.raises(LanguageModelError, match="MY_KEY is not set"):
        ChatModel(LanguageModel(model="small", key_variable="MY_KEY"), None).ask("", "x", Shape, Count())


def opened(workspace: Workspace, clock: SteppingClock, language: Any = None, **settings: Any) -> App:
    given = {"input_usd_per_million": 1.0, "output_usd_per_million": 2.0, **settings}
    flags = {f"language_model.{name}": json.dumps(value) for name, value in given.items()}
    return App.open(workspace, environ=WORDS_ONLY, flags=flags, clock=clock, rng=random.Random(3), language=language)


def test_it_is_off_unless_it_is_configured(workspace: Workspace, clock: SteppingClock) -> None:
    with opened(workspace, clock) as app:
        assert voice(app, "wording") is None
    scripted = ScriptedModel([])
    with opened(workspace, clock, scripted, enabled=False) as app:
        assert voice(app, "wording") is None
    with opened(workspace, clock, scripted, uses=["answers"]) as app:
        assert voice(app, "wording") is None
        assert voice(app, "answers") is not None
    assert Settings().language_model.model is None


def test_a_day_never_costs_more_than_its_limit(workspace: Workspace, clock: SteppingClock) -> None:
    reply = {"statements": [{"text": "yes", "findings": [1]}]}
    scripted = ScriptedModel([reply] * 1_000)
    with opened(workspace, clock, scripted, usd_per_day=0.02, most_output_tokens=100, retries=0) as app:
        asked = voice(app, "answers")
        assert asked is not None
        from learning_loop.flows.modelling import Statements

        def ask_for_ever() -> None:
            for _ in range(1_000):
                asked.ask("answers", Statements, question="what?", headline="", insights=[])

        with pytest.raises(LanguageModelError, match="usd_per_day"):
            ask_for_ever()
        found = spending(app)
        assert 0 < found.today_usd <= 0.02
        assert found.asked == len(scripted.asked) > 3
        clock.now += timedelta(days=1, minutes=1)
        asked.ask("answers", Statements, question="what?", headline="", insights=[])


def test_what_it_may_cost_is_set_aside_before_and_stays_so_if_the_process_dies(
    workspace: Workspace, clock: SteppingClock
) -> None:
    from learning_loop.flows.modelling import Statements

    def dies(_prompt: str) -> Any:
        raise KeyboardInterrupt  # as good as a process that ends here: nothing is answered

    with opened(workspace, clock, ScriptedModel([dies]), most_output_tokens=100, retries=0) as app:
        asked = voice(app, "answers")
        assert asked is not None
        reserved = asked._reserve("answers", "x" * 1_000, None)
        assert spending(app).total_usd > 0
        assert [event.data["state"] for event in app.ledger.events(ASKED, reserved)] == ["reserved"]
        before = spending(app).total_usd
        with pytest.raises(KeyboardInterrupt):
            asked.ask("answers", Statements, question="what?", headline="", insights=[])
        assert spending(app).total_usd > before


def test_a_question_that_was_never_answered_counts_as_all_it_may_cost(
    workspace: Workspace, clock: SteppingClock, server: Server
) -> None:
    from learning_loop.flows.modelling import Statements

    server.say(Said("late", after_s=1.5))
    flags = {"model": "small", "base_url": server.url, "timeout_s": 0.2, "retries": 0, "most_output_tokens": 100}
    with opened(workspace, clock, **flags) as app:
        asked = voice(app, "answers")
        assert asked is not None
        with pytest.raises(LanguageModelError):
            asked.ask("answers", Statements, question="what?", headline="", insights=[])
        events = app.ledger.events(ASKED)
        assert [event.data["state"] for event in events] == ["reserved", "settled"]
        assert events[1].data["usd"] == events[0].data["usd"] > 0


def test_without_a_price_it_is_not_asked(workspace: Workspace, clock: SteppingClock) -> None:
    from learning_loop.flows.modelling import Statements

    scripted = ScriptedModel([])
    with opened(workspace, clock, scripted, input_usd_per_million=None) as app:
        asked = voice(app, "answers")
        assert asked is not None
        with pytest.raises(LanguageModelError, match="nobody knows what scripted costs"):
            asked.ask("answers", Statements, question="what?", headline="", insights=[])
    assert scripted.asked == []


def test_an_answer_cites_what_it_rests_on_or_is_none(make_loop: MakeLoop, workspace: Workspace, clock: SteppingClock) -> None:
    def fails(_task: Any) -> None:
        raise RuntimeError("the disk is full")

    loop = make_loop(fails)
    for number in range(3):
        with pytest.raises(RuntimeError):
            loop.execute_with_learning({"id": f"t{number}", "type": "build", "component": "wheel"})
    loop.close()
    replies: list[Any] = [
        {
            "statements": [
                {"text": "The disk was full.", "findings": [1]},
                {"text": "It rained.", "findings": [99]},
                {"text": "So."},
            ]
        },
        {"statements": [{"text": "It rained.", "findings": [0]}]},
        LanguageModelError("no"),
    ]
    with opened(workspace, clock, ScriptedModel(replies)) as app:
        answer = LearningQueryInterface(app).query("what failed last time?")
        assert answer
        warnings: list[str] = []
        found = written(app, answer, warnings)
        assert found is not None
        assert found.text == "The disk was full. [1]"
        assert written(app, answer, warnings) is None
        assert written(app, answer, warnings) is None
        assert warnings == ["no"]


def ran(place: int, *, success: bool, **context: str) -> Ran:
    facts = {f"context.{name}": value for name, value in context.items()}
    return Ran(id=f"run{place}", version="s@1", facts=facts, success=success, reward=float(success), attempts=1)


def test_proposals_are_values_whose_claims_need_runs_that_exist(workspace: Workspace, clock: SteppingClock) -> None:
    parent = Strategy(slug="s", name="s")
    analysis = analysis_of([ran(place, success=place % 3 == 0) for place in range(30)])
    shown = analysis.failures[0].id
    good = {
        "strategy": {"retry_policy": {"max_attempts": 3}, "slug": "../../etc", "task_type": "x", "evil": True},
        "reasoning": "most fail once",
        "expected_improvement": "success",
        "evidence": [shown],
    }
    replies: list[Any] = [
        {
            "mutations": [
                good,
                {**good, "evidence": ["run-that-never-was"]},
                {**good, "evidence": []},
                {**good, "strategy": {"retry_policy": {"max_attempts": "many"}}},
                {**good, "strategy": {"context_rules": ["{{ 7 * 7 }}"]}},
            ]
        }
    ]
    scripted = ScriptedModel(replies)
    with opened(workspace, clock, scripted) as app:
        asked = voice(app, "strategies")
        assert asked is not None
        found = StrategyProposer(asked, fixed=["escalation_rules"])(parent, analysis, ["ann", "bob"], 2)
    assert [one.strategy.retry_policy.max_attempts for one in found] == [3]
    assert (found[0].strategy.slug, found[0].strategy.task_type, found[0].origin) == ("s", "any", "language model")
    assert shown in scripted.asked[0]
    assert "ann, bob" in scripted.asked[0]
    assert Mutations.model_validate(replies[0])


def test_a_root_cause_is_put_into_words_beside_the_work(make_loop: MakeLoop, workspace: Workspace) -> None:
    def fails(task: Any) -> None:
        if task["client"] == "bad":
            raise RuntimeError("no such client")

    def worded(prompt: str) -> Any:
        ids = [word.strip(",()") for word in prompt.split() if word.strip(",()").startswith("2026")]
        return {
            "claims": [
                {"text": "The bad client <script>alert(1)</script> does not exist.", "evidence": ids[:1]},
                {"text": "It was the weather.", "evidence": ["20260101-000000-aaaaaaaa"]},
            ]
        }

    scripted = ScriptedModel([worded] * 5)
    flags = {"language_model.input_usd_per_million": "0", "language_model.output_usd_per_million": "0"}
    loop = make_loop(fails, language=scripted, flags=flags)
    for place in range(4):
        loop.execute_with_learning({"id": f"good{place}", "type": "call", "component": "api", "client": "good"})
    with pytest.raises(RuntimeError):
        loop.execute_with_learning({"id": "bad", "type": "call", "component": "api", "client": "bad"})
    loop.app.drain()
    notes = [path.read_text(encoding="utf-8") for path in Path(workspace.memory / "short-term").glob("*.md")]
    assert any("In other words (by scripted" in note and "The bad client" in note for note in notes)
    assert not any("weather" in note or "<script>" in note for note in notes)
    assert all("seen: 1" in note for note in notes)


def test_runs_never_wait_for_a_model_that_hangs(workspace: Workspace, server: Server, clock: SteppingClock) -> None:
    released = threading.Event()
    server.say(Said("{}", until=released))
    flags = {
        "language_model.model": "small",
        "language_model.base_url": server.url,
        "language_model.timeout_s": "20",
        "language_model.retries": "0",
        "language_model.input_usd_per_million": "0",
        "language_model.output_usd_per_million": "0",
    }

    def fails(_task: Any) -> None:
        raise RuntimeError("no")

    loop = LearningOrchestrator(fails, workspace=workspace.root, environ=WORDS_ONLY, flags=flags, clock=clock, strict=False)
    for number in range(4):  # which would not end if they waited for an answer: that comes after them
        with pytest.raises(RuntimeError):
            loop.execute_with_learning({"id": f"t{number}", "type": "x", "component": str(number % 2)})
    released.set()
    loop.close()
    assert len(server.asked) <= 4


def test_rules_are_proposed_for_patterns_without_one_and_rest_on_their_runs(workspace: Workspace, clock: SteppingClock) -> None:
    from learning_loop.flows.modelling import rule_proposals
    from learning_loop.patterns.find import Found
    from learning_loop.records import Pattern

    def pattern(key: str, *runs: str) -> Pattern:
        return Pattern(
            family="performance", key=key, antecedent="component = wheel", consequent="slow", title=key, text=f"{key} is slow",
            support=9, hits=None, confidence=None, base=None, lift=None, effect=1.8, low=1.2, high=2.4, unit="times",
            p_value=0.001, adjusted=0.01, executions=runs,
        )  # fmt: skip

    found = Found((pattern("one", "r1", "r2"), pattern("two", "r3"), pattern("ruled", "r4")), (), ())
    reply = {
        "rules": [
            {"pattern": "one", "advise": "build the wheel\n\nonce only", "evidence": ["r2"]},
            {"pattern": "two", "advise": "never mind", "evidence": ["r1"]},
            {"pattern": "three", "advise": "invented", "evidence": ["r1"]},
            {"pattern": "ruled", "advise": "again", "evidence": ["r4"]},
        ]
    }
    scripted = ScriptedModel([reply, LanguageModelError("down")])
    with opened(workspace, clock, scripted) as app:
        warnings: list[str] = []
        made = rule_proposals(app, found, {"ruled"}, budget="2026-W10", warnings=warnings)
        assert [(rule.pattern, rule.then.advise, rule.executions) for rule in made] == [
            ("one", "build the wheel once only", ("r2",))
        ]
        assert made[0].origin == "language model"
        assert "ruled" not in scripted.asked[0]
        assert rule_proposals(app, found, {"ruled"}, budget="2026-W11", warnings=warnings) == []
        assert warnings == ["no rule was proposed by a language model: down"]


def test_one_synthesis_never_costs_more_than_its_limit(workspace: Workspace, clock: SteppingClock) -> None:
    from learning_loop.flows.modelling import Advices

    scripted = ScriptedModel([{"rules": []}] * 100)
    with opened(
        workspace, clock, scripted, usd_per_day=100.0, usd_per_synthesis=0.01, retries=0, most_output_tokens=100
    ) as app:
        asked = voice(app, "rules")
        assert asked is not None

        def ask_for_ever(budget: str) -> None:
            for _ in range(100):
                asked.ask("rules", Advices, budget=budget, patterns=[], most=3)

        with pytest.raises(LanguageModelError, match="usd_per_synthesis"):
            ask_for_ever("2026-W10")
        count = len(scripted.asked)
        with pytest.raises(LanguageModelError, match="usd_per_synthesis"):
            ask_for_ever("2026-W11")
        assert len(scripted.asked) == 2 * count > 2
