"""Policies: how likely each option is to be chosen, given the context; each a file, all under one contract."""

from typing import Any

from learning_loop.errors import UsageError
from learning_loop.policies.actor_critic import ActorCritic
from learning_loop.policies.epsilon import EpsilonGreedy
from learning_loop.policies.fixed import RuleBased, Static
from learning_loop.policies.horizon import Horizon
from learning_loop.policies.imitation import Imitation
from learning_loop.policies.linucb import LinTS, LinUCB, ProbitUCB
from learning_loop.policies.reinforce import Reinforce
from learning_loop.policies.warm import WarmStart
from learning_loop.protocols import Learner, Policy

FIXED = {policy.name: policy for policy in (Static, RuleBased)}
LEARNERS = {
    policy.name: policy for policy in (EpsilonGreedy, LinUCB, LinTS, ProbitUCB, Horizon, Imitation, Reinforce, ActorCritic)
}

__all__ = ["FIXED", "LEARNERS", "WarmStart", "learner", "policy"]


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


def _made(name: str, kind: Any, settings: dict[str, Any]) -> Any:
    known = kind.__init__.__kwdefaults__ or {}
    if not set(settings) <= set(known):
        raise UsageError(f"the policy {name} cannot be set up with {', '.join(settings)}: it has {', '.join(known)}")
    try:
        return kind(**settings)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the policy {name} cannot be set up with {settings}: {error}") from None
