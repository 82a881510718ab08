"""The loop over HTTP: a REST interface for programs, pages for people. `application` puts both together."""

from learning_loop.api.application import application
from learning_loop.api.serving import Served

__all__ = ["Served", "application"]
