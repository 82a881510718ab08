"""Evolution of strategies: where one could do better, changes are proposed, checked, and put to a test."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from learning_loop.app import App
from learning_loop.errors import LearningLoopError, UsageError
from learning_loop.experiments.moves import Move, Phase
from learning_loop.features.conditions import facts_of_context
from learning_loop.flows.ab_tests import experiments, start
from learning_loop.flows.contributions import Made, Past, past
from learning_loop.flows.drift import last_drift, since_drift
from learning_loop.flows.language import voice
from learning_loop.flows.off_policy import evaluate
from learning_loop.flows.points import standing
from learning_loop.flows.strategies import DERIVED, in_force, load, rows_of, standing_of, standings
from learning_loop.policies import policy
from learning_loop.records import Event, Experience
from learning_loop.settings import STRATEGY as POINT
from learning_loop.settings import Evolution
from learning_loop.strategies import Strategy, Version
from learning_loop.strategies.analysis import Analysis, Ran, analysis_of
from learning_loop.strategies.effects import Context, Effects, options_of
from learning_loop.strategies.propose import SEARCH, Proposal, Room, chosen, proposals
from learning_loop.strategies.safety import faults, mark
from learning_loop.strategies.strategy import DECOMPOSE, PARALLELIZE, RETRY, SELECT_AGENT

EVOLUTION = "evolution"  # the kind of events about it; their subject is the strategy's slug
Told = Callable[[int, int], None]
STEPS = 3  # of an evolution: reading what was done, finding changes, beginning a test
DONE = ("started", "nothing")  # endings that count as an evolution: the next one waits for its days
NEVER = datetime.min.replace(tzinfo=UTC)
LONGEST_WAIT_S = 60.0  # that a search suggests
MOST_MODELLED = MOST_REPLAYED = 10_000  # runs, the newest
LEAST_VERSIONS = 3  # of which something is known, before a search draws on them
LEAST_KNOWN = 100  # runs that a log must have that say something of a proposal, before it may refuse one


@dataclass(frozen=True, slots=True, kw_only=True)
class Eligibility:
    """Whether a strategy may evolve now: `ok`, or why it may not, with the figures that say so."""

    status: str
    says: str
    decisions: int = 0
    success_rate: float | None = None

    @property
    def ok(self) -> bool:
        return self.status == "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evolved:
    """What an evolution came to: its proposals, those refused and why, and the test that began, if any."""

    slug: str
    status: str
    says: str
    test: str | None = None
    proposals: tuple[Proposal, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    analysis: Analysis | None = field(default=None, repr=False)


# Proposes at most so many changes of a strategy, given what is known of its runs and the agents there are. All it says passes
# the same checks, and the same test. It raises LearningLoopError where it cannot: then the others propose.
Proposer = Callable[[Strategy, Analysis, Sequence[str], int], Sequence[Proposal]]


def eligible(app: App, slug: str, found: Past | None = None) -> Eligibility:
    """Say whether a strategy may evolve; raise NotFoundError."""
    return _waits(app, slug) or _young(app) or _failing(app, slug, found or lately(app))


def _failing(app: App, slug: str, found: Past) -> Eligibility:
    """Say whether a strategy's runs ask for another one."""
    settings = app.settings.strategies.evolution
    known = [run.success for run in _runs_of(found, slug) if run.success is not None]
    decisions = sum(_slug_of(made) == slug for of in found.by_point.values() for made in of)
    rate = sum(known) / len(known) if known else None
    if decisions < settings.least_decisions or rate is None:
        status = "insufficient_data"
        says = f"{decisions} decisions in {settings.within_days:g} days: {settings.least_decisions} are needed"
    else:
        status = "ok" if rate < settings.satisfied_at else "satisfactory"
        says = f"{100 * rate:.0f} % of {len(known)} runs succeeded"
    return Eligibility(status=status, says=says, decisions=decisions, success_rate=rate)


def _waits(app: App, slug: str) -> Eligibility | None:
    """Return why a strategy may not evolve now, whatever runs say; None where they are to be asked."""
    settings, stands = app.settings.strategies.evolution, standing_of(app, slug)
    if stands.current is None or stands.retired:
        return Eligibility(status="not_in_force", says=f"{slug} is not in force")
    if any(test.slug == slug and test.phase is Phase.RUNNING for test in experiments(app).values()):
        return Eligibility(status="test_active", says="a test of it is under way")
    evolved = [event.at for event in app.ledger.events(EVOLUTION, slug) if event.data["status"] in DONE]
    since = since_drift(app, app.clock() - timedelta(days=settings.every_days))  # what was before a drift is no reason to wait
    if evolved and evolved[-1] > since:
        says = f"it evolved on {evolved[-1]:%Y-%m-%d}, less than {settings.every_days:g} days ago"
        return Eligibility(status="too_recent", says=says)
    return None


def _young(app: App) -> Eligibility | None:
    """Return that the world is too young to say what would be better in it: a drift is not long ago, nor known by many runs.

    At once after a drift what nobody did yet promises most, for nothing is known of it: a few days of runs, some of them left
    to chance, say more than tests of guesses would, for which there is no other room in that time.
    """
    drift, settings = last_drift(app), app.settings.strategies
    days = settings.evolution.every_days
    if drift is None or app.clock() - since_drift(app, NEVER) >= timedelta(days=days):
        return None
    known, wanted = len(app.ledger.places_deciding(POINT, after=drift.data["outcome"])), settings.tests.most_units
    if known >= wanted:
        return None
    says = f"the world changed, and {known} runs are known since: it waits for {wanted}, or {days:g} days"
    return Eligibility(status="too_recent", says=says, decisions=known)


def lately(app: App) -> Past:
    """Return the decisions that evolution looks at: those of so many days, and none from before a drift."""
    return past(app, since_drift(app, app.clock() - timedelta(days=app.settings.strategies.evolution.within_days)))


def evolve_due(app: App, proposers: Sequence[Proposer] = (), *, told: Told = lambda _done, _total: None) -> list[Evolved]:
    """Let strategies evolve that may, those first of which runs promise most, as long as there is room for a test.

    Where strategies only watch, none does. `told` hears before each look, and before each evolution, how far it is.
    """
    if standing(app, POINT).mode not in ("ab_test", "production"):
        return []
    load(app)
    room = app.settings.strategies.tests.at_once
    room -= sum(test.phase is Phase.RUNNING for test in experiments(app).values())
    may = [slug for slug in standings(app) if _waits(app, slug) is None]
    if room <= 0 or not may or _young(app) is not None:
        return []
    found, hopes, results = lately(app), dict[str, float](), list[Evolved]()
    for number, slug in enumerate(may):
        told(number, 2 * len(may))
        if _failing(app, slug, found).ok:
            hopes[slug] = _Look(app, slug, found).hope
    for number, slug in enumerate(sorted(hopes, key=lambda slug: (-hopes[slug], slug)), len(may)):
        if room > 0:
            told(number, 2 * len(may))
            results.append(evolve(app, slug, proposers=proposers, found=found))
            room -= results[-1].test is not None
    return results


def proposers_of(app: App) -> list[Proposer]:
    """Return who proposes changes beside what past runs suggest: the language model, where one is configured for it."""
    model = voice(app, "strategies")
    if model is None:
        return []
    from learning_loop.flows.modelling import StrategyProposer

    return [StrategyProposer(model, fixed=app.settings.strategies.evolution.fixed)]


def evolve(
    app: App,
    slug: str,
    *,
    proposers: Sequence[Proposer] = (),
    force: bool = False,
    dry_run: bool = False,
    found: Past | None = None,
    told: Told = lambda _done, _total: None,
) -> Evolved:
    """Look for changes that may make a strategy better, and put the most promising to a test.

    What `proposers` say stands beside what past runs suggest; all of it must pass the same checks. With `force` it is not asked
    whether the strategy may evolve now. All that is written is written at once, after the last step that `told` hears of.
    Raise NotFoundError or UsageError.
    """
    now = app.clock()
    load(app)
    found = found or lately(app)
    told(1, STEPS)
    may = eligible(app, slug, found)
    if not may.ok and not (force and may.status in ("too_recent", "insufficient_data", "satisfactory")):
        return Evolved(slug=slug, status=may.status, says=may.says)
    look = _Look(app, slug, found)
    made, refused = look.proposed(proposers)
    told(2, STEPS)
    if dry_run:
        return Evolved(
            slug=slug, status="dry run", says=may.says, proposals=tuple(made), refused=refused, analysis=look.analysis
        )
    test = None
    if made:
        rows = [
            row
            for one in made
            for row in rows_of(one.strategy, one.origin, now, parent=look.parent.id, hoped=one.expected_improvement)
        ]
        evolved = look.event("started", may.says, made, refused)
        reason = " Or: ".join(one.reasoning for one in made)
        versions = [Version.of(one.strategy).id for one in made]
        try:
            test = start(app, look.parent.id, versions, by="loop", reason=reason, rows=[*rows, evolved])
        except UsageError as error:  # a person changed it meanwhile
            return Evolved(slug=slug, status="outdated", says=str(error), refused=refused, analysis=look.analysis)
    else:
        app.ledger.append(look.event("nothing", "no change passed the checks", made, refused))
    status, says = ("started", may.says) if made else ("nothing", "no change passed the checks")
    return Evolved(
        slug=slug, status=status, says=says, test=test, proposals=tuple(made), refused=refused, analysis=look.analysis
    )


def _slug_of(made: Made) -> str:
    """Return the strategy that a decision belongs to: the one chosen, or the one whose version it follows from."""
    of = made.decision.chosen if made.decision.point == POINT else made.decision.policy
    return of.partition("@")[0]


def _runs_of(found: Past, slug: str) -> list[Ran]:
    return [ran(made) for made in found.of(POINT) if made.decision.chosen.partition("@")[0] == slug]


def ran(made: Made) -> Ran:
    """Return a run as it is analysed."""
    outcome, execution = made.record.outcome, made.record.execution
    tries = [one for one in made.record.decisions if one.point == RETRY and one.chosen == "try again"]
    return Ran(
        id=execution.id,
        version=made.decision.chosen,
        facts=facts_of_context(made.decision.context),
        success=made.record.success,
        reward=made.experience.reward,
        attempts=1 + len(tries),
        project=execution.project,
        error=outcome.error_type if outcome is not None else None,
        error_text=outcome.error_message if outcome is not None else None,
    )


class _Look:
    """One evolution of one strategy."""

    def __init__(self, app: App, slug: str, found: Past) -> None:
        self.app, self.slug, self.found = app, slug, found
        self.settings = app.settings.strategies.evolution
        known = standings(app)
        versions = {version.id: version for version in in_force(app, known)}
        self.parent = versions[str(known[slug].current)]
        self.others = self._others(versions)
        self.least_effect = app.settings.strategies.tests.least_effect
        self.slugs = set(known)
        self.resting = {name for name, stands in known.items() if stands.current is None or stands.retired}
        self.runs = _runs_of(found, slug)
        self.analysis = analysis_of(self.runs)
        self.rejected = self._rejected()
        self.divides = bool(found.of(PARALLELIZE))
        self.agents = list(dict.fromkeys(option for made in found.of(SELECT_AGENT) for option in made.decision.alternatives))
        self.effects = self._effects()
        self.where = self._contexts(self.others)
        self.room = Room(
            agents=self.agents,
            decomposes=bool(found.of(DECOMPOSE)),
            divides=self.divides,
            tuned=self._tuned(),
            limits=self.settings,
            others=self.others,
            least_effect=self.least_effect,
        )
        self.own = proposals(self.parent.strategy, self.analysis, self.effects, self.where, self.room, origin=DERIVED)

    @property
    def hope(self) -> float:
        """What its best change promises, by the root of the share of all runs that it would be tested with."""
        best = next((one.worth for one in self.own if mark(one.strategy) not in self.rejected), 0.0)
        runs = self.found.of(POINT)
        inside = sum(self.parent.strategy.is_for(facts_of_context(made.decision.context)) for made in runs)
        return best * math.sqrt(inside / max(len(runs), 1))

    def proposed(self, proposers: Sequence[Proposer]) -> tuple[list[Proposal], tuple[tuple[str, str], ...]]:
        """Return the proposals that pass all checks, and why the others do not."""
        found, refused = list[Proposal](), list[tuple[str, str]]()
        most = self.settings.mutations
        for propose in proposers:
            try:
                found += propose(self.parent.strategy, self.analysis, self.agents, most)
            except LearningLoopError as error:
                refused.append(("a proposer", str(error)))
        theirs = self._passing(found, max(most - 1, 1), refused)  # who proposes from outside has not all places of several
        self.rejected |= {mark(one.strategy) for one in theirs}  # what both propose is tested once
        made = [*theirs, *self._passing(self.own, most - len(theirs), refused)]
        if (len(self.agents) > 1 or self.room.decomposes) and all(one.part == SEARCH for one in made):
            made = []  # what numbers add is little: they are tested beside something else, where there is something else
        return made, tuple(refused)

    def _passing(self, found: Sequence[Proposal], most: int, refused: list[tuple[str, str]]) -> list[Proposal]:
        """Return the first proposals that pass all checks, each of another kind as far as there are others."""
        kept = list[Proposal]()
        for made in map(self._named, chosen(found, len(found))):
            if len(kept) == most:
                break
            wrong = faults(
                made.strategy,
                self.parent.strategy,
                self.settings,
                agents=self.agents,
                rejected=self.rejected,
                known=self.slugs,
            )
            if wrong := wrong or self._hardly(made) or self._replayed(made.strategy):
                refused.append((made.reasoning, "; ".join(wrong)))
            else:
                kept.append(made)
        return kept

    def _hardly(self, made: Proposal) -> list[str]:
        """Return why a test of a proposal would show nothing: runs say already that it adds hardly anything to what is done."""
        old, new = self.parent.strategy.does, made.strategy.does
        if not self.divides and {name for name in new if new[name] != old[name]} == {"parallelism_config"}:
            return ["no work came to be taken apart: how much of it is done at once changes nothing"]
        known = self._contexts([made.strategy, *self.others])
        where = {context: count for context, count in known.items() if made.strategy.is_for(dict(context))}
        now, best = (self.effects.ways([self.parent.strategy, *others], where, self.agents) for others in ((), self.others))
        if made.part == SEARCH or self.effects.compare(made.strategy, now, where, self.agents) is None:
            return []  # runs say nothing of what it changes
        gain = self.effects.compare(made.strategy, best, where, self.agents)
        if gain is None:
            return ["another strategy does so already"]
        if gain.promise >= self.least_effect:
            return []
        return [f"runs so far suggest that it adds {gain.value:+.2f} to what is done already, give or take {gain.error:.2f}"]

    def _contexts(self, strategies: Sequence[Strategy]) -> Mapping[Context, int]:
        """Return the contexts of the runs, with all that these strategies, and the one that evolves, ask about."""
        asked = [name for one in (self.parent.strategy, *strategies) for name in one.asks]
        return self.effects.contexts([run.facts for run in self.runs], asked)

    def _named(self, made: Proposal) -> Proposal:
        """Return a proposal that takes no name from one that is not in force any more."""
        slug, number = made.strategy.slug, 1
        while slug in self.resting:
            number += 1
            slug = f"{made.strategy.slug[:56].rstrip('-')}-{number}"
        return replace(made, strategy=made.strategy.model_copy(update={"slug": slug}))

    def _others(self, versions: Mapping[str, Version]) -> list[Strategy]:
        """Return what work may be given to instead of the strategy, or soon may be."""
        tests = [test for test in experiments(self.app).values() if test.phase is Phase.RUNNING]
        tested = self.app.ledger.strategy_versions([arm for test in tests for arm in test.alive])
        soon = [Strategy.model_validate(version.document) for version in tested.values()]
        return [*(version.strategy for name, version in versions.items() if name != self.parent.id), *soon]

    def _rejected(self) -> set[str]:
        """Return what was tested and not taken, in the world as it is since the last drift."""
        since = since_drift(self.app, NEVER)
        tested = [
            arm for test in experiments(self.app).values() if test.started_at >= since for arm in test.candidates
            if not any(move.data["action"] == Move.PROMOTED and move.data["arm"] == arm for move in test.moves)
            or any(move.data["action"] == Move.TAKEN_BACK for move in test.moves)
        ]  # fmt: skip
        versions = self.app.ledger.strategy_versions(tested)
        return {mark(Strategy.model_validate(version.document)) for version in versions.values()}

    def _effects(self) -> Effects:
        """Return what all versions' parts seem to do, the newest runs counting."""
        made = self.found.of(POINT)[-MOST_MODELLED:]
        kept = self.app.ledger.strategy_versions(list({one.decision.chosen for one in made}))
        versions = {name: Strategy.model_validate(version.document) for name, version in kept.items()}
        runs = []
        for one in made:
            facts = facts_of_context(one.decision.context)
            if (strategy := versions.get(one.decision.chosen)) is not None:
                decided = {made.point: made.chosen for made in one.record.decisions if made.point in (DECOMPOSE, SELECT_AGENT)}
                runs.append((facts, options_of(strategy, facts, self.agents, decided), one.experience.reward))
        return Effects(runs, idle=() if self.divides else (PARALLELIZE,))

    def _tuned(self) -> dict[str, Any]:
        """Return numbers for patience and parallelism that a search over all versions of the strategy so far suggests."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        runs: dict[str, list[float]] = {}
        for made in self.found.of(POINT):
            if made.decision.chosen.partition("@")[0] == self.slug:
                runs.setdefault(made.decision.chosen, []).append(made.experience.reward)
        versions = self.app.ledger.strategy_versions(list(runs))
        space = _space(self.parent.strategy, self.settings, divides=self.divides)
        seed = len(self.app.ledger.events(EVOLUTION, self.slug))
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=LEAST_VERSIONS)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for name, rewards in runs.items():
            numbers = numbers_of(Strategy.model_validate(versions[name].document))
            inside = {
                key: value for key, value in numbers.items() if key in space and space[key].low <= value <= space[key].high
            }
            if len(inside) == len(space):
                study.add_trial(
                    optuna.trial.create_trial(params=inside, distributions=space, value=sum(rewards) / len(rewards))
                )
        found = dict(study.ask(space).params)
        return {name: round(value, 2) if isinstance(value, float) else value for name, value in found.items()}

    def _replayed(self, made: Strategy) -> list[str]:
        """Return why the log speaks against a proposal; nothing where it does not, or cannot say.

        Where another version did the very same in a context, what that earned there is what the proposal would have earned.
        """
        twins = _Twins(self.app, made, self.agents)
        log = [
            one.experience for one in self.found.of(POINT)
            if self.parent.id in one.decision.alternatives and twins.of(one.experience)
        ]  # fmt: skip
        log = [one for one in log if one.propensity is not None][-MOST_REPLAYED:]
        if len(log) < LEAST_KNOWN:
            return []
        rng = random.Random(f"replay {self.slug}")  # noqa: S311  (repeatable, not secret)
        try:
            would, now = (evaluate(log, each, rng=rng) for each in (twins, policy("static", shares={self.parent.id: 1.0})))
        except UsageError:
            return []
        if would.best.high < now.best.low:
            earned = f"{would.best.value:.2f} ({would.best.low:.2f} to {would.best.high:.2f})"
            return [f"past runs speak against it: {earned}, now {now.best.value:.2f}"]
        return []

    def event(self, status: str, says: str, made: Sequence[Proposal], refused: Sequence[tuple[str, str]]) -> Event:
        data = {
            "status": status,
            "says": says,
            "parent": self.parent.id,
            "runs": self.analysis.runs,
            "success_rate": self.analysis.success_rate,
            "patterns": [asdict(pattern) for pattern in self.analysis.patterns[:10]],
            "proposals": [
                {
                    "version": Version.of(one.strategy).id,
                    "origin": one.origin,
                    "why": one.reasoning,
                    "hope": one.expected_improvement,
                }
                for one in made
            ],
            "refused": [list(one) for one in refused[:20]],
        }
        return Event(kind=EVOLUTION, subject=self.slug, at=self.app.clock(), data=data)


class _Twins:
    """Takes the version on offer that does in a context what a proposal would do there."""

    version = "twins"

    def __init__(self, app: App, made: Strategy, agents: Sequence[str]) -> None:
        self._app, self._made, self._agents = app, made, agents
        self._versions: dict[str, Strategy | None] = {}

    def of(self, one: Experience) -> list[str]:
        return self._alike(one.context, one.options)

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:
        alike = self._alike(context, options)
        return [float(option in alike) for option in options]

    def _alike(self, context: Mapping[str, Any], options: Sequence[str]) -> list[str]:
        facts = facts_of_context(context)
        if not self._made.is_for(facts):
            return []
        unseen = [option for option in options if option not in self._versions]
        if unseen:
            kept = self._app.ledger.strategy_versions(unseen)
            self._versions |= {
                option: Strategy.model_validate(kept[option].document) if option in kept else None for option in unseen
            }
        wanted = self._signature(self._made, facts)
        return [
            option for option in options
            if (other := self._versions[option]) is not None and self._signature(other, facts) == wanted
        ]  # fmt: skip

    def _signature(self, strategy: Strategy, facts: Any) -> Any:
        does = {name: value for name, value in strategy.does.items() if name != "agent_selection_rules"}
        return does, strategy.agents(facts, self._agents)


def numbers_of(strategy: Strategy) -> dict[str, Any]:
    """Return the numbers of a strategy that can be searched over."""
    policy = strategy.retry_policy
    return {
        "max_parallel": strategy.parallelism_config.max_parallel,
        "max_attempts": policy.max_attempts,
        "wait_s": max(policy.wait_s, 0.01),
    }


def _space(strategy: Strategy, limits: Evolution, *, divides: bool) -> dict[str, Any]:
    """Return which numbers are searched over: those that matter for what the strategy does."""
    from optuna.distributions import FloatDistribution, IntDistribution

    found: dict[str, Any] = {"max_attempts": IntDistribution(1, limits.most_attempts)}
    if strategy.retry_policy.max_attempts > 1:
        found["wait_s"] = FloatDistribution(0.01, min(LONGEST_WAIT_S, limits.longest_timeout_s), log=True)
    if strategy.decomposition_approach != "single" and divides:
        found["max_parallel"] = IntDistribution(1, limits.most_parallel, log=True)
    return found


def plain(one: Evolved) -> dict[str, Any]:
    """Return what came of an evolution for programs."""
    return {
        "strategy": one.slug,
        "status": one.status,
        "says": one.says,
        "test": one.test,
        "proposals": [
            {
                "strategy": made.strategy.model_dump(mode="json"),
                "origin": made.origin,
                "reasoning": made.reasoning,
                "expected_improvement": made.expected_improvement,
            }
            for made in one.proposals
        ],
        "refused": [{"proposal": what, "why": why} for what, why in one.refused],
    }
