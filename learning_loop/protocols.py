"""Extension points: what a collaborator of ours must do, in the docstring of its protocol."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from learning_loop.records import ActionResult, Experience, TaskState

Vectors = Any  # a numpy array, float32: numpy is not imported where no vector is made


class Policy(Protocol):
    """Says how likely each option at a decision point is to be chosen. It chooses nothing: the Decider draws.

    `version` names it and how much it has learned: two of one origin and version give the same distribution.
    """

    @property
    def version(self) -> str: ...

    def distribution(self, context: Mapping[str, Any], options: Sequence[str]) -> Sequence[float]:
        """Return a weight for each option, none negative and not all zero. Pure: the same arguments give the same weights."""
        ...


class Learner(Policy, Protocol):
    """A policy that learns from what came of choices, its own or those of others. Options may appear and vanish at any time."""

    def update(self, batch: Sequence[Experience]) -> None:
        """Learn from choices in the order they were made, each given once and with all of its episode."""
        ...

    def state(self) -> dict[str, Any]:
        """Return all that was learned: numbers, texts, lists of them, and numpy arrays."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave, in place of what was learned so far."""
        ...


class Replaying(Learner, Protocol):
    """A learner that takes a step down a slope for each batch, so that choices may be given to it several times."""

    def imitate(self, batch: Sequence[Experience]) -> None:
        """Begin anew with what chose like this, and stay near it; rewards do not count."""
        ...


State = TypeVar("State")
State_contra = TypeVar("State_contra", contravariant=True)


class StateAdapter(Protocol[State]):
    """One half of what a project is driven by in episodes: it tells where the project's own state stands."""

    def project_state_to_task_state(self, state: State) -> TaskState:
        """Return what a policy may know of a state, and which actions it allows."""
        ...

    def update_states_from_action(self, state: State, action: str, result: ActionResult) -> State:
        """Return the state after an action; the same object, changed, will do."""
        ...


class Executor(Protocol[State_contra]):
    """The other half: it carries actions out with the project's own tools."""

    def execute(self, action: str, state: State_contra) -> ActionResult:
        """Do what an action says. What raises ends the episode, as it would end any work."""
        ...


class Orchestrated(Protocol):
    """What a runner may have beside being called, so that a strategy can say how its work is done; each may be left out.

    `agents` are the names of those who could do it: the work finds whom it is to take in `run.agent`.
    """

    agents: Sequence[str]

    def decompose(self, task: Any) -> Sequence[Any]:
        """Return the parts of a task, each a task of its own; none, or one, where it cannot be taken apart. Pure."""
        ...

    def combine(self, task: Any, results: Sequence[Any]) -> Any:
        """Return the result of a task from those of its parts, in their order. Without it the list of them is the result."""
        ...

    def escalate(self, task: Any, reason: str, error: BaseException) -> Any:
        """Ask a person about work that goes wrong. What is returned is taken for the result, None for no answer."""
        ...


Shape = TypeVar("Shape", bound=BaseModel)


class Spending(Protocol):
    """Counts what a question costs, whether it is answered or not: the tokens of every try are added to it."""

    input_tokens: int
    output_tokens: int
    usd: float | None


class LanguageModel(Protocol):
    """Answers a question in the shape that is asked for. What it says is a value: it proves nothing, and decides nothing.

    `identity` names provider and model. `ask` may take as long as its time-outs allow, and may be called from any thread. It
    raises LanguageModelError for whatever is no answer: refusals, what has another shape after all tries, time-outs, limits.
    """

    identity: str

    def ask(self, instructions: str, prompt: str, shape: type[Shape], spent: Spending) -> Shape:
        """Return the answer; what every try took is added to `spent`, of one that failed too."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors whose inner product says how alike they are.

    `identity` names the weights, the runtime and the dimension: two embedders with the same identity give the same
    vectors, and an index never mixes two identities. `unrelated` is the mean inner product of texts that have nothing to do
    with each other: many models put all texts into a narrow cone, where .7 says nothing.

    Both methods are deterministic, may be called from any thread, and raise ModelError where the model cannot be used. Any
    text is taken, the empty one too; what is longer than the model reads is cut.
    """

    identity: str
    dimension: int
    unrelated: float

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts that are to be found, of unit length, as (len(texts), dimension)."""
        ...

    def embed_query(self, text: str) -> Vectors:
        """Return the vector of what is looked for, of unit length, as (dimension,)."""
        ...
