"""The double: an embedder of a few lines that needs no model, for tests."""

import re
from collections.abc import Sequence
from hashlib import blake2b

from learning_loop.protocols import Vectors

_WORD = re.compile(r"\w+")


class HashingEmbedder:
    """Adds up a pseudo-random direction for each word and for each of its first four letters.

    Texts that share words or stems are alike, others nearly at right angles: enough to test everything that is done with
    vectors. Its identity carries its dimension and `salt`; another salt is another model.
    All texts lean to one side by the cosine `unrelated`, as many models have it.
    """

    def __init__(self, *, dimension: int = 64, salt: str = "", unrelated: float = 0.0) -> None:
        self.identity = f"hashing{salt}/{dimension}/{unrelated:g}"
        self.dimension = dimension
        self.unrelated = unrelated
        self._salt = salt

    def embed(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        found = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in _WORD.findall(text.lower()):
                found[row] += self._direction(word) + self._direction(word[:4])
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        found[lengths[:, 0] == 0, 0] = 1.0  # of no words: any direction, always the same
        found /= np.where(lengths == 0, 1.0, lengths)
        if self.unrelated:
            side = self._direction("")
            found = (1 - self.unrelated) ** 0.5 * found + self.unrelated**0.5 * side / np.linalg.norm(side)
            found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found

    def embed_query(self, text: str) -> Vectors:
        return self.embed([text])[0]

    def _direction(self, word: str) -> Vectors:
        import numpy as np

        seed = int.from_bytes(blake2b(f"{self._salt}:{word}".encode(), digest_size=8).digest(), "big")
        return np.random.default_rng(seed).standard_normal(self.dimension, dtype=np.float32)
