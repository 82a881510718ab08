"""Error texts: the line that tells most, its family without volatile parts, and what the well-known ones mean."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

_PLACES = [  # in this order: each takes what the later ones would break up
    (re.compile(r"^(?:[A-Za-z_$][\w$]*\.)+[A-Z][\w$]*(?:Error|Exception)\b: *"), ""),  # the class, where a text begins with it
    (re.compile("[\"'`\\u00b4\\u2018\\u2019\\u201c\\u201d\\u201e\\ufffd\\[\\](){}]"), ""),  # quotes of any sort, and brackets
    (re.compile(r"(?<!\w)\?(?=\w)|(?<=\w)\?(?!\w)"), ""),  # quotes that a console could not write
    (re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s<>]+", re.IGNORECASE), "<url>"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b"), "<time>"),
    (re.compile(r"(?:\\\\\?\\)?(?:\b[A-Za-z]:|(?<![\w.]))~?[\\/](?:[\w.@+~-]+[\\/])*[\w.@+~-]*"), "<path>"),
    (re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[a-z]{2,})+\b", re.IGNORECASE), "<address>"),
    (re.compile(r"[\w.+=/-]+ #\d+\b"), "<item>"),  # a numbered build, issue or request
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "<host>"),
    (re.compile(r"\b(?:[a-z0-9-]+\.)+(?:com|org|net|io|dev|local|internal|lan)(?::\d+)?\b", re.IGNORECASE), "<host>"),
]
_RELATIVE = re.compile(r"(?<![\w/<])((?=[^\s/]*[A-Za-z])[\w.@+=-]+(?:/[\w.@+=-]+)+)")  # names a test or a module: it stays
_IN_PATH = re.compile(r"[0-9a-f]{7,}|\d{4,}")
_NUMBER = re.compile(  # what stays are codes: C1060, E0425, error: 502, status code 128
    r"(?P<kept>\b(?i:error|errno|status|code|http|exit(?: value)?)\W{1,3}\d{1,3}(?!\d))"
    r"|(?<![A-Z\d])\d+(?:[.,]\d+)*|(?<=[A-Z])\d{1,2}(?!\d)"
)
_NUMBERS: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,}\b", re.IGNORECASE), "<id>"),
    (_NUMBER, lambda found: found["kept"] or "<n>"),
]


def family(text: str) -> str:
    """Return an error's text with ids, absolute paths, hosts, times and numbers replaced by their kinds, on one line.

    Relative paths stay: they name the test, the module or the file that the error is about; and so do codes of errors.
    """
    line = " ".join(text.split())[:2_000]
    for pattern, kind in _PLACES:
        line = pattern.sub(kind, line)
    parts = _RELATIVE.split(line)
    for place, part in enumerate(parts):
        if place % 2:
            parts[place] = _IN_PATH.sub("<n>", part)
            continue
        for pattern, replacement in _NUMBERS:
            parts[place] = pattern.sub(replacement, parts[place])
    return "".join(parts)[:400]


def fingerprint(error_type: str | None, message: str | None) -> str | None:
    """Return the same short name for errors that differ in volatile parts only; None where nothing is known."""
    if not error_type and not message:
        return None
    return blake2b(f"{error_type or ''}: {family(message or '')}".encode(), digest_size=6).hexdigest()


_TELLING = [  # what a line of output must look like to be the error, most telling first
    re.compile(r"^E\s{2,}(?:[\w.]+\.)?[A-Za-z]\w*(?:Error|Exception|Exit|Interrupt|Warning)\b.*"),
    re.compile(r"^(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Warning|Timeout)\b(?::.*)?$"),
    re.compile(r"^(?:ERROR|FATAL|FAILED|panic)\b[: ].*", re.IGNORECASE),
    re.compile(
        r".*(?:\berror\b|\bnot found\b|\bno such\b|\bdenied\b|\bunrecognized\b|\bcannot\b|\brefused\b|\btimed out\b).*",
        re.IGNORECASE,
    ),
]
_TYPE = re.compile(
    r"^(?:E\s+)?(?:[\w.]+\.)?(?P<type>[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Warning|Timeout))\b:?\s*(?P<message>.*)$"
)
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")


def error_line(output: str) -> tuple[str | None, str | None]:
    """Return (error type or None, message or None) from a command's output: the last line that tells most."""
    lines = [line.strip() for line in _ESCAPES.sub("", output).splitlines() if line.strip()]
    for pattern in _TELLING:
        for line in reversed(lines):
            if pattern.match(line):
                found = _TYPE.match(line)
                return (found["type"], found["message"] or found["type"]) if found else (None, line)
    return None, lines[-1] if lines else None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an error text says by itself: `subject` is what it is about, e.g. `python:numpy`, `option:--fast`."""

    kind: str
    subject: str
    text: str


_KNOWN = [
    (r"File \"(?P<x>[^\"\n]+)\", line (?P<y>\d+)\n[^\n]*\n[ \t]*[\^~ ]+\n(?:Sorry: )?(?:SyntaxError|IndentationError)", "syntax", "file:{x}", "{x} does not parse, from line {y} on"),
    (r"No module named ['\"]?(?P<x>[\w.]+)['\"]?(?!.*is not a package)", "missing dependency", "python:{x}", "the Python package {x} is not installed"),
    (r"cannot import name ['\"](?P<x>\w+)['\"] from ['\"](?P<y>[\w.]+)", "wrong version", "python:{y}", "{y} has no {x}: another version of it is installed than the code expects"),
    (r"No matching distribution found for (?P<x>[\w.\-\[\]=<>!~]+)", "missing dependency", "python:{x}", "no installable version of {x} could be found"),
    (r"(?:unrecognized arguments?|[Nn]o such option|unknown option|unrecognized option|invalid option)[:\s]+['\"`]?(?:-- ')?(?P<x>-{0,2}[\w-]+)", "wrong option", "option:{x}", "the command does not know the option {x}"),
    (r"(?:can't open file|No such file or directory)[: ]+['\"](?P<x>[^'\"]+)", "missing file", "file:{x}", "the file {x} is not there"),
    (r"(?P<x>[^\s:'\"]+): No such file or directory", "missing file", "file:{x}", "the file {x} is not there"),
    (r"(?:file or directory not found|[Ff]ile not found): (?P<x>\S+)", "missing file", "file:{x}", "the file {x} is not there"),
    (r"command not found: (?P<y>\S+)|(?P<x>[\w./+-]+): command not found(?!:)|\bsh: (?:line )?(?:\d+: )?(?P<z>[\w./+-]+): not found", "missing command", "command:{x}{y}{z}", "the command {x}{y}{z} is not on the PATH"),
    (r"Permission denied: ?['\"]?(?P<x>[^'\"\s]+)|(?P<y>[^\s:'\"]+): Permission denied", "permission", "permission:{x}{y}", "access to {x}{y} is denied"),
    (r"Connection refused|ConnectionRefusedError", "unreachable", "network:refused", "the service it calls does not answer (connection refused)"),
    (r"Name or service not known|nodename nor servname|Temporary failure in name resolution", "unreachable", "network:name", "the name of the host it calls cannot be resolved"),
    (r"No space left on device|disk is full|disk full", "full disk", "disk", "the disk is full"),
    (r"MemoryError|Cannot allocate memory|out of memory|OutOfMemory", "out of memory", "memory", "memory ran out"),
    (r"RATE_LIMIT_429|\b429\b.*[Rr]ate|[Rr]ate.?[Ll]imit|Too Many Requests", "rate limit", "rate limit", "the service limits the rate of calls"),
    (r"CONTEXT_EXCEEDED|context (?:length|window).*exceed|maximum context", "context exceeded", "context", "the input is longer than the model's context"),
    (r"\b[Tt]imed out\b|\bTimeout(?:Error|Expired)\b|\bTIMEOUT\b|deadline exceeded", "timeout", "timeout", "it ran out of time"),
    (r"SyntaxError", "syntax", "syntax", "a source file does not parse"),
]  # fmt: skip
_EXPLAIN = [(re.compile(pattern), kind, subject, text) for pattern, kind, subject, text in _KNOWN]


def explain(text: str) -> Explanation | None:
    """Return what a well-known error means; None for any other."""
    for pattern, kind, subject, sentence in _EXPLAIN:
        if found := pattern.search(text):
            names = {name: value or "" for name, value in found.groupdict().items()}
            return Explanation(kind, subject.format(**names), sentence.format(**names))
    return None


_ALSO = {  # what people say for a well-known error, in words that stand in its text or explanation
    "oom": "memory",
    "ram": "memory",
    "enospc": "disk",
    "diskspace": "disk",
    "429": "rate",
    "ratelimit": "rate",
    "ratelimited": "rate",
    "throttled": "rate",
    "throttling": "rate",
    "econnrefused": "refused",
    "etimedout": "timeout",
    "cert": "certificate",
    "certs": "certificate",
    "ssl": "certificate",
    "tls": "certificate",
    "asserts": "assertion",
    "import": "module",
    "importerror": "module",
    "package": "module",
    "dns": "name",
    "eacces": "permission",
}


def error_words(word: str) -> tuple[str, ...]:
    """Return what a word may stand for in the text of an error: itself, and what people's short names mean."""
    short = word if word in _ALSO else word.removesuffix("s")
    return (word, _ALSO[short]) if short in _ALSO else (word,)
