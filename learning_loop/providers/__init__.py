"""What comes from outside and can be exchanged: models that embed texts, with their shipped doubles."""

from learning_loop.providers.hashing import HashingEmbedder
from learning_loop.providers.models import Model, find_model

__all__ = ["HashingEmbedder", "Model", "find_model"]
