"""Lessons people put in: a mapping of categories to lists of lessons, one note each."""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping

from learning_loop.app import App
from learning_loop.errors import NoteError
from learning_loop.flows.remember import note_name, remember
from learning_loop.records import slug


class LessonMemory(MutableMapping[str, list[str]]):
    """The lessons of a workspace by category; a change reaches disk with `save`.

    `memory["square_api"].append("Validate webhook signatures")` works, and so does `memory.update({...})`.
    """

    def __init__(self, lessons: Mapping[str, Iterable[str]]) -> None:
        self._lessons = {category: list(found) for category, found in lessons.items()}

    def __getitem__(self, category: str) -> list[str]:
        return self._lessons.setdefault(category, [])

    def __setitem__(self, category: str, lessons: Iterable[str]) -> None:
        self._lessons[category] = [lessons] if isinstance(lessons, str) else list(lessons)

    def __delitem__(self, category: str) -> None:
        del self._lessons[category]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lessons)

    def __len__(self) -> int:
        return len(self._lessons)

    def __repr__(self) -> str:
        return f"LessonMemory({self._lessons!r})"

    @classmethod
    def load(cls, app: App) -> "LessonMemory":
        """Read the lessons that stand in the workspace's notes."""
        found: dict[str, list[str]] = {}
        for note in app.notes.all():
            if not isinstance(note, NoteError) and note.category == "lesson":
                found.setdefault(note.text("lesson_of") or "lessons", []).append(" ".join(note.body.split()))
        return cls(found)

    def save(self, app: App) -> list[str]:
        """Write every lesson that has no note yet and return the paths; what is there is left alone."""
        known = LessonMemory.load(app)
        written = []
        for category, lessons in self._lessons.items():
            there = set(known.get(category, []))
            for lesson in lessons:
                text = " ".join(str(lesson).split()) if lesson is not None else ""
                if text and text not in there:
                    written.append(_write(app, category, text))
                    there.add(text)
        return written


def _write(app: App, category: str, lesson: str) -> str:
    return remember(
        app,
        subject=f"lesson:{category}:{lesson}",
        folder=f"memory/long-term/{slug(category)}",
        name=note_name(app, lesson),
        meta={"kind": "lesson", "title": lesson[:160], "lesson_of": category, "tags": [category]},
        body=lambda front: app.templates.render("notes/lesson.md.j2", front=front, lesson=lesson),
    )
