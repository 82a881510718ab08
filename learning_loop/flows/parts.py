"""An open workspace with what the loop drives: what a run asks for, and what is done in the background."""

import time
from collections.abc import Iterable
from dataclasses import replace

from learning_loop.app import App
from learning_loop.flows.choosing import Chooser
from learning_loop.flows.exposure import expose
from learning_loop.flows.forget import forget_expired
from learning_loop.flows.git import GitWatch
from learning_loop.flows.guard import Guard
from learning_loop.flows.history import Histories
from learning_loop.flows.indexing import UPKEEP_RUNS, Indexing, indexed_together
from learning_loop.flows.points import Points
from learning_loop.flows.query import LearningQueryInterface
from learning_loop.flows.reflect import Reflector
from learning_loop.flows.rules import Applied, RuleBook
from learning_loop.flows.run import Run
from learning_loop.records import Briefing, Kind, Task
from learning_loop.rules import Rule

JUDGE_S = 20.0  # how far the gate may lag behind the runs
UPKEEP_S, BUSY_UPKEEP_S = 1.0, 10.0  # how far the index may lag behind; a query brings it up to date first


class Parts:
    """An open workspace, and what stays open with it."""

    def __init__(self, app: App, guard: Guard) -> None:
        self.app = app
        self.guard = guard
        self.learns = app.settings.mode != "disabled"
        self.histories = Histories(app)
        self.indexing = Indexing(app)
        self.query = LearningQueryInterface(app, self.histories, self.indexing)
        self.reflector = Reflector(app)
        self.git = GitWatch(app)
        self.rules = RuleBook(app)
        self.points = Points(app)
        self.chooser = Chooser(app, self.points)
        self._watched: set[Kind] = set()
        self._seen: set[Kind] = set()
        self._watched_at = -UPKEEP_S
        self._judged_at = -JUDGE_S
        self._kept_up_at, self._runs = -UPKEEP_S, 0
        self.keep_up()
        app.later("retention", lambda: forget_expired(app))

    def brief(self, task: Task, warnings: list[str]) -> Briefing:
        """Recall, on the path of a run: from the index as it stands; what cannot be rendered is empty."""
        found = self.query.get_similar_executions(task, fresh=False)
        render = found.render
        if render is None:
            return found
        return replace(found, render=lambda briefing: self.guard.attempt("briefing", warnings, lambda: render(briefing), ""))

    def expose(self, run: Run, *, sets: bool) -> tuple[Briefing, Applied]:
        """Draw what a run is shown; a rule that only sets is nothing to work that cannot see it."""
        rules = [rule for rule in self.rules.eligible(run.task) if sets or not rule.then.only_sets]
        briefing = run.briefing if run.briefing.render else replace(run.briefing, render=self.query.render)

        def odds(rule: Rule) -> float:
            return self.rules.odds(rule, run.task)

        return expose(self.app, run.task, run.id, briefing, rules, odds, visible=sets)

    def after_fork(self) -> None:
        self.histories.after_fork()
        self.indexing.after_fork()
        self.rules.after_fork()
        self.points.after_fork()
        self.chooser.after_fork()
        self.git = GitWatch(self.app)

    def learn_on(self) -> None:
        """Learn what choices are worth, in the background, now and then."""
        if self.learns:
            self.points.watch()
            self.chooser.watch()

    def watch(self, kinds: Iterable[Kind]) -> None:
        """Look for anti-patterns in kinds of task, in the background: once a second at most, less often for quick runs."""
        self._watched.update(kinds)
        waited = time.monotonic() - self._watched_at
        if self.learns and self._watched and waited >= (UPKEEP_S if self._runs <= UPKEEP_RUNS else BUSY_UPKEEP_S):
            self._watched_at = time.monotonic()
            self.app.later("alerts", self.look)
            if time.monotonic() - self._judged_at >= JUDGE_S:
                self.app.later("gate", self.judge)
                self.app.later("anomalies", self.look_back)

    def finish_watching(self) -> None:
        if self.learns:
            self.points.finish()
            self.chooser.finish()
        if self.learns and self._watched:
            self.app.later("alerts", self.look)
            self.app.later("gate", self.judge)
            self.app.later("anomalies", self.look_back)

    def judge(self) -> None:
        """Take the runs since the last look as evidence about the rules, where there are any."""
        self._judged_at = time.monotonic()
        if self.rules.in_force():
            from learning_loop.flows.judging import judge

            judge(self.app, wait_s=1.0)

    def look(self) -> None:
        """Open and close the alerts of the kinds that ran since the last look."""
        from learning_loop.flows.alerts import check_alerts, write_alert

        kinds, self._watched = self._watched, set()
        with indexed_together(self.app):
            for alert in check_alerts(self.app, kinds):
                write_alert(self.app, alert)
        self._seen |= kinds

    def look_back(self) -> None:
        """Open and close what takes many runs to tell, now and then: kinds that have become worse, and learning that stalls."""
        from learning_loop.flows.alerts import check_anomalies, check_learning, write_alert

        kinds, self._seen = self._seen, set()
        with indexed_together(self.app):
            for alert in (*check_anomalies(self.app, kinds), *check_learning(self.app)):
                write_alert(self.app, alert)

    def follow(self, kinds: Iterable[Kind]) -> None:
        """Do for runs that others recorded what is done for one's own, now and then, also where there are none.

        Their notes come in bursts, and each change of the index has every recall look anew: so all are taken in together.
        """
        self.indexing.at_once = False
        self.watch(kinds)
        self.keep_up()

    def keep_up(self, *, ready: bool = False) -> None:
        """Do what may wait in the background: take notes edited by hand and ended runs into the index.

        Once a second; where runs follow so quickly that they would feel it, less often. Where another process does it, be but
        `ready` to answer, and leave to that one what changes.
        """
        if ready:
            self.indexing.at_once = False
        self._runs += 1
        waited = time.monotonic() - self._kept_up_at
        if waited >= (UPKEEP_S if self._runs <= UPKEEP_RUNS else BUSY_UPKEEP_S):
            self._kept_up_at, self._runs = time.monotonic(), 0
            self.app.later("upkeep", self.indexing.be_ready if ready else self.indexing.upkeep)
