"""A/B tests judged: what the units that ended say of each, and what that moves."""

import logging
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from learning_loop.app import App
from learning_loop.experiments.ab import AbTest
from learning_loop.experiments.moves import ALL, Move, Phase, Told
from learning_loop.flows.ab_tests import (
    AGAIN,
    DRAWN,
    EVIDENCE,
    IN,
    POLICY,
    THAW,
    Experiment,
    done,
    event_of,
    experiments,
    figures,
    levels,
)
from learning_loop.flows.experience import Episode, Log, Place
from learning_loop.flows.notices import tell
from learning_loop.flows.strategies import STRATEGY, said
from learning_loop.ledger.selection import EXCLUDED
from learning_loop.records import Event, Exposed, Kind
from learning_loop.settings import STRATEGY as POINT

KEEP_EVERY = 200  # units, at most, that are read again by the next process
log = logging.getLogger("learning_loop")


def judge(app: App, *, wait_s: float = 1.0) -> list[tuple[str, Told]]:
    """Take the units that ended since the last look as evidence, and return what that moved, by test.

    One process at a time; raise WorkspaceError where another one is at it for longer than `wait_s`. What a move changes is
    committed at once with it.
    """
    if not any(test.stands for test in experiments(app).values()):
        return []
    with app.journal.alone(wait_s=wait_s):
        heard = app.ledger.last_event(STRATEGY)
        standing = [test for test in experiments(app).values() if test.stands]
        return [(test.id, told) for test in standing for told in _Look(app, test, heard).carry_out()]


class _Look:
    """One look at one test; `heard` is the place of the last that was said of any strategy when the test was read."""

    def __init__(self, app: App, test: Experiment, heard: int) -> None:
        self.app, self.test, self.heard, self.now = app, test, heard, app.clock()
        self.settings = app.settings.strategies.tests
        self.log = Log(app, POINT)
        looks = app.ledger.events(EVIDENCE, test.id, last=1)
        if looks and looks[0].data["made"] != self._made():  # by another process, or before something was changed
            looks = app.ledger.events(EVIDENCE, test.id)
        kept = next((look.data for look in reversed(looks) if look.data["made"] == self._made()), None)
        again = bool(looks) and kept is None  # another reward makes another test of it
        before = levels(experiments(app).values()) if again else {"tried": test.tried, "found": test.found}
        why = "its reward or its levels are others now: its evidence begins anew"
        self.renewed = [done(test.id, AGAIN, self.now, why, by="loop", **before)] if again else []
        self.place = int(kept["outcome"]) if kept else app.ledger.last_place() if again else test.outcome
        self.seen = set((kept or (looks[-1].data if looks else {})).get("seen", ()))
        self.fresh = kept is None
        self.ab = AbTest(
            test.control,
            test.candidates,
            self.settings,
            self.now if again else test.started_at,
            **before,
            kept=kept["test"] if kept else None,
        )
        moved = kept is not None and kept is not looks[-1].data  # by another process, that goes by other settings
        if again or (moved and (self.ab.phase, set(self.ab.alive)) != (test.phase, set(test.alive))):
            self.ab.resume(test.phase, test.winner, test.dropped)

    def _made(self) -> str:
        """Return what evidence must have in common: e-processes are bound to one reward, and to their levels."""
        return f"{self.log.version} {self.settings.level} {self.settings.harm_level} {list(self.settings.strata)}"

    def carry_out(self) -> list[Told]:
        told, read = self.ab.passes(self.now), 0
        excluded = {event.subject for event in self.app.ledger.events(EXCLUDED)}
        frozen = self.ab.frozen
        for episode, place in self.log.episodes(Place(self.place, self.app.ledger.last_credit()), unknown=True):
            if self.ab.phase is Phase.OVER:
                break
            self.place, read = place.outcome, read + 1
            if episode.record is not None and episode.record.execution.id not in excluded:
                told += self._taken(episode)
        rows = [*self.renewed, *(row for move in told for row in self._rows(move))]
        if frozen and not self.ab.frozen:
            rows.append(done(self.test.id, THAW, self.now, "no more units are missing than chance would lose", by="loop"))
        if rows or self.fresh or read >= KEEP_EVERY:
            slugs = {arm.partition("@")[0] for arm in (self.test.control, *self.test.candidates)}
            if not self.app.ledger.append_unless(STRATEGY, slugs, self.heard, *rows, self._kept()):
                return []  # a person said meanwhile what is to become of one of them: that stays so
        for move in told:
            level = logging.WARNING if move.move in (Move.FROZEN, Move.TAKEN_BACK) else logging.INFO
            log.log(
                level, "test %s of %s: %s %s: %s", self.test.id, self.test.slug, move.move.value, move.arm or "", move.reason
            )
            if move.move in (Move.PROMOTED, Move.TAKEN_BACK):
                what = "is in force" if move.move is Move.PROMOTED else "was taken back"
                text = f"{move.arm} {what}: {move.reason} ({figures(move)})"
                tell(self.app, "strategy", self.test.slug, text, test=self.test.id)
        return told

    def _taken(self, episode: Episode) -> list[Told]:
        """Take a unit, the first time it comes; nothing where it took no part."""
        record, name = episode.record, self.test.id
        drawn = [one for one in (record.decisions if record is not None else ()) if one.point == f"{DRAWN}{name}"]
        choice = next((one for one in episode.decisions if one.policy == f"{POLICY}{name}"), None)
        if record is None or not drawn or drawn[0].chosen != IN or choice is None or choice.probabilities is None:
            return []
        mark = blake2b(str(drawn[0].context.get("unit")).encode(), digest_size=6).hexdigest()
        if mark in self.seen:
            return []
        self.seen.add(mark)
        shares = dict(zip(choice.alternatives, choice.probabilities, strict=True))
        if not episode.steps:
            self.ab.miss(choice.chosen, shares)
            return []
        outcome, said_ = record.outcome, {item.metric: item.value for item in record.feedback}
        guards = self.settings.guards
        unit = Exposed(
            place=self.place,
            id=choice.id,
            kind=Kind(type=stratum(choice.context, self.settings.strata)),
            ended_at=outcome.ended_at if outcome is not None else choice.at,
            units=(ALL,),
            odds=(1.0,),
            shown=frozenset((ALL,)),
            score=100 * min(max(self.log.scaled(episode)[0].reward, 0.0), 1.0),
            success=record.success if "success" in guards else None,
            duration_s=outcome.duration_s if outcome is not None and "duration" in guards else None,
            cost_usd=outcome.cost_usd if outcome is not None and "cost" in guards else None,
            safety=said_.get("safety") if "safety" in guards else None,
        )
        return self.ab.take(unit, choice.chosen, shares, self.now)

    def _rows(self, told: Told) -> list[Event]:
        """Return what a move changes: the test, and which version of the strategy is in force."""
        found = [event_of(self.test.id, told, self.now, by="loop")]
        if told.arm is not None and told.move in (Move.PROMOTED, Move.TAKEN_BACK):
            found.append(self._moved(told, told.arm))
        return found

    def _moved(self, told: Told, arm: str) -> Event:
        slug, reason = arm.partition("@")[0], f"test {self.test.id}: {told.reason} ({figures(told)})"
        if told.move is Move.PROMOTED:
            return said(slug, "promote", arm, self.now, by="loop", reason=reason, test=self.test.id)
        if slug != self.test.slug:  # it was made of another strategy, for a part of what that is for
            return said(slug, "retire", arm, self.now, by="loop", reason=reason, test=self.test.id)
        return said(slug, "rollback", self.test.control, self.now, by="loop", reason=reason, test=self.test.id)

    def _kept(self) -> Event:
        kept = {"made": self._made(), "outcome": self.place, "seen": sorted(self.seen)}
        return Event(kind=EVIDENCE, subject=self.test.id, at=self.now, data={**kept, "test": self.ab.plain()})


def stratum(context: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return what of a context harm is looked for by, beside the whole."""
    return " ".join(str(context.get(name)) for name in names)
