"""The pages for people, under /admin: each reads what it shows, renders it, and takes what a person says as a form."""

from typing import Any

from learning_loop.api.admin import entering, memory, reporting, runs, steering
from learning_loop.api.admin.site import Pages, refused
from learning_loop.api.serving import Served

__all__ = ["add_pages", "refused"]


def add_pages(api: Any, served: Served) -> None:
    """Put the pages into an application."""
    api.state.pages = Pages(served)
    for module in (entering, runs, memory, steering, reporting):
        api.include_router(module.router)
