"""What is learned, and the switches: rules, tests, strategies, policies, and the work that takes long."""

import asyncio
from typing import Annotated, Any, cast
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from learning_loop.api.access import Who
from learning_loop.api.admin.site import Read, Reason, Rendering, Steer, done, given_by, read_by
from learning_loop.api.serving import Opened, Serving
from learning_loop.api.v1 import knowledge, steering
from learning_loop.api.v1.shapes import Because, ModeIn, TestIn, VersionIn, WeekIn
from learning_loop.dashboard import views

router = APIRouter(prefix="/admin", include_in_schema=False)


# ------------------------------------------------------------------------------------------------------------------- rules


@router.get("/rules", dependencies=[Read])
def rules(request: Request, app: Opened, pages: Rendering, *, retired: bool = False) -> Response:
    return pages.page(request, "rules.html.j2", lambda: views.rules(app, retired=retired), kept=False)


@router.post("/rules/rollback", dependencies=[Steer])
def roll_rules_back(serving: Serving, who: Who, week: Annotated[str, Form(max_length=20)]) -> Response:
    found = knowledge.roll_back(given_by(WeekIn, week=week), serving, who)
    return done(
        "/admin/rules",
        f"{len(found['changed'])} rules are as they were after {found['week']}; {len(found['left'])} are yours, and stay.",
    )


@router.post("/rules/{path:path}", dependencies=[Steer])
def rule_that(path: str, serving: Serving, who: Who, do: Annotated[str, Query(max_length=20)], reason: Reason = "") -> Response:
    found = knowledge.rule_that(path, cast("Any", do), Because(reason=reason or f"{who.name} said so"), serving, who)
    return done("/admin/rules", f"{found['title']}: {found['status']}{', pinned' if found['pinned'] else ''}.")


# ------------------------------------------------------------------------------------------------- experiments, strategies


@router.get("/experiments", dependencies=[Read])
def tests(request: Request, app: Opened, pages: Rendering) -> Response:
    from learning_loop.flows.ab_tests import experiments

    def context() -> dict[str, Any]:
        found = sorted(experiments(app).values(), key=lambda test: test.started_at, reverse=True)
        versions = [version.id for entry in app.ledger.strategies() for version in app.ledger.versions_of(entry.slug)]
        return {"tests": found, "versions": versions, **views.ramps(app)}

    return pages.page(request, "experiments.html.j2", context)


@router.post("/experiments", dependencies=[Steer])
def start_test(
    serving: Serving,
    who: Who,
    versions: Annotated[str, Form(max_length=2_000)],
    control: Annotated[str, Form(max_length=200)] = "",
    reason: Reason = "",
) -> Response:
    asked = {"versions": versions.split(), "control": control or None, "reason": reason}
    made = steering.start(read_by(TestIn, asked), serving, who)
    return done(f"/admin/experiments/{quote(made['id'])}", "The test has begun.")


@router.get("/experiments/{name}", dependencies=[Read])
def test(name: str, request: Request, app: Opened, pages: Rendering) -> Response:
    from learning_loop.flows.ab_tests import experiment_named

    return pages.page(request, "experiment.html.j2", lambda: views.experiment(app, experiment_named(app, name)))


@router.post("/experiments/{name}/stop", dependencies=[Steer])
def stop_test(name: str, serving: Serving, who: Who, reason: Reason = "") -> Response:
    steering.stop(name, Because(reason=reason), serving, who)
    return done(f"/admin/experiments/{quote(name)}", "The test is over.")


@router.post("/experiments/{name}/rollback", dependencies=[Steer])
def take_test_back(name: str, serving: Serving, who: Who, reason: Reason = "") -> Response:
    found = steering.taken_back(serving, who, name, reason)
    return done(f"/admin/experiments/{quote(name)}", f"{found} is in force again.")


@router.get("/strategies", dependencies=[Read])
def strategies(request: Request, serving: Serving, pages: Rendering) -> Response:
    from learning_loop.flows.points import standing
    from learning_loop.flows.strategies import load, overview
    from learning_loop.settings import STRATEGY

    def context() -> dict[str, Any]:
        app = serving.app
        catalogue = load(app)
        return {
            "strategies": overview(app, catalogue), "problems": catalogue.problems, "standing": standing(app, STRATEGY),
            "jobs": [job for job in serving.jobs.all() if job.kind == "evolution"],
        }  # fmt: skip

    return pages.page(request, "strategies.html.j2", context, kept=False)


@router.get("/strategies/{name}", dependencies=[Read])
def strategy(name: str, request: Request, app: Opened, pages: Rendering) -> Response:
    from learning_loop.flows.evolution import eligible
    from learning_loop.flows.scoreboard import board
    from learning_loop.flows.strategies import load, standing_of
    from learning_loop.workspace import yaml

    def context() -> dict[str, Any]:
        load(app)
        stands, versions = standing_of(app, name), app.ledger.versions_of(name)
        current = next((version for version in versions if version.id == stands.current), versions[-1])
        return {
            "slug": name, "stands": stands, "versions": versions[::-1], "text": yaml.dump(current.document),
            "board": board(app, name), "may": eligible(app, name),
        }  # fmt: skip

    return pages.page(request, "strategy.html.j2", context)


@router.post("/strategies/{name}/retire", dependencies=[Steer])
def retire(name: str, serving: Serving, who: Who, reason: Reason = "") -> Response:
    steering.retire(name, Because(reason=reason), serving, who)
    return done(f"/admin/strategies/{quote(name)}", "It is retired; its file stays as it is.")


@router.post("/strategies/{name}/revive", dependencies=[Steer])
def revive(name: str, serving: Serving, who: Who, reason: Reason = "") -> Response:
    found = steering.revive(name, VersionIn(reason=reason), serving, who)
    return done(f"/admin/strategies/{quote(name)}", f"{found['version']} is in force.")


# ---------------------------------------------------------------------------------------------------------------- policies


@router.get("/policies", dependencies=[Read])
def policies(
    request: Request, serving: Serving, pages: Rendering, point: Annotated[str | None, Query(max_length=200)] = None
) -> Response:
    from learning_loop.examples.harbor import POINT, packs
    from learning_loop.examples.harbor.runs import SETTINGS
    from learning_loop.policies import LEARNERS

    def context() -> dict[str, Any]:
        return {
            **views.policies(serving.app, point, {POINT: SETTINGS}), "packs": packs(), "learners": list(LEARNERS),
            "jobs": [job for job in serving.jobs.all() if job.kind in ("training", "packs")],
        }  # fmt: skip

    return pages.page(request, "policies.html.j2", context)


@router.post("/policies/mode", dependencies=[Steer])
def set_mode(
    serving: Serving,
    who: Who,
    point: Annotated[str, Form(max_length=200)],
    mode: Annotated[str, Form(max_length=20)],
    reason: Reason = "",
) -> Response:
    steering.mode(point, given_by(ModeIn, mode=mode, reason=reason), serving, who)
    return done(f"/admin/policies?{urlencode({'point': point})}", f"{point}: {mode}.")


@router.post("/policies/rollback", dependencies=[Steer])
def roll_policy_back(serving: Serving, who: Who, point: Annotated[str, Form(max_length=200)], reason: Reason = "") -> Response:
    gone = steering.roll_back(point, VersionIn(reason=reason), serving, who)
    return done(f"/admin/policies?{urlencode({'point': point})}", f"{gone['version']} was taken back.")


# -------------------------------------------------------------------------------------------------------------------- jobs

WHERE = {  # the page that a job belongs to
    "training": "/admin/policies",
    "packs": "/admin/policies",
    "evolution": "/admin/strategies",
    "synthesis": "/admin/reports",
}


@router.post("/jobs/cancel", dependencies=[Steer])
def cancel(serving: Serving, who: Who, name: Annotated[str, Query(max_length=64)]) -> Response:
    job = steering.cancel(name, serving, who)
    return done(WHERE.get(job.kind, "/admin"), "It stops at its next step.")


@router.post("/jobs/{kind}", dependencies=[Steer])
async def start_job(kind: str, request: Request, serving: Serving, who: Who) -> Response:
    if kind not in WHERE:
        raise HTTPException(404, "there is no such job")
    form = {name: value for name, value in (await request.form()).items() if isinstance(value, str) and value}
    given = given_by(steering.JOBS[kind][0], **form)
    await asyncio.to_thread(steering.begin_job, serving, who, kind, given)
    return done(WHERE[kind], f"Begun: {kind}. This page says how far it is.")
