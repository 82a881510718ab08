"""The switches: strategies and their tests, policies and their modes, and work in the background."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import StreamingResponse

from learning_loop.api.access import Actor, Who, need
from learning_loop.api.jobs import Job, Told
from learning_loop.api.paging import Cursor, Limit, part
from learning_loop.api.problems import documented
from learning_loop.api.repeating import Repeatable
from learning_loop.api.serving import Opened, Served, Serving
from learning_loop.api.v1.shapes import (
    Asked,
    Because,
    EvolutionIn,
    IndexIn,
    JobOut,
    LabIn,
    ModeIn,
    PacksIn,
    Page,
    SweepIn,
    SynthesisIn,
    TestIn,
    TrainingIn,
    VersionIn,
)
from learning_loop.app import App
from learning_loop.errors import LearningLoopError, NotFoundError, UsageError
from learning_loop.settings import Point

router = APIRouter(route_class=Repeatable)


# ------------------------------------------------------------------------------------------------------------ strategies


@router.get("/strategies", tags=["strategies"], dependencies=[need("read")])
def strategies(app: Opened) -> dict[str, Any]:
    """List strategies, the one first that rules take first, and how each stands."""
    from learning_loop.flows.points import standing
    from learning_loop.flows.strategies import load, overview
    from learning_loop.settings import STRATEGY

    catalogue, mode = load(app), standing(app, STRATEGY)
    return {"mode": mode.mode, "problems": list(catalogue.problems), "strategies": overview(app, catalogue)}


@router.get("/strategies/{slug}", tags=["strategies"], dependencies=[need("read")], responses=documented(404))
def strategy(slug: str, app: Opened) -> dict[str, Any]:
    """Return a strategy with its versions, how they did, and what their decisions contributed."""
    from learning_loop.flows.evolution import eligible
    from learning_loop.flows.scoreboard import board
    from learning_loop.flows.strategies import load, standing_of

    load(app)
    stands = standing_of(app, slug)
    versions = app.ledger.versions_of(slug)
    current = next((version for version in versions if version.id == stands.current), versions[-1])
    return plain(
        {
            "slug": slug,
            "version": stands.current,
            "retired": stands.retired,
            "document": current.document,
            "versions": [asdict(version) for version in versions],
            "runs": board(app, slug).plain(),
            "may_evolve": asdict(eligible(app, slug)),
        }
    )


@router.get("/strategies/{slug}/diff", tags=["strategies"], dependencies=[need("read")], responses=documented(404))
def diff(
    slug: str,
    app: Opened,
    version: Annotated[str | None, Query(max_length=200, description="By default the one in force.")] = None,
    since: Annotated[str | None, Query(max_length=200, description="By default the version before it.")] = None,
) -> list[str]:
    """Say what changed between two versions of a strategy, line by line."""
    from learning_loop.flows.strategies import changes_of, load, standing_of

    load(app)
    standing_of(app, slug)
    new = version or slug
    if strange := [name for name in (new, since or new) if name.partition("@")[0] != slug]:
        raise NotFoundError(f"{strange[0]} is no version of {slug}")
    return changes_of(app, since, new) if since else changes_of(app, new)


@router.post(
    "/strategies/{slug}/retire", status_code=204, tags=["strategies"], dependencies=[need("steer")],
    responses=documented(404, 409),
)  # fmt: skip
def retire(slug: str, given: Because, serving: Serving, who: Who) -> None:
    """Take a strategy out of use; its file stays as it is."""
    from learning_loop.flows.strategies import retire as retired

    retired(serving.app, slug, reason=given.reason or f"{who.name} said so")
    serving.audit(who.name, "retire strategy", slug, reason=given.reason)


@router.post("/strategies/{slug}/revive", tags=["strategies"], dependencies=[need("steer")], responses=documented(404, 409))
def revive(slug: str, given: VersionIn, serving: Serving, who: Who) -> dict[str, str]:
    """Put a strategy into force again, or another version of it."""
    from learning_loop.flows.strategies import revive as revived

    version = revived(serving.app, slug, given.version, reason=given.reason or f"{who.name} said so")
    serving.audit(who.name, "revive strategy", version, reason=given.reason)
    return {"slug": slug, "version": version}


# ----------------------------------------------------------------------------------------------------------- experiments


@router.get("/experiments", tags=["experiments"], dependencies=[need("read")], responses=documented(404))
def experiments(app: Opened, limit: Limit = 50, cursor: Cursor = None) -> Page[dict[str, Any]]:
    """List A/B tests, the newest first."""
    from learning_loop.flows.ab_tests import experiments as all_tests

    found = list(all_tests(app).values())
    items, following = part(found, cursor, limit, key=lambda test: (test.started_at.isoformat(), test.id))
    return Page(items=[experiment_plain(test) for test in items], next=following)


def experiment_plain(test: Any) -> dict[str, Any]:
    return plain({**asdict(test), "moves": [{"at": move.at, **move.data} for move in test.moves]})


@router.post(
    "/experiments", status_code=201, tags=["experiments"], dependencies=[need("steer")], responses=documented(404, 409)
)
def start(given: TestIn, serving: Serving, who: Who) -> dict[str, Any]:
    """Begin a test of versions against the one in force."""
    from learning_loop.flows.ab_tests import experiment_named
    from learning_loop.flows.ab_tests import start as begin
    from learning_loop.flows.strategies import load, standing_of

    app = serving.app
    load(app)
    against = given.control or standing_of(app, given.versions[0].partition("@")[0]).current
    name = begin(app, str(against), given.versions, by="person", reason=given.reason or f"{who.name} said so")
    serving.audit(who.name, "start experiment", name, reason=given.reason)
    return experiment_plain(experiment_named(app, name))


@router.get("/experiments/{name}", tags=["experiments"], dependencies=[need("read")], responses=documented(404))
def experiment(name: str, app: Opened) -> dict[str, Any]:
    """Say what a test says so far: arms with intervals, by context and project, its guards, what it did."""
    from learning_loop.flows.ab_judging import judge
    from learning_loop.flows.ab_report import plain as told
    from learning_loop.flows.ab_report import report_of
    from learning_loop.flows.ab_tests import experiment_named

    test = experiment_named(app, name)
    if test.stands:
        judge(app)
        test = experiment_named(app, name)
    return plain(told(report_of(app, test)))


@router.post(
    "/experiments/{name}/stop", status_code=204, tags=["experiments"], dependencies=[need("steer")],
    responses=documented(404, 409),
)  # fmt: skip
def stop(name: str, given: Because, serving: Serving, who: Who) -> None:
    """End a test without a winner, or the watching of one."""
    from learning_loop.flows.ab_tests import stop as end

    end(serving.app, name, reason=given.reason or f"{who.name} said so")
    serving.audit(who.name, "stop experiment", name, reason=given.reason)


@router.post("/experiments/{name}/rollback", tags=["experiments"], dependencies=[need("steer")], responses=documented(404, 409))
def take_back(name: str, given: Because, serving: Serving, who: Who) -> dict[str, str]:
    """Put the version into force again that a test's winner was held against; the test is over then."""
    version = taken_back(serving, who, name, given.reason)
    return {"slug": version.partition("@")[0], "version": version}


def taken_back(serving: Served, who: Actor, name: str, reason: str) -> str:
    """Put the version into force again that a test's winner was held against, and return it; raise UsageError."""
    from learning_loop.flows.ab_tests import experiment_named
    from learning_loop.flows.strategies import retire, standing_of
    from learning_loop.flows.strategies import revive as revived

    test, app = experiment_named(serving.app, name), serving.app
    if test.winner is None:
        raise UsageError(f"{name} has no winner: there is nothing to take back")
    why = reason or f"{who.name} took {test.winner} back"
    slug, won = test.control.partition("@")[0], test.winner.partition("@")[0]
    if won != slug and not standing_of(app, won).retired:  # split off for some contexts: there the other is in force anyway
        retire(app, won, reason=why)
    revived(app, slug, test.control, reason=why)
    serving.audit(who.name, "roll experiment back", name, reason=reason)
    return test.control


# -------------------------------------------------------------------------------------------------------------- policies


def policies_of(app: App) -> dict[str, dict[str, Any]]:
    """Return how every decision point stands."""
    from learning_loop.flows.points import POLICY, ledger_points, standing

    counts = ledger_points(app.ledger)
    found = {}
    for name in sorted({*counts, *app.settings.policies.points}):
        said = [{"at": event.at, **event.data} for event in app.ledger.events(POLICY, name)]
        found[name] = {"choices": counts.get(name, 0), **asdict(standing(app, name)), "said": said}
    return plain(found)


@router.get("/policies", tags=["policies"], dependencies=[need("read")])
def policies(app: Opened) -> dict[str, dict[str, Any]]:
    """Say of each decision point who chooses there, by which version, and how far its ramp has come."""
    return policies_of(app)


@router.get("/policies/statistics", tags=["policies"], dependencies=[need("read")])
def statistics(app: Opened) -> dict[str, Any]:
    """Say what there is to learn from, and how the learned policies do beside the rules."""
    from learning_loop.flows.statistics import plain as told
    from learning_loop.flows.statistics import statistics as figures

    return plain(told(figures(app)))


@router.get("/policies/{point}", tags=["policies"], dependencies=[need("read")], responses=documented(404))
def policy(point: str, app: Opened) -> dict[str, Any]:
    """Say how a decision point stands."""
    found = policies_of(app)
    if point not in found:
        raise NotFoundError(f"there is no decision point {point!r}: there are {', '.join(found) or 'none'}")
    return found[point]


@router.get(
    "/policies/{point}/experience.jsonl", tags=["policies"], dependencies=[need("read")], responses=documented(404),
    response_class=StreamingResponse,
)  # fmt: skip
def experience(point: str, app: Opened) -> StreamingResponse:
    """Write all choices of a decision point whose reward is known, one as JSON a line: how likely each was, what it earned."""
    from learning_loop.flows.experience import Log, plain_of

    policy(point, app)
    episodes = Log(app, point, _settings(app, point)).episodes()
    rows = (json.dumps({"point": point, **step}) + "\n" for episode, _ in episodes for step in plain_of(episode))
    return StreamingResponse(rows, media_type="application/x-ndjson")


@router.put("/policies/mode", tags=["policies"], dependencies=[need("steer")])
def mode_of_all(given: ModeIn, serving: Serving, who: Who) -> dict[str, Any]:
    """Say in which mode all decision points are to be; `refused` says why of some that may not."""
    from learning_loop.flows.points import ledger_points

    points, refused = [], {}
    for point in sorted({*ledger_points(serving.app.ledger), *serving.app.settings.policies.points}):
        try:
            points.append(mode(point, given, serving, who))
        except LearningLoopError as error:
            refused[point] = str(error)
    return {"points": points, "refused": refused}


@router.put("/policies/{point}/mode", tags=["policies"], dependencies=[need("steer")], responses=documented(404, 409))
def mode(point: str, given: ModeIn, serving: Serving, who: Who) -> dict[str, Any]:
    """Say in which mode a decision point is to be."""
    from learning_loop.flows.points import standing
    from learning_loop.flows.ramps import set_mode

    says = set_mode(serving.app, point, given.mode, reason=given.reason or f"{who.name} said so")
    serving.audit(who.name, f"mode {given.mode}", point, reason=given.reason)
    now = standing(serving.app, point)
    return {"point": point, "mode": now.mode, "why": now.why, "says": says}


@router.post("/policies/{point}/rollback", tags=["policies"], dependencies=[need("steer")], responses=documented(404, 409))
def roll_back(point: str, given: VersionIn, serving: Serving, who: Who) -> dict[str, Any]:
    """Take a learned policy back, at once and for good."""
    from learning_loop.flows.ramps import roll_back as taken_back

    gone = taken_back(serving.app, point, given.version, reason=given.reason or f"{who.name} said so")
    serving.audit(who.name, "roll policy back", f"{point} {gone}", reason=given.reason)
    return {"point": point, "version": gone}


@router.get("/lab", tags=["policies"], dependencies=[need("read")])
def experiments_of_the_lab() -> dict[str, str]:
    """List the experiments of the lab by their numbers."""
    from learning_loop.examples.harbor.experiments import listed

    return listed()


@router.get("/packs", tags=["policies"], dependencies=[need("read")])
def packs() -> list[str]:
    """List the packs that can be run."""
    from learning_loop.examples.harbor import packs as names

    return names()


# ------------------------------------------------------------------------------------------------------------------ jobs


def _settings(app: App, point: str) -> Point | None:
    """Return the settings of a decision point, those of the packs among them."""
    from learning_loop.examples.harbor import POINT
    from learning_loop.examples.harbor.runs import settings_of

    return settings_of(app) if point == POINT else app.settings.point(point)


def _train(serving: Served, given: TrainingIn, told: Told) -> Mapping[str, Any]:
    from learning_loop.flows.training import one_point, train

    where = one_point(serving.app, given.point, None)
    only = next(iter(given.only.items()), None) if given.only else None
    found = train(
        serving.app, where, settings=_settings(serving.app, where), algo=given.algo, epochs=given.epochs, only=only,
        start=given.start, seed=given.seed, told=told,
    )  # fmt: skip
    return plain(asdict(found))


def _synthesize(serving: Served, given: SynthesisIn, told: Told) -> Mapping[str, Any]:
    from learning_loop.flows.synthesis import open_weeks, period_named, synthesize

    app = serving.app
    periods = open_weeks(app) if given.every else [period_named(app, given.week, given.month, given.sprint)]
    found = []
    for number, period in enumerate(periods):
        found.append(synthesize(app, period, dry_run=given.dry_run, told=partial(_part, told, number, len(periods))))
    return plain({"synthesized": [{name: item[name] for name in item} for item in found]})


def _part(told: Told, before: int, parts: int, done: int, total: int) -> None:
    """Tell how far all of it is, where one of its parts, all of which have as many steps, is so far."""
    told(before * total + done, parts * total)


def _run_packs(serving: Served, given: PacksIn, told: Told) -> Mapping[str, Any]:
    from learning_loop.examples.harbor import packs as names
    from learning_loop.examples.harbor.runs import policy_of, run_packs

    wanted = names() if given.pack == "all" else [given.pack]
    by, called = policy_of(serving.app, given.mode, given.version)
    found = run_packs(
        serving.loop, wanted, by, mode=given.mode, runs=given.runs, floor=given.explore, seed=given.seed,
        max_steps=given.max_steps, told=told,
    )  # fmt: skip
    rewards = [run.reward for run in found if run.reward is not None]
    return {
        "policy": called,
        "runs": [run.execution_id for run in found],
        "succeeded": sum(run.played.success is True for run in found),
        "mean_reward": sum(rewards) / len(rewards) if rewards else None,
    }


def _evolve(serving: Served, given: EvolutionIn, told: Told) -> Mapping[str, Any]:
    from learning_loop.flows.evolution import evolve, evolve_due, proposers_of
    from learning_loop.flows.evolution import plain as shown

    app = serving.app
    if given.strategy is None:
        return plain({"evolved": [shown(one) for one in evolve_due(app, proposers_of(app), told=told)]})
    found = evolve(app, given.strategy, proposers=proposers_of(app), force=given.force, dry_run=given.dry_run, told=told)
    return plain({"evolved": [shown(found)]})


def _index(serving: Served, given: IndexIn, told: Told) -> Mapping[str, Any]:
    from learning_loop.flows.indexing import Indexing

    indexing = Indexing(serving.app)
    if given.rebuild:
        indexing.rebuild(reading=told)
    synced = indexing.complete(reading=told, embedding=told)
    return {**serving.app.index.store.size(), "warnings": synced.warnings}


def _lab(serving: Served, given: LabIn, told: Told) -> Mapping[str, Any]:
    from learning_loop.examples.harbor.experiments import run_experiment
    from learning_loop.flows.lab import write_report

    found = run_experiment(given.number, range(given.seed, given.seed + given.repeat), told)
    return plain({"report": serving.app.workspace.relative(write_report(serving.app, found)), **found.plain()})


def _sweep(_serving: Served, given: SweepIn, told: Told) -> Mapping[str, Any]:
    from learning_loop.examples.harbor.experiments import sweep

    return plain(sweep(given.trials, given.seed, told))


JOBS: Mapping[str, tuple[type[Asked], Callable[[Served, Any, Told], Mapping[str, Any]], str]] = {
    "training": (TrainingIn, _train, "Train a policy in the background."),
    "synthesis": (SynthesisIn, _synthesize, "Learn from a week in the background."),
    "packs": (PacksIn, _run_packs, "Run packs in the background, in a mode of choice."),
    "evolution": (EvolutionIn, _evolve, "Let strategies evolve in the background."),
    "index": (IndexIn, _index, "Bring the index up to date with the notes in the background."),
    "lab": (LabIn, _lab, "Carry out an experiment of the lab in the background."),
    "sweep": (SweepIn, _sweep, "Look for the learner's best settings in the background."),
}  # what is asked, what is done, what that is


def begin_job(serving: Served, who: Actor, kind: str, given: Asked) -> Job:
    """Begin a job of a kind, as asked for."""
    given.check()
    work = partial(JOBS[kind][1], serving, given)
    job = serving.jobs.start(kind, work, by=who.name, asked=given.model_dump(exclude_none=True))
    serving.audit(who.name, f"start {kind}", job.id)
    return job


def _starting(kind: str) -> Callable[..., JobOut]:
    """Return the operation that begins a job of a kind."""

    def start(given: Any, serving: Serving, who: Who) -> JobOut:
        return JobOut.model_validate(begin_job(serving, who, kind, given))

    start.__name__, start.__doc__ = f"start_{kind}", JOBS[kind][2]
    start.__annotations__["given"] = JOBS[kind][0]  # of which the document is made
    return start


for _kind in JOBS:
    router.add_api_route(
        f"/jobs/{_kind}", _starting(_kind), methods=["POST"], status_code=202, tags=["jobs"], dependencies=[need("steer")],
        responses=documented(409),
    )  # fmt: skip


@router.get("/jobs", tags=["jobs"], dependencies=[need("read")])
def jobs(
    serving: Serving,
    kind: Annotated[str | None, Query(max_length=50, description=f"Only {', '.join(JOBS)}.")] = None,
) -> list[JobOut]:
    """List jobs, the newest first."""
    return [JobOut.model_validate(job) for job in serving.jobs.all() if kind in (None, job.kind)]


@router.get("/jobs/{name}", tags=["jobs"], dependencies=[need("read")], responses=documented(404))
def job(name: str, serving: Serving) -> JobOut:
    """Say how far a job is, and what came of it."""
    return JobOut.model_validate(serving.jobs.one(name))


@router.post(
    "/jobs/{name}/cancel", status_code=202, tags=["jobs"], dependencies=[need("steer")], responses=documented(404, 409)
)
def cancel(name: str, serving: Serving, who: Who) -> JobOut:
    """Ask a job to stop; it does at its next step, and what it did stays."""
    found = serving.jobs.cancel(name)
    serving.audit(who.name, "cancel job", name)
    return JobOut.model_validate(found)


def plain(value: Any) -> dict[str, Any]:
    """Return something as JSON keeps it."""
    found: dict[str, Any] = json.loads(json.dumps(value, default=_said))
    return found


def _said(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
