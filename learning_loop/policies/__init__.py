"""Policies: how likely each option is to be chosen, given the context; each a file, all under one contract."""

from importlib import import_module
from typing import Any

from learning_loop.errors import UsageError
from learning_loop.protocols import Learner, Policy

FIXED = {"static": "fixed.Static", "rules": "fixed.RuleBased"}
BANDITS = {
    "epsilon": "epsilon.EpsilonGreedy",
    "linucb": "linucb.LinUCB",
    "lints": "linucb.LinTS",
    "probit": "linucb.ProbitUCB",
    "horizon": "horizon.Horizon",
}  # learn from each choice as it comes
STEPWISE = {"reinforce": "reinforce.Reinforce", "a2c": "actor_critic.ActorCritic"}  # a step down a slope for each batch
LEARNERS = {**BANDITS, "imitation": "imitation.Imitation", **STEPWISE}


def policy(name: str, **settings: Any) -> Policy:
    """Return a policy by its name, with settings of its own; raise UsageError."""
    if name in FIXED:
        fixed: Policy = _made(name, FIXED[name], settings)
        return fixed
    return learner(name, **settings)


def learner(name: str, **settings: Any) -> Learner:
    """Return a policy that learns by its name, with settings of its own; raise UsageError."""
    if name not in LEARNERS:
        raise UsageError(f"there is no policy {name!r}: use one of {', '.join(LEARNERS)}")
    found: Learner = _made(name, LEARNERS[name], settings)
    return found


def _made(name: str, where: str, settings: dict[str, Any]) -> Any:
    module, _, attribute = where.partition(".")
    kind = getattr(import_module(f"learning_loop.policies.{module}"), attribute)
    known = kind.__init__.__kwdefaults__ or {}
    if not set(settings) <= set(known):
        raise UsageError(f"the policy {name} cannot be set up with {', '.join(settings)}: it has {', '.join(known)}")
    try:
        return kind(**settings)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the policy {name} cannot be set up with {settings}: {error}") from None
