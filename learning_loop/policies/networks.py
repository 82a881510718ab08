"""Small networks: served by numpy, trained by torch, which is loaded when there is something to train."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from learning_loop.errors import PolicyError

Floats = NDArray[np.float64]
Loss = Callable[[Sequence[Any], Mapping[str, Any]], Any]


class Network:
    """Layers of weights, (inputs, outputs), and biases, with rectifiers between them; inputs and outputs may be added.

    With each array stand the two moments that Adam keeps of its slopes.
    """

    def __init__(self, arrays: Sequence[Floats], moments: Sequence[tuple[Floats, Floats]], steps: int) -> None:
        self.arrays, self.moments, self.steps = list(arrays), list(moments), steps

    @classmethod
    def made(cls, sizes: Sequence[int], rng: np.random.Generator) -> Self:
        """Return a new network: K. He et al., Delving deep into rectifiers, ICCV 2015; its last layer gives 0 for all."""
        arrays: list[Floats] = []
        for number, (inputs, outputs) in enumerate(pairwise(sizes), 2):
            scale = 0.0 if number == len(sizes) else np.sqrt(2 / max(inputs, 1))
            arrays += [scale * rng.standard_normal((inputs, outputs)), np.zeros(outputs)]
        return cls(arrays, [(np.zeros_like(array), np.zeros_like(array)) for array in arrays], 0)

    def __call__(self, x: Floats) -> Floats:
        """Return what it says of inputs, (rows, inputs), as (rows, outputs)."""
        return forward(self.arrays, x, lambda values: np.maximum(values, 0.0))  # type: ignore[no-any-return]

    def widen(self, inputs: int, outputs: int, rng: np.random.Generator) -> None:
        """Make room for more inputs, which begin with weights like the first ones had, and outputs, which begin at 0."""
        self._pad(0, (inputs - self.arrays[0].shape[0], 0))
        self._pad(-2, (0, outputs - self.arrays[-2].shape[1]))
        self._pad(-1, (outputs - self.arrays[-1].shape[0],))
        untrained = (self.arrays[0] == 0).all(axis=1)
        scale = np.sqrt(2 / max(inputs, 1))
        self.arrays[0][untrained] = scale * rng.standard_normal((int(untrained.sum()), self.arrays[0].shape[1]))

    def _pad(self, place: int, more: tuple[int, ...]) -> None:
        room = [(0, size) for size in more]
        self.arrays[place] = np.pad(self.arrays[place], room)
        first, second = self.moments[place]
        self.moments[place] = np.pad(first, room), np.pad(second, room)

    def state(self) -> dict[str, Any]:
        return {
            "arrays": [array.copy() for array in self.arrays],
            "first": [first.copy() for first, _ in self.moments],
            "second": [second.copy() for _, second in self.moments],
            "steps": self.steps,
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        arrays, first, second = ([np.array(each) for each in state[name]] for name in ("arrays", "first", "second"))
        return cls(arrays, list(zip(first, second, strict=True)), int(state["steps"]))


def forward(arrays: Sequence[Any], x: Any, rectified: Callable[[Any], Any]) -> Any:
    """Return what layers say of inputs; of numpy's arrays or torch's, as given."""
    last = len(arrays) - 2
    for place in range(0, len(arrays), 2):
        x = x @ arrays[place] + arrays[place + 1]
        x = x if place == last else rectified(x)
    return x


def train(
    networks: Sequence[Network],
    loss: Loss,
    data: Mapping[str, NDArray[Any]],
    batches: Sequence[Any],
    *,
    rate: float,
    clip: float,
) -> None:
    """Take a step of Adam for each batch of rows: D. P. Kingma & J. Ba, ICLR 2015; slopes are cut to the length `clip`.

    `loss` gets what each network says of `data["x"]`, and the rows of `data` as tensors; a rate of 0 changes nothing. Raise
    PolicyError where there is no torch.
    """
    try:
        import torch
    except ImportError:
        raise PolicyError("training a network takes torch: `pip install torch`, or use reinforce, which takes none") from None

    leaves = [[torch.from_numpy(array.copy()).requires_grad_() for array in network.arrays] for network in networks]
    every = [leaf for own in leaves for leaf in own]
    adam = torch.optim.Adam(every, lr=rate)
    for network, own in zip(networks, leaves, strict=True):
        for leaf, (first, second) in zip(own, network.moments, strict=True):
            kept = {"exp_avg": torch.from_numpy(first.copy()), "exp_avg_sq": torch.from_numpy(second.copy())}
            adam.state[leaf] = {"step": torch.tensor(float(network.steps)), **kept}
    tensors = {name: torch.from_numpy(array) for name, array in data.items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # these are small: several threads would wait for each other
    try:
        for rows in batches:
            part = {name: tensor[torch.from_numpy(rows)] for name, tensor in tensors.items()}
            adam.zero_grad()
            loss([forward(own, part["x"], torch.relu) for own in leaves], part).backward()
            torch.nn.utils.clip_grad_norm_(every, clip)
            adam.step()
    finally:
        torch.set_num_threads(threads)
    for network, own in zip(networks, leaves, strict=True):
        network.arrays = [leaf.detach().numpy() for leaf in own]
        network.moments = [(adam.state[leaf]["exp_avg"].numpy(), adam.state[leaf]["exp_avg_sq"].numpy()) for leaf in own]
        network.steps += len(batches)
