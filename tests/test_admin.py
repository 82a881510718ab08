"""The pages in a real browser: every page and every control, as people use them, at a desk and on a phone, light and dark."""

import os
import random
import re
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Response, Route, expect, sync_playwright

from learning_loop import LearningOrchestrator
from learning_loop.app import App
from learning_loop.dashboard.views import ramps
from learning_loop.flows.ab_tests import start
from learning_loop.flows.alerts import Alert, write_alert
from learning_loop.flows.ramps import judge
from learning_loop.flows.strategies import load
from learning_loop.flows.tokens import create_token
from learning_loop.records import Kind
from learning_loop.workspace import Workspace
from tests.conftest import WORDS_ONLY, SteppingClock
from tests.serving import Server, serving

CHROMIUM = os.environ.get("LEARNING_LOOP_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install it, or name one in LEARNING_LOOP_CHROMIUM")
expect.set_options(timeout=20_000)  # a machine that has much else to do is slow, not wrong
PAGES = ("", "/runs", "/memory", "/rules", "/experiments", "/policies", "/strategies", "/reports", "/alerts", "/settings")
RULE = """---
kind: rule
title: {title}
when: parameter.size = big
then: {{set: {{workers: 4}}}}
status: trial
---
Big ones take four workers.
"""


class Runner:
    def __init__(self) -> None:
        self._rng = random.Random(1)

    def __call__(self, task: Any, run: Any) -> Any:
        model = run.decide("model", ["small", "large"])
        big = task["parameters"]["size"] == "big"
        if big and model == "small" and self._rng.random() < 0.7:
            raise TimeoutError("no answer within 30 s")
        run.discovery("the cache was cold")
        return {"success": True}


def filled(root: Path) -> Workspace:
    """Return a workspace with some of everything: runs of three weeks, rules, a test, an alert, a report, packs."""
    workspace, _ = Workspace.init(root)
    for number in range(2):
        (workspace.memory / "rules" / f"big-{number}.md").write_text(RULE.format(title=f"Workers {number}"), encoding="utf-8")
    points = "model: {learner: probit, reward: orchestra, explore: 0.2}, effort: {mode: ab_test, explore: 0.4}"
    (workspace.config / "policies.yaml").write_text(f"policies: {{points: {{{points}}}}}\n", encoding="utf-8")
    rng, clock = random.Random(2), SteppingClock(step=timedelta(minutes=15))
    with LearningOrchestrator(Runner(), workspace=root, environ=WORDS_ONLY, clock=clock, rng=random.Random(3)) as loop:
        for number in range(110):
            task = {"id": f"build-{number}", "type": "build", "component": rng.choice(["wheel", "docs"]), "agent": "ci"}
            try:
                loop.execute_with_learning({**task, "parameters": {"size": rng.choice(["big", "small"])}})
            except TimeoutError:
                continue
        for number in range(2_000):  # more effort earns more: what learns that is on its way to more units
            choice = loop.decide({}, ["low", "high"], point="effort", unit=f"u{number}")
            loop.reward(choice, float(choice.chosen == "high"))
            if number % 50 == 49:
                loop.learn()
            if number % 50 == 49 and number > 390:  # from then on the log can say what it would have earned
                judge(loop.app, "effort")
                if ramps(loop.app)["ramps"]:
                    break
        for week in ("2026-W10", "2026-W11"):
            loop.weekly_learning_synthesis(week)
        app = loop.app
        direct, versions = workspace.config / "strategies" / "direct.yaml", []
        for attempts in (1, 2, 3):
            text = direct.read_text(encoding="utf-8")
            direct.write_text(re.sub(r"max_attempts: \d", f"max_attempts: {attempts}", text), encoding="utf-8")
            versions += [version.id for version in load(app).versions if version.strategy.slug == "direct"]
        assert len(set(versions)) == 3
        start(app, versions[2], [versions[1]], by="person", reason="to see")
        now = app.clock()
        for name in ("one", "two"):
            write_alert(
                app,
                Alert(
                    id=f"a-{name}", key=f"odd:{name}", sort="low_scores", title=f"odd {name}", text="it is odd", by="loop",
                    state="open", advice="look at it", kind=Kind(type="odd"), opened_at=now, changed_at=now, executions=(),
                    note=None,
                ),
            )  # fmt: skip
    return workspace


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("admin") / "w").root


@pytest.fixture(scope="module")
def server(history: Path) -> Iterator[Server]:
    with serving(history) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Complaints(list[str]):
    """What a browser had to say against a page: errors of scripts, of the console, of the policy on content."""

    def watch(self, context: BrowserContext) -> Page:
        page = context.new_page()
        page.on("console", lambda said: self.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        return page


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    complaints = Complaints()
    with browser.new_context(base_url=server.address, viewport={"width": 1280, "height": 860}) as context:
        yield complaints.watch(context)
    assert [said for said in complaints if not re.search(r"40[49] \(", said)] == []  # what is refused is answered with a page


def press(page: Page, what: str | Locator) -> None:
    """Click what leads to a page, and wait until that page is there: what is read next is read of it."""
    with page.expect_navigation():
        (page.locator(what) if isinstance(what, str) else what).click()


def said(page: Page, text: str) -> None:
    expect(page.locator("p.said").first).to_contain_text(text)


# --------------------------------------------------------------------------------------------------------------- every page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 860), (390, 844)], ids=["desk", "phone"])
def test_every_page_is_sound(browser: Browser, server: Server, scheme: Any, size: tuple[int, int]) -> None:
    complaints, axe = Complaints(), Axe()
    view = {"width": size[0], "height": size[1]}
    with browser.new_context(base_url=server.address, color_scheme=scheme, viewport=view) as context:  # type: ignore[arg-type]
        page = complaints.watch(context)
        for path in [*PAGES, *_others(page)]:
            answer = page.goto(f"/admin{path}")
            assert answer is not None
            assert answer.status == 200, path
            for figure in page.locator("figure[data-chart]").all():
                expect(figure.locator("canvas").first).to_be_attached()
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0], path
            found = [one for one in axe.run(page).response["violations"] if one["impact"] in ("serious", "critical")]
            assert found == [], (path, [(one["id"], one["nodes"][0]["target"]) for one in found])
    assert complaints == []


def _others(page: Page) -> list[str]:
    """Return the pages that are about one thing, one of each kind."""
    found = []
    links = {"/runs": "runs/2", "/memory": "memory/note/", "/experiments": "experiments/2", "/strategies": "strategies/d"}
    for path, link in {**links, "/reports": "reports/2"}.items():
        page.goto(f"/admin{path}")
        address = page.locator(f"main a[href*='/admin/{link}']").first.get_attribute("href")
        found.append(str(address).removeprefix("/admin"))
    return [*found, f"{found[1]}?edit=1", "/rules?retired=true", "/alerts?resolved=true", "/memory?q=what+failed+last+time"]


def test_it_can_be_used_by_keyboard_alone(page: Page) -> None:
    page.goto("/admin")
    page.keyboard.press("Tab")
    expect(page.locator(".skip").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#content$"))
    page.goto("/admin/runs")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "search":
            break
    page.keyboard.type("wheel")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("search=wheel"))


def test_light_or_dark_is_remembered(page: Page) -> None:
    page.goto("/admin")
    page.click("[data-theme-switch]")
    chosen = page.evaluate("document.documentElement.dataset.theme")
    page.goto("/admin/runs")
    assert page.evaluate("document.documentElement.dataset.theme") == chosen


# --------------------------------------------------------------------------------------------------------------------- runs


def test_runs_are_filtered_sorted_paged_and_exported(page: Page) -> None:
    page.goto("/admin/runs?limit=50")
    assert page.locator("#rows tbody tr").count() == 50
    first = page.locator("#rows tbody tr").first.inner_text()
    press(page, "text=Next page")
    expect(page.locator("#rows caption")).to_contain_text("after an earlier page")
    assert page.locator("#rows tbody tr").first.inner_text() != first
    page.goto("/admin/runs")
    page.fill("input[name=search]", "docs")
    page.select_option("select[name=status]", "failed")
    press(page, "button.main")
    address = page.url
    rows = page.locator("#rows tbody tr").all_inner_texts()
    assert rows
    assert all("docs" in row and "failed" in row for row in rows)
    page.goto("/admin")
    page.goto(address)  # it can be shared
    assert page.locator("#rows tbody tr").all_inner_texts() == rows
    press(page, "th >> text=took")
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("took")
    for kind in ("CSV", "JSON"):
        with page.expect_download() as download:
            page.click(f"a.button:text-is('{kind}')")
        text = Path(download.value.path()).read_text(encoding="utf-8")
        assert text.count("docs") >= len(rows)
        assert "wheel" not in text


def test_a_run_is_shown_rated_and_excluded(page: Page) -> None:
    page.goto("/admin/runs?status=failed")
    press(page, page.locator("#rows tbody a").first)
    for step in ("Recall", "Decide", "Capture before", "Run", "Capture after", "Score", "Reflect", "Learn"):
        expect(page.locator("ol.steps")).to_contain_text(step)
    expect(page.locator("ol.steps")).to_contain_text("model")
    expect(page.locator("ol.steps")).to_contain_text("no answer within 30 s")
    expect(page.locator("ol.steps")).to_contain_text("the mean of what is known, by weight")
    page.fill("input[name=value]", "true")
    press(page, "button:text-is('Add')")
    said(page, "success = true")
    expect(page.locator(".figure").nth(2)).to_have_text("yes")
    page.fill("input[name=reason]", "a broken cable")
    press(page, "button:text-is('Exclude')")
    said(page, "excluded")
    expect(page.locator(".lead")).to_contain_text("excluded from all evidence")


def test_pages_follow_a_run_while_it_goes_on(page: Page, server: Server) -> None:
    with server.client() as client:
        page.goto("/admin/runs?search=watched")
        expect(page.locator(".live")).to_have_attribute("data-state", "live")
        page.fill("input[name=search]", "typed meanwhile")
        began = client.post("/api/v1/tasks", json={"id": "watched", "type": "build"}).json()["execution_id"]
        expect(page.locator("#rows")).to_contain_text("running")
        client.post(f"/api/v1/executions/{began}/finish", json={"success": True})
        expect(page.locator("#rows")).to_contain_text("succeeded")
        assert page.input_value("input[name=search]") == "typed meanwhile"
        page.goto(f"/admin/runs/{began}")
        client.post(f"/api/v1/executions/{began}/feedback", json={"metric": "satisfaction", "value": 4})
        expect(page.locator("ol.steps")).to_contain_text("satisfaction")


# ------------------------------------------------------------------------------------------------------------------- memory


def test_memory_answers_and_notes_are_written_and_read(page: Page) -> None:
    page.goto("/admin/memory")
    page.fill("input[name=q]", "what failed last time we tried the wheel?")
    press(page, "button:text-is('Ask')")
    expect(page.locator("main ol")).to_contain_text("rests on")
    page.fill("input[name=title]", "Beware of cold caches")
    press(page, "button:text-is('Write')")
    page.locator("textarea").press("Control+End")
    page.locator("textarea").type("They make the first run slow.")
    press(page, "button:text-is('Save')")
    said(page, "It is yours")
    expect(page.locator(".prose")).to_contain_text("They make the first run slow.")
    page.goto("/admin/memory?search=cold+caches&kind=lesson")
    assert page.locator("#notes tbody tr").count() == 1


def test_what_comes_between_a_page_and_its_events_is_shown(page: Page, server: Server) -> None:
    def late(route: Route) -> None:
        with server.client() as client:
            client.post("/api/v1/tasks", json={"id": "came-between"})
        time.sleep(2)  # until all that follows from it is on record, too
        route.continue_()

    page.route("**/api/v1/events", late)
    page.goto("/admin/runs")
    expect(page.locator("#rows")).to_contain_text("came-between")


def test_a_note_that_is_edited_on_disk_is_shown_as_it_is(page: Page, server: Server) -> None:
    file = server.root / "memory" / "long-term" / "live.md"
    front = "---\nkind: lesson\nscope: {2026-11-01: build}\ntags: [one, two]\nsince: 2026-11-01\n---\n"
    file.write_text(f"{front}# Live\n\nas it was\n", encoding="utf-8")
    page.goto("/admin/memory/note/memory/long-term/live.md")
    for text in ("build", "one, two", "2026-11-01", "as it was"):
        expect(page.locator("#note")).to_contain_text(text)
    expect(page.locator(".live")).to_have_attribute("data-state", "live")
    file.write_text(f"{front}# Live\n\nas it is\n", encoding="utf-8")
    expect(page.locator("#note")).to_contain_text("as it is")


def test_two_people_who_edit_a_note_lose_nothing(page: Page, browser: Browser, server: Server) -> None:
    path = "/admin/memory/note/memory/working-memory/shared.md"
    (server.root / "memory" / "working-memory" / "shared.md").write_text("# Shared\n\nfirst\n", encoding="utf-8")
    page.goto(f"{path}?edit=1")
    with browser.new_context(base_url=server.address) as context:
        other = context.new_page()
        other.goto(f"{path}?edit=1")
        other.fill("textarea", "# Shared\n\ntheirs\n")
        press(other, "button:text-is('Save')")
        said(other, "Saved")
    page.fill("textarea", "# Shared\n\nmine\n")
    press(page, "button:text-is('Save')")
    expect(page.locator("[role=alert]")).to_contain_text("Not saved")
    expect(page.locator("#theirs")).to_contain_text("theirs")
    assert "mine" in page.input_value("textarea")
    page.fill("textarea", "# Shared\n\ntheirs and mine\n")
    press(page, "button:text-is('Save')")
    said(page, "Saved")
    page.locator("details.diff summary").first.click()
    expect(page.locator("details.diff pre").first).to_contain_text("theirs and mine")


# ----------------------------------------------------------------------------------------------------------- the switches


def test_rules_are_approved_pinned_rejected_and_rolled_back(page: Page) -> None:
    page.goto("/admin/rules")
    card = page.locator("section.card", has=page.locator("h2:has-text('Workers 0')"))
    press(page, card.get_by_role("button", name="Approve"))
    said(page, "active")
    press(page, card.get_by_role("button", name="Pin", exact=True))
    said(page, "pinned")
    press(page, card.get_by_role("button", name="Unpin"))
    card.locator("details summary").click()
    expect(card.locator("details")).to_contain_text("local said so")
    card.get_by_label("Reason").fill("it was for the old machines")
    card.get_by_label("Reason").press("Enter")
    expect(card.get_by_role("button", name="Reject")).to_be_visible()  # Enter alone decides nothing
    press(page, card.get_by_role("button", name="Reject"))
    said(page, "rejected")
    page.goto("/admin/rules?retired=true")
    expect(page.locator("#rules")).to_contain_text("it was for the old machines")
    press(page, "button:text-is('Roll back')")
    said(page, "as they were after 2026-W11")


def test_choices_outside_of_runs_are_shown_as_those_of_runs_are(page: Page) -> None:
    page.goto("/admin/policies?point=effort")
    expect(page.locator("#points")).to_contain_text(re.compile(r"by its newest \d+ runs and choices"))
    expect(page.locator("#points canvas").first).to_be_attached()


def test_a_test_is_looked_at_stopped_and_another_begun(page: Page) -> None:
    page.goto("/admin/experiments")
    expect(page.locator("#ramps").get_by_role("row", name="effort live")).to_contain_text(re.compile(r"\d of 4"))
    expect(page.locator("#ramps canvas").first).to_be_attached()
    press(page, page.locator("#tests a").first)
    expect(page.locator("h1")).to_contain_text("direct")
    page.fill("input[name=reason]", "seen enough of it")
    press(page, "button:text-is('Stop')")
    said(page, "The test is over")
    expect(page.locator("#test")).to_contain_text("seen enough of it")
    page.goto("/admin/experiments")
    version = page.locator("#versions option[value^='direct']").first.get_attribute("value")
    page.fill("input[name=versions]", str(version))
    press(page, "button:text-is('Begin')")
    said(page, "The test has begun")
    page.goto("/admin/experiments")
    page.fill("input[name=versions]", "nonesuch")
    press(page, "button:text-is('Begin')")
    expect(page.locator("[role=alert]")).to_contain_text("nonesuch")


def test_packs_are_run_a_policy_trained_and_a_mode_set(page: Page) -> None:
    page.goto("/admin/policies?point=model")
    expect(page.locator("#points")).to_contain_text("What is taken in which state")
    page.fill("input[name=runs]", "120")
    page.fill("input[name=explore]", "0.15")
    press(page, "button:text-is('Run packs')")
    said(page, "Begun: packs")
    expect(page.locator("#points")).to_contain_text("done", timeout=120_000)
    page.goto("/admin/policies?point=harbor")
    for name in ("Reward over time", "Steps a run", "Rule against learned", "Who chose"):
        expect(page.locator("#points")).to_contain_text(name)
    page.fill("input[name=epochs]", "1")
    press(page, "button:has-text('Train harbor')")
    expect(page.locator("#points")).to_contain_text("runs used", timeout=120_000)
    expect(page.locator("section.card:has-text('Training history') td.id").first).to_contain_text("a2c", timeout=120_000)
    page.select_option("select[name=mode] >> nth=0", "disabled")
    press(page, "button:text-is('Set')")
    said(page, "harbor: disabled")
    page.select_option("select[name=mode] >> nth=0", "production")
    press(page, "button:text-is('Set')")
    expect(page.locator("[role=alert]")).to_contain_text("has not shown")
    page.goto("/admin/policies?point=harbor")
    page.select_option("select[name=mode] >> nth=0", "shadow")
    press(page, "button:text-is('Set')")
    press(page, page.locator("button:has-text('back')").last)
    said(page, "was taken back")


def test_a_refusal_is_as_live_as_the_page_it_came_from(page: Page, server: Server) -> None:
    page.goto("/admin/policies?point=model")
    page.select_option("select[name=mode] >> nth=0", "production")
    press(page, "button:text-is('Set')")
    expect(page.locator("[role=alert]")).to_contain_text("has not shown")
    expect(page.locator(".live")).to_have_attribute("data-state", "live")
    answers = list[Response]()
    page.on("response", lambda answer: answers.append(answer) if "x-live" in answer.request.headers else None)
    with server.client() as client:
        for _ in range(100):
            client.post("/api/v1/tasks", json={"id": "meanwhile"})
            page.wait_for_timeout(200)
            if answers:
                break
    assert [(answer.status, answer.url) for answer in answers] == [(200, f"{server.address}/admin/policies?point=model")]
    expect(page.locator("nav a[aria-current]")).to_have_text("Policies")


def test_what_a_person_is_at_stays_while_a_page_is_renewed(page: Page, server: Server) -> None:
    with server.client() as client:
        run = client.post("/api/v1/tasks", json={"id": "beside"}).json()["execution_id"]

        def opened() -> None:
            page.goto("/admin/policies?point=model")
            expect(page.locator(".live")).to_have_attribute("data-state", "live")

        def renewed(point: str) -> None:
            with page.expect_response(lambda answer: "x-live" in answer.request.headers):
                client.post(f"/api/v1/executions/{run}/decisions", json={"point": point, "options": ["a", "b"]})
            page.wait_for_timeout(500)

        opened()
        page.select_option("select[name=pack]", index=1)
        chosen = page.input_value("select[name=pack]")
        page.click("h1")
        renewed("beside-one")
        assert page.input_value("select[name=pack]") == chosen
        opened()
        page.hover("#points a:text-is('model')")
        page.mouse.down()
        renewed("beside-two")
        with page.expect_navigation():  # what is pressed is still there when it is let go of
            page.mouse.up()
        expect(page.locator("#points")).to_contain_text("beside-two")


def test_a_job_is_cancelled(page: Page) -> None:
    page.goto("/admin/policies")
    page.fill("input[name=runs]", "9000")
    press(page, "button:text-is('Run packs')")
    press(page, page.locator("button:text-is('Cancel')"))
    expect(page.locator("#points")).to_contain_text("cancelled", timeout=30_000)


def test_strategies_are_retired_revived_and_let_evolve(page: Page) -> None:
    page.goto("/admin/strategies/step-by-step")
    press(page, "button:text-is('Retire')")
    said(page, "retired")
    press(page, "button:text-is('Revive')")
    said(page, "is in force")
    press(page, "button:text-is('Let it evolve')")
    said(page, "Begun: ")
    expect(page.locator("#strategies")).to_contain_text("evolution")


def test_reports_are_read_and_a_week_learned_from(page: Page) -> None:
    page.goto("/admin/reports")
    press(page, page.locator("#reports a:has-text('2026-W11')"))
    expect(page.locator("article h1").first).to_contain_text("2026-W11")
    expect(page.locator("article")).not_to_contain_text("<a id")
    leads = page.locator("article a[href^='#run-']")
    assert leads.count()
    for link in leads.all():
        expect(page.locator(f"[id='{(link.get_attribute('href') or '')[1:]}']")).to_be_attached()
    chart = page.locator("article img").first
    assert page.evaluate("image => image.decode().then(() => image.naturalWidth)", chart.element_handle()) > 100
    run = page.locator("article td a[href^='/admin/runs/']").first
    name = run.inner_text()
    press(page, run)
    expect(page.locator("#run")).to_contain_text(name)
    page.goto("/admin/reports")
    page.fill("input[name=week]", "2026-W10")
    press(page, "button:text-is('Learn now')")
    said(page, "Begun: ")
    expect(page.locator("#reports")).to_contain_text("done", timeout=120_000)


def test_alerts_are_seen_to(page: Page) -> None:
    page.goto("/admin/alerts")
    card = page.locator("section.card", has=page.locator("h2:has-text('odd one')"))
    press(page, card.get_by_role("button", name="I look at it"))
    said(page, "acknowledged")
    press(page, card.get_by_role("button", name="It is over"))
    said(page, "resolved")
    expect(page.locator("#alerts")).not_to_contain_text("odd one")
    press(page, "text=Those resolved, too")
    expect(page.locator("#alerts")).to_contain_text("odd one")


def test_settings_say_where_they_come_from_and_who_changed_what(page: Page) -> None:
    page.goto("/admin/settings")
    expect(page.locator("main")).to_contain_text("config/policies.yaml")
    expect(page.locator("#audit")).to_contain_text("local")


# --------------------------------------------------------------------------------------------------------------- logging in


def test_people_log_in_and_may_what_their_token_may(browser: Browser, tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    with App.open(workspace, environ=WORDS_ONLY) as app:
        _, token = create_token(app, "reader", ["read"], days=1)
    with serving(workspace.root) as server, browser.new_context(base_url=server.address) as context:
        page = context.new_page()
        page.goto("/admin/runs")
        page.fill("#token", "wrong")
        press(page, "button:text-is('Log in')")
        expect(page.locator("[role=alert]")).to_contain_text("not known")
        page.fill("#token", token)
        press(page, "button:text-is('Log in')")
        page.goto("/admin/runs")
        expect(page.locator("h1")).to_have_text("Runs")
        expect(page.locator(".live")).to_have_attribute("data-state", "live")
        page.goto("/admin/strategies/direct")
        page.on("dialog", lambda dialog: dialog.accept())
        press(page, "button:text-is('Retire')")
        expect(page.locator("[role=alert]")).to_contain_text("scope steer")
        page.goto("/admin")
        press(page, "text=Log reader out")
        expect(page.locator("h1")).to_have_text("learning_loop")


def test_nothing_evil_runs(browser: Browser, tmp_path: Path) -> None:
    evil = "<img src=x onerror=window.hit=1><script>window.hit=2</script>"
    workspace, _ = Workspace.init(tmp_path / "w")
    (workspace.memory / "working-memory" / "evil.md").write_text(f"# {evil}\n\n{evil}\n", encoding="utf-8")
    with serving(workspace.root) as server, server.client() as client, browser.new_context(base_url=server.address) as context:
        begun = client.post("/api/v1/tasks", json={"id": evil, "type": evil, "parameters": {evil: evil}}).json()
        client.post(f"/api/v1/executions/{begun['execution_id']}/finish", json={"error": {"type": evil, "message": evil}})
        page = context.new_page()
        for path in (*PAGES, f"/runs/{begun['execution_id']}", "/memory/note/memory/working-memory/evil.md"):
            page.goto(f"/admin{path}")
            time.sleep(0.2)
            assert page.evaluate("window.hit") is None, path
