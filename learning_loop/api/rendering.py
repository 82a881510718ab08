"""Templates into pages: how things are written out, notes made harmless, and static files."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import blake2b
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import nh3
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from learning_loop.app import App
from learning_loop.features import saying

PAGES, STATIC = Path(__file__).parent / "pages", Path(__file__).parent / "static"
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
CHARTS = "vega.js"
_MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).disable("html_block")
_ANCHOR = re.compile(r'<a id="run-[\w.-]+">')  # what reports link to: with its end at once, all of HTML that notes may hold
_RUN = re.compile(r"\d{8}-\d{6}-[a-z0-9]{8}")  # the id of a run, which leads to its page wherever a text has it as code
_WIDE = '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>'
_TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "img", "li", "ol", "p", "pre", "s",
    "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip


def environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {
        "moment": moment, "short": short, "signed": signed, "whole": whole, "seconds": seconds, "pretty": pretty,
        "script": script,
    }  # fmt: skip
    made.globals["static"] = lambda name: f"/admin/static/{name}?{version_of(name)}"
    return made


# ---------------------------------------------------------------------------------------------------- how things are written


def moment(value: Any) -> str:
    """Return a moment as people read it, in UTC; seconds since 1970 are taken, too."""
    if isinstance(value, int | float):
        value = datetime.fromtimestamp(value, UTC)
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}" if isinstance(value, datetime) else str(value or "")


def short(value: Any, limit: int = 60) -> str:
    """Return any value as one line: moments, days, texts, numbers and lists of them as people write them, else JSON."""
    if isinstance(value, date):
        return moment(value)
    if isinstance(value, list | tuple) and value and all(isinstance(item, str | int | float | date) for item in value):
        return saying.clipped(", ".join(short(item, limit) for item in value), limit)
    return saying.clipped(value if isinstance(value, str) else _json(value), limit)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, default=str, ensure_ascii=False)
    except TypeError:  # a key that is none in JSON, a day for instance
        return str(value)


def signed(value: float) -> str:
    """Return points of a score with their sign; what is nearly nothing has none of its own."""
    return f"{value:+z.1f}"


def whole(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f}"


def seconds(value: float | None) -> str:
    return "" if value is None else saying.seconds(value)


def pretty(value: Any) -> str:
    return json.dumps(value, indent=2, default=str, ensure_ascii=False)


def script(value: Any) -> Markup:
    """Return JSON that may stand inside a script element, whatever is in it."""
    text = json.dumps(value, default=str, ensure_ascii=True)
    return Markup(re.sub(r"[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text))  # noqa: S704  (nothing of it is markup)


def harmless(markdown: str, link: Callable[[str], str | None]) -> Markup:
    """Return markdown as HTML that does nothing but be read; `link` says where what it points to stands, None for nowhere."""
    tokens = _MARKDOWN.parse(markdown)
    for token in tokens:
        _keep_anchors(token.children or [])
        for inner in token.children or ():
            for name in ("href", "src"):
                given = inner.attrGet(name)
                if isinstance(given, str) and not re.match(r"[a-z][a-z0-9+.-]*:|#", given, re.IGNORECASE):
                    inner.attrSet(name, link(given) or "")
        token.children = _lead_to_runs(token.children or [])
    html = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    clean = nh3.clean(
        html,
        tags=_TAGS,
        attributes={"a": {"href", "title", "id"}, "img": {"src", "alt", "title"}, "th": {"align"}, "td": {"align"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    clean = clean.replace("<table>", _WIDE).replace("</table>", "</table></div>")  # in texts these signs are escaped
    return Markup(clean)  # noqa: S704  (it was cleaned)


def _keep_anchors(tokens: list[Token]) -> None:
    """Make HTML the text that it is written as, all but anchors."""
    ends = False
    for token, after in zip_longest(tokens, tokens[1:]):
        begins = False
        if token.type == "html_inline":
            closed = after is not None and after.type == "html_inline" and after.content == "</a>"
            begins = closed and _ANCHOR.fullmatch(token.content) is not None
            if not (begins or ends):
                token.type = "text"
        ends = begins


def _lead_to_runs(tokens: list[Token]) -> list[Token]:
    """Return the same with a link round the id of each run that is in none yet."""
    linked, within = list[Token](), 0
    for token in tokens:
        within += (token.type == "link_open") - (token.type == "link_close")
        if token.type == "code_inline" and not within and _RUN.fullmatch(token.content):
            opened = Token("link_open", "a", 1, attrs={"href": f"/admin/runs/{token.content}"})
            linked += [opened, token, Token("link_close", "a", -1)]
        else:
            linked.append(token)
    return linked


# ----------------------------------------------------------------------------------------------------------- static files


@lru_cache
def static(name: str) -> bytes:
    return (STATIC / name).read_bytes()


@lru_cache
def version_of(name: str) -> str:
    """Return what changes when a static file does, so that browsers may keep it for ever."""
    if name == CHARTS:
        return version("vl-convert-python")
    return blake2b(static(name), digest_size=6).hexdigest()


def charts_script(app: App) -> bytes:
    """Return Vega-Embed with all it needs, as the package has it; made once, it takes a second."""
    import vl_convert

    from learning_loop.workspace import atomic_write

    path = app.cache.parent / f"vega-embed-{version_of(CHARTS)}.js"
    if not path.is_file():
        atomic_write(path, vl_convert.javascript_bundle().encode())  # type: ignore[call-arg]  # its stub has no default
    return path.read_bytes()


def names_of_static() -> Mapping[str, str]:
    return {path.name: KINDS[path.suffix] for path in STATIC.iterdir() if path.suffix in KINDS}
