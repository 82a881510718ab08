"""Experiments 001 to 005: whether what is learned from runs of packs is of use, and what it takes.

Each is repeated with several seeds in a workspace of its own; effects are of the repetitions' means. The packs' actions are real:
files are read and written, checks run in processes.
"""

import json
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learning_loop.errors import UsageError
from learning_loop.examples.harbor import ACTIONS, RULES, packs
from learning_loop.examples.harbor.runs import PackRun, run_packs
from learning_loop.flows.episodes import MAX_STEPS, efficiency
from learning_loop.flows.experience import steps_of
from learning_loop.flows.lab import OPEN, REFUTED, SUPPORTED, Effect, Experiment
from learning_loop.orchestrator import LearningOrchestrator
from learning_loop.policies import learner, policy
from learning_loop.protocols import Policy
from learning_loop.stats.student import mean_of
from learning_loop.workspace import Workspace

EXPLORED = 0.05  # least probability of any action where rules choose and are learned from
FLOOR = 0.02  # and where it is learned
ROUNDS, PER_ROUND, JUDGED = 8, 20, 20  # rounds of learning, the runs of each, and those that are judged
QUIET = {
    "recall.enabled": "false",
    "capture.git": "false",
    "memory.embedder": "lexical",
    "reflection_triggers.thresholds.low_performance": "0",
    "reflection_triggers.thresholds.high_performance": "100",
    "reflection_triggers.thresholds.high_surprise": "100",
}
FRESH = 10_000  # how far the seeds that the best settings are tried with once more lie from those they were found with
COMPARABLE = 0.1  # how far below the rules' reward counts as comparable
WORTH = {"EVALUATE": 1.0, "TEST": 1.0, "RESEARCH": 0.5, "BUILD_CODE": 0.5}  # what sees to it that what is shipped is right
Told = Callable[[int, int], None]


@dataclass
class Bench:
    """One repetition: a workspace of its own, the packs that are run, and the steps they may take."""

    loop: LearningOrchestrator
    seed: int
    names: list[str]
    max_steps: int = MAX_STEPS
    _played: int = 0

    def runs(self, by: Policy, count: int, *, floor: float = 0.0, names: Sequence[str] | None = None) -> list[PackRun]:
        """Run packs by a policy, on days that no other call has seen."""
        self._played += 1
        seed = 1000 * self.seed + self._played
        return run_packs(
            self.loop, list(names or self.names), by, mode="lab", runs=count, floor=floor, seed=seed, max_steps=self.max_steps
        )

    def learned(self, *, rounds: int = ROUNDS, names: Sequence[str] | None = None, start: Any = None, **settings: Any) -> Any:
        """Return what was learned as it should be: from what rules did and tried, then from all runs so far, round by round."""
        made: Any = start or learner("a2c", **{"rate": 1e-3, **settings})
        log: list[Any] = []
        if start is None:
            log = choices(self.runs(by_rules(), 2 * PER_ROUND, floor=EXPLORED, names=names))
            made.imitate(log)
            made.update(log)
        for _ in range(rounds):
            log += choices(self.runs(made, PER_ROUND, floor=FLOOR, names=names))
            made.update(log)
        return made


def by_rules() -> Policy:
    return policy("rules", rules=RULES)


def at_random() -> Policy:
    return policy("static", shares=dict.fromkeys(ACTIONS, 1.0))


def choices(runs: Sequence[PackRun]) -> list[Any]:
    return steps_of([run.episode for run in runs if run.episode is not None])


def mean(runs: Sequence[PackRun], measure: Callable[[PackRun], float | None] = lambda run: run.reward) -> float:
    """Return the mean of a measure over the runs in which it is known."""
    known = [value for run in runs if (value := measure(run)) is not None]
    return sum(known) / len(known) if known else math.nan


def completed(run: PackRun) -> float:
    return float(run.played.completed)


def succeeded(run: PackRun) -> float:
    return float(bool(run.played.success))


def steps(run: PackRun) -> float:
    return float(len(run.played.steps))


@contextmanager
def bench(seed: int, *, names: Sequence[str] | None = None, max_steps: int = MAX_STEPS, crm: Any = None) -> Iterator[Bench]:
    """Yield a repetition in a workspace of its own; `crm` are the sales that its CRM has, by pack."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        workspace, _ = Workspace.init(Path(folder))
        if crm is not None:
            revenue = workspace.root / "revenue" / "data"
            revenue.mkdir(parents=True)
            sales = [{"packSlug": pack} for pack, count in crm.items() for _ in range(count)]
            (revenue / "sales.json").write_text(json.dumps(sales), encoding="utf-8")
            leads = [{"packSlug": pack, "stage": "purchased"} for pack, count in crm.items() if count]
            (revenue / "master_leads.json").write_text(json.dumps(leads), encoding="utf-8")
        with LearningOrchestrator(workspace=workspace.root, flags=QUIET, environ={}) as loop:
            yield Bench(loop, seed, list(names or packs()), max_steps)


# ------------------------------------------------------------------------------------------------------------ experiments


def sanity(seeds: Sequence[int], told: Told) -> Experiment:
    """001: twenty runs by rules, training, then ten runs by the rules and ten by what was learned."""
    arms: dict[str, list[float]] = {name: [] for name in ("learned, mended", "rules", "learned, as planned", "random")}
    moved = []
    for number, seed in enumerate(seeds):
        with bench(seed) as lab:
            planned: Any = learner("reinforce", baseline=False, entropy=0.0, kl=0.0, passes=1)
            log = choices(lab.runs(by_rules(), 20))
            for _ in range(50):
                planned.update(log)
            mended = lab.learned()
            for name, by in zip(arms, (mended, by_rules(), planned, at_random()), strict=True):
                arms[name].append(mean(lab.runs(by, 10)))
            fresh = learner("reinforce").distribution({}, ACTIONS)
            moved.append(max(abs(a - b) for a, b in zip(mended.distribution(START, ACTIONS), fresh, strict=True)) > 0.05)
        told(number + 1, len(seeds))
    against_rules = Effect.of("reward of a run", arms)
    against_random = Effect.of("reward against random", {name: arms[name] for name in ("learned, mended", "random")})
    planned_effect = Effect.of("the plan as written", {name: arms[name] for name in ("learned, as planned", "rules")})
    criteria = {
        "the policy learns: its choices differ from the untrained ones": all(moved),
        "its decisions are not random: its reward is above that of random actions": against_random.verdict() == SUPPORTED,
        "its reward is comparable to that of the rules": against_rules.verdict(margin=COMPARABLE) == SUPPORTED,
    }
    as_planned = planned_effect.verdict(margin=COMPARABLE)
    says = [
        f"As planned, with REINFORCE without a baseline on twenty runs that rules alone chose, it is {_against(as_planned)} "
        "comparable to the rules: such a log holds nothing but the rules' own choices, and a reward that is mostly above "
        "zero makes whatever was done more likely, good or bad.",
        "Mended: the rules try any action now and then, what they do is imitated first, every choice is judged against what "
        "was to be expected (an actor and a critic), and it goes on with runs of its own, all of them gone over again.",
    ]
    return Experiment(
        number="001",
        title="reinforcement learning behaves reasonably",
        hypothesis="A policy trained on runs of the rules decides reasonably, not at random, and earns about as much as they do.",
        design=f"20 runs by rules, training, then 10 runs by the rules and 10 by what was learned, on fresh days; beside it the "
        f"same with what mends it: {ROUNDS} rounds of {PER_ROUND} runs of its own.",
        seeds=tuple(seeds),
        effects=(against_rules, against_random, planned_effect),
        criteria=criteria,
        verdict=_verdict(criteria, against_rules.verdict(margin=COMPARABLE), against_random.verdict()),
        says=tuple(says),
    )


def efficient(seeds: Sequence[int], told: Told) -> Experiment:
    """002: at most 8 steps against 20."""
    names = ("at most 8 steps", "at most 20 steps")
    measures: dict[str, Callable[[PackRun], float | None]] = {
        "reward of a run": lambda run: run.reward,
        "steps of a run": steps,
        "completed": completed,
        "action efficiency": lambda run: efficiency(run.played.actions, WORTH),
    }
    arms: dict[str, dict[str, list[float]]] = {what: {name: [] for name in names} for what in measures}
    for number, seed in enumerate(seeds):
        for name, limit in zip(names, (8, 20), strict=True):
            with bench(seed, max_steps=limit) as lab:
                judged = lab.runs(lab.learned(), JUDGED)
            for what, measure in measures.items():
                arms[what][name].append(mean(judged, measure))
        told(number + 1, len(seeds))
    effects = tuple(Effect.of(what, arms[what]) for what in measures)
    fewer = Effect.of("", {name: arms["steps of a run"][name] for name in reversed(names)}).verdict()
    criteria = {
        "it takes no more steps under the tight limit": fewer != REFUTED,
        "the reward is kept": effects[0].verdict(margin=COMPARABLE) == SUPPORTED,
        "as many runs complete": effects[2].verdict(margin=0.1) == SUPPORTED,
    }
    return Experiment(
        number="002",
        title="more with fewer moves",
        hypothesis="A policy that may take 8 steps learns to do with fewer what it does in 20, at the same reward.",
        design=f"Learned anew under each limit ({ROUNDS} rounds of {PER_ROUND} runs), then {JUDGED} runs on fresh days.",
        seeds=tuple(seeds),
        effects=effects,
        criteria=criteria,
        verdict=_verdict(criteria, fewer, effects[0].verdict(margin=COMPARABLE), effects[2].verdict(margin=0.1)),
        says=("Action efficiency is how early a run does what sees to it that the result is right: looking and testing.",),
    )


def several(seeds: Sequence[int], told: Told) -> Experiment:
    """003: one policy for several packs, each pack's own, and the shared one tuned to a pack."""
    arms: dict[str, list[float]] = {
        name: [] for name in ("shared", "of one pack", "shared, tuned to a pack", "of another pack")
    }
    apart = []
    alone = (2 + ROUNDS) // len(packs()) - 2  # the first choices are two rounds' worth
    for number, seed in enumerate(seeds):
        with bench(seed) as lab:
            shared = lab.learned()
            home, other = lab.names[0], lab.names[1]
            own = lab.learned(rounds=alone, names=[home])
            foreign = lab.learned(rounds=alone, names=[other])
            arms["shared"].append(mean(lab.runs(shared, JUDGED, names=[home])))
            arms["of one pack"].append(mean(lab.runs(own, JUDGED, names=[home])))
            arms["of another pack"].append(mean(lab.runs(foreign, JUDGED, names=[home])))
            apart.append(_apart(shared, home, other))
            tuned = lab.learned(rounds=2, names=[home], start=shared)
            arms["shared, tuned to a pack"].append(mean(lab.runs(tuned, JUDGED, names=[home])))
        told(number + 1, len(seeds))
    effect = Effect.of("reward of a run", arms)
    tuned_effect = Effect.of("tuning to the pack", {name: arms[name] for name in ("shared, tuned to a pack", "shared")})
    distance = Effect.of("choices that differ between packs", {"shared": apart, "none": [0.0] * len(apart)})
    criteria = {
        "the shared policy earns about as much on a pack as that pack's own": effect.verdict(margin=COMPARABLE) == SUPPORTED,
        "it chooses differently for different packs": distance.verdict() == SUPPORTED,
    }
    return Experiment(
        number="003",
        title="learning over several packs",
        hypothesis="One policy for all packs learns what they share, and adapts to the pack by its state.",
        design=f"Shared: {ROUNDS} rounds of {PER_ROUND} runs over {', '.join(packs())}. A pack's own: {alone} rounds, so that "
        f"each pack was run as often. Tuned: two rounds more of that pack alone. Judged on {JUDGED} runs of {packs()[0]}.",
        seeds=tuple(seeds),
        effects=(effect, tuned_effect, distance),
        criteria=criteria,
        verdict=_verdict(criteria, effect.verdict(margin=COMPARABLE), distance.verdict()),
        says=("What differs between packs is the mean, over states, of the share of choices that would be others.",),
    )


def shaped(seeds: Sequence[int], told: Told) -> Experiment:
    """004: with what a CRM says of sales in the reward, and without."""
    names, seller = ("with CRM", "without CRM"), packs()[0]
    reward: dict[str, list[float]] = {name: [] for name in names}
    success: dict[str, list[float]] = {name: [] for name in names}
    distance, noise = [], []
    preferences: dict[str, Counter[str]] = {name: Counter() for name in names}
    for number, seed in enumerate(seeds):
        made = {}
        for name in (*names, "again"):
            with bench(seed + (500 if name == "again" else 0), crm={seller: 3} if name == "with CRM" else None) as lab:
                made[name] = lab.learned()
                if name in names:
                    judged = lab.runs(made[name], JUDGED)
                    reward[name].append(mean(judged))
                    success[name].append(mean(judged, succeeded))
                    preferences[name].update(action for run in judged for action in run.played.actions)
        distance.append(_between(made["with CRM"], made["without CRM"]))
        noise.append(_between(made["again"], made["without CRM"]))
        told(number + 1, len(seeds))
    effects = (
        Effect.of("reward of a run", reward),
        Effect.of("runs that succeed", success),
        Effect.of("choices that differ", {"with and without CRM": distance, "two trainings without": noise}),
    )
    criteria = {
        "rewards rise with the CRM": effects[0].verdict() == SUPPORTED,
        "the preferences change by more than a second training does": effects[2].verdict() == SUPPORTED,
    }
    rows: list[tuple[str, ...]] = [("action", *names)]
    for action in ACTIONS:
        shares = (100 * preferences[name][action] / max(preferences[name].total(), 1) for name in names)
        rows += [(action, *(f"{share:.0f} %" for share in shares))]
    return Experiment(
        number="004",
        title="what sales in the reward do to the policy",
        hypothesis="With sales and pipeline in the reward, the policy comes to prefer actions that lead to commercial outcomes.",
        design=f"Learned with a CRM in which {seller} has three sales and a purchased lead, and without; {JUDGED} runs each, and a "
        "second training without, to see what chance alone changes.",
        seeds=tuple(seeds),
        effects=effects,
        criteria=criteria,
        verdict=_verdict(criteria, effects[0].verdict(), effects[2].verdict()),
        says=(
            "A sale counts for every run of its pack, whatever the run did: such a bonus is the same for all actions, and what is "
            "compared with what was to be expected of the state takes it out again. It can only steer between actions where it "
            "depends on them, as a sale does that is told of the run which brought it about.",
        ),
        tables={"Actions taken": tuple(rows)},
    )


def complete(seeds: Sequence[int], told: Told) -> Experiment:
    """005: whether BUILD_CODE is chosen where it pays, after RESEARCH and EVALUATE passed, and left where it does not."""
    arms: dict[str, list[float]] = {name: [] for name in ("after EVALUATE passed", "before")}
    current: dict[str, list[float]] = {name: [] for name in ("none is there", "what is there passed its test")}
    for number, seed in enumerate(seeds):
        with bench(seed) as lab:
            made = lab.learned()
            arms["after EVALUATE passed"].append(_share(made, lab.names, "BUILD_CODE", READY))
            arms["before"].append(_share(made, lab.names, "BUILD_CODE", START))
            current["none is there"].append(_share(made, lab.names, "BUILD_CODE", READY))
            current["what is there passed its test"].append(_share(made, lab.names, "BUILD_CODE", TESTED))
        told(number + 1, len(seeds))
    effects = (
        Effect.of("probability of BUILD_CODE", arms),
        Effect.of("probability of BUILD_CODE, by what is there", current),
    )
    criteria = {
        "it is likelier once RESEARCH and EVALUATE passed": effects[0].verdict() == SUPPORTED,
        "it is left out where what is there passed its test": effects[1].verdict() == SUPPORTED,
    }
    return Experiment(
        number="005",
        title="when to build",
        hypothesis="BUILD_CODE is chosen where its preconditions hold, and skipped where a solution is there that is right.",
        design=f"Learned over {ROUNDS} rounds of {PER_ROUND} runs in which half of the packs begin with a solution from before, three "
        "of five of them right. BUILD_CODE writes what was read last, so that it pays only after RESEARCH and EVALUATE passed.",
        seeds=tuple(seeds),
        effects=effects,
        criteria=criteria,
        verdict=_verdict(criteria, *(effect.verdict() for effect in effects)),
    )


EXPERIMENTS: Mapping[str, Callable[[Sequence[int], Told], Experiment]] = {
    "001": sanity,
    "002": efficient,
    "003": several,
    "004": shaped,
    "005": complete,
}


def _verdict(criteria: Mapping[str, bool], *verdicts: str) -> str:
    return SUPPORTED if all(criteria.values()) else REFUTED if REFUTED in verdicts else OPEN


def _facts(step: int, researched: str, evaluated: str, built: str, tested: str) -> dict[str, Any]:
    known = 1.0 if researched == "all" else 0.0
    where = f"{researched} {evaluated} {built} {tested}"
    facts = {"researched": researched, "known": known, "evaluated": evaluated, "built": built, "tested": tested}
    return {**facts, "where": where, "step": step}


START = _facts(0, "none", "no", "none", "no")
READY = _facts(4, "all", "passed", "none", "no")
TESTED = _facts(1, "none", "no", "old", "passed")
STATES = (START, READY, TESTED, _facts(5, "all", "passed", "new", "no"), _facts(6, "all", "passed", "new", "passed"))


def listed() -> dict[str, str]:
    """Return what each experiment is about, by its number."""
    return {number: (work.__doc__ or "").partition(": ")[2].strip() for number, work in EXPERIMENTS.items()}


def run_experiment(number: str, seeds: Sequence[int], told: Told = lambda _done, _total: None) -> Experiment:
    """Carry out one experiment; raise UsageError where there is none of that number."""
    if number not in EXPERIMENTS:
        raise UsageError(f"there is no experiment {number!r}: use one of {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[number](seeds, told)


def sweep(trials: int, seed: int, told: Told = lambda _done, _total: None) -> dict[str, Any]:
    """Return the settings of the learner that earned most, found by Optuna, and what they and the usual ones earn on new days.

    The best of several is the best by chance, too: `again` and `usual` are what to go by.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial: Any) -> float:
        settings = {
            "rate": trial.suggest_float("rate", 1e-4, 3e-3, log=True),
            "entropy": trial.suggest_float("entropy", 1e-3, 0.1, log=True),
            "kl": trial.suggest_float("kl", 1e-3, 0.1, log=True),
            "trace": trial.suggest_float("trace", 0.5, 1.0),
            "limit": trial.suggest_float("limit", 1.2, 4.0),
        }
        found = earned(settings, range(seed, seed + 2))
        told(trial.number + 1, trials)
        return sum(found) / len(found)

    def earned(settings: Mapping[str, Any], seeds: Sequence[int]) -> list[float]:
        found = []
        for each in seeds:
            with bench(each) as lab:
                found.append(mean(lab.runs(lab.learned(rounds=ROUNDS // 2, **settings), JUDGED)))
        return found

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=trials)
    tried = [{"reward": trial.value, **trial.params} for trial in study.trials]
    fresh = range(seed + FRESH, seed + FRESH + 4)
    again, usual = mean_of(earned(study.best_params, fresh)), mean_of(earned({}, fresh))
    return {"best": study.best_params, "reward": study.best_value, "again": again, "usual": usual, "trials": tried}


def _share(by: Policy, names: Sequence[str], action: str, facts: Mapping[str, Any]) -> float:
    """Return how likely an action is in a state, in the mean over packs."""
    place = ACTIONS.index(action)
    return sum(by.distribution({"pack": name, **facts}, ACTIONS)[place] for name in names) / len(names)


def _apart(by: Policy, one: str, other: str) -> float:
    """Return the share of choices that differ between two packs, in the mean over states: total variation."""
    return sum(_variation(by, by, {"pack": one, **facts}, {"pack": other, **facts}) for facts in STATES) / len(STATES)


def _between(one: Policy, other: Policy) -> float:
    """Return the share of choices that differ between two policies, in the mean over packs and states."""
    states = [{"pack": name, **facts} for name in packs() for facts in STATES]
    return sum(_variation(one, other, facts, facts) for facts in states) / len(states)


def _variation(one: Policy, other: Policy, first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    pairs = zip(one.distribution(first, ACTIONS), other.distribution(second, ACTIONS), strict=True)
    return sum(abs(a - b) for a, b in pairs) / 2


def _against(verdict: str) -> str:
    return {SUPPORTED: "", REFUTED: "not", OPEN: "not shown to be"}[verdict]
