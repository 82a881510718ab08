"""Jinja2 templates: a workspace file overrides the packaged one of the same name and may extend it as `default:name`."""

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from learning_loop.errors import TemplateError
from learning_loop.features.saying import clipped
from learning_loop.workspace.files import DEFAULTS

LOOK_S = 1.0  # how long a change of a template may go unseen


class Templates:
    """Renders the templates of one workspace. What is passed in is only ever a value, never a template."""

    def __init__(self, folder: Path) -> None:
        packaged = jinja2.FileSystemLoader(DEFAULTS / "templates")
        own = jinja2.FileSystemLoader(folder)
        self._environment = jinja2.Environment(
            loader=jinja2.ChoiceLoader([own, packaged, jinja2.PrefixLoader({"default": packaged}, delimiter=":")]),
            undefined=jinja2.StrictUndefined,
            autoescape=False,  # noqa: S701  (markdown, not HTML)
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._found: dict[str, tuple[jinja2.Template, float]] = {}
        self._environment.filters |= {
            "day": _day,
            "date": _date,
            "line": _line,
            "prose": _prose,
            "cell": _cell,
            "number": _number,
        }
        self._environment.filters |= {"percent": _percent, "seconds": _seconds, "effect": _effect}

    def render(self, name: str, **values: Any) -> str:
        """Return the text; raise TemplateError with file and line where a template is wrong."""
        try:
            return self._template(name).render(**values)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"templates/{error.name or name}:{error.lineno}: {error.message}") from None
        except jinja2.TemplateError as error:
            raise TemplateError(
                f"templates/{name}: {error.message}. Compare it with the packaged one: `learning-loop doctor`"
            ) from None

    def _template(self, name: str) -> jinja2.Template:
        """Return a template as it stands, or stood within the last second: runs do not look at the file each."""
        found, looked_at = self._found.get(name, (None, 0.0))
        if found is None or time.monotonic() - looked_at >= LOOK_S:
            found = self._environment.get_template(name)
            self._found[name] = (found, time.monotonic())
        return found

    def check(self, name: str) -> None:
        """Parse a template and look up the names it uses, without rendering it; raise TemplateError.

        The names that the packaged template of this name uses are the ones that are passed in.
        """
        try:
            self._environment.get_template(name)
            unknown = self._names(name) - self._names(f"default:{name}")
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"templates/{error.name or name}:{error.lineno}: {error.message}") from None
        except UnicodeDecodeError:
            raise TemplateError(f"templates/{name}: is not UTF-8 text: save it as UTF-8") from None
        if unknown:
            raise TemplateError(f"templates/{name}: uses {', '.join(sorted(unknown))}, which is not passed to it")

    def _names(self, name: str) -> set[str]:
        from jinja2.meta import find_undeclared_variables

        loader = self._environment.loader
        source = loader.get_source(self._environment, name)[0] if loader else ""
        return find_undeclared_variables(self._environment.parse(source))


def _day(value: datetime | None) -> str:
    return "unknown" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _date(value: datetime | None) -> str:
    return "unknown" if value is None else f"{value:%Y-%m-%d}"


def _prose(value: str, limit: int = 300) -> str:
    """Return text as one line that markdown shows as it is, also inside a link: no tag, no bracket."""
    text = _line("".join(letter for letter in str(value) if letter.isprintable() or letter.isspace()), limit)
    return re.sub(r"[\[\]*]", lambda found: f"\\{found[0]}", text).replace("<", "&lt;")


def _cell(value: str) -> str:
    """Return text as one line that may stand in a cell of a table."""
    return _prose(value, 120).replace("|", "\\|")


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.0f} %"


def _effect(pattern: Any) -> str:
    """Return an effect with its interval, as `+34 points (+20 to +46)` or `1.80 times (1.61 to 2.02)`."""
    named = (
        pattern
        if isinstance(pattern, Mapping)
        else {name: getattr(pattern, name) for name in ("effect", "low", "high", "unit")}
    )
    form = "{:+.0f}" if named["unit"] == "points" else "{:.2f}"
    text = f"{form.format(named['effect'])} {named['unit']}"
    if named["low"] is None or named["high"] is None:
        return text
    return f"{text} ({form.format(named['low'])} to {form.format(named['high'])})"


def _line(value: str, limit: int = 300) -> str:
    """Return text as one line that markdown shows as it is."""
    return clipped(str(value), limit).replace("`", "'")


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "unknown"
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms"
