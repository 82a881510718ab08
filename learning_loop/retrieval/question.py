"""A deterministic reading of a question: what is asked for, about which runs or notes, of which time.

Words are read off the question in order: its time, the names this workspace knows, what is asked, how it went, which kinds
of notes. What nothing was read from is what is searched for.
"""

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from learning_loop.features import error_words
from learning_loop.retrieval.periods import Period, read_period
from learning_loop.retrieval.vocabulary import Vocabulary, Word, as_words, unused
from learning_loop.retrieval.words import MOST_CHARACTERS, STOP, terms, words_of

_FAILED = (
    r"fail\w*|brok\w+|break\w*|blew up|blow\w* up|blown up|w[ei]nt wrong|go(?:es|ing|ne)? wrong|wrong|mess\w* up|fell over|fall\w* over|"
    r"crash\w*|tank(?:ed|s|ing)?|flop\w*|suck\w*|kill\w*|die[ds]?|dying|bounc\w+|bomb\w*|chok\w+|went (?:down|south|bad)|"
    r"unsuccess\w*|without success|no success|bad(?:ly)?|red|trouble\w*|incidents?|outages?|hiccups?|issues?|problems?|bugs?|"
    r"(?:did|does|do|has|have|had|was|were|is|are)(?: not|n'?t) (?:\w+ )?(?:work\w*|succe\w+|pass\w*)|not work\w*"
)
_SUCCEEDED = (
    r"succe\w+|succes|suces\w*|work(?:s|ed|ing)?(?! (?:on|with|at|for)\b)(?: out| fine| well)*|pass(?:es|ed|ing)?|w[ei]nt (?:fine|well|ok|okay|through)|"
    r"go(?:es|ne)? (?:fine|well|through)|green|fine|clean(?:ly)?|ok(?:ay)?|good"
)
_NONE = r"(?:without|no) (?:any |an? |more |further )?(?:issues?|problems?|errors?|trouble|hiccups?|incidents?|failures?|failing|crash\w*|bugs?)"
_NOT_FAILED = r"(?:did|do|does|has|have|had|was|were|is|are)(?: not|n'?t) (?:\w+ )?(?:fail\w*|broken?|break\w*|crash\w*)|(?:not|never) fail\w*"
_OUTCOMES = [
    ("succeeded", re.compile(rf"\b(?:{_NONE}|{_NOT_FAILED})\b")),
    ("failed", re.compile(rf"\b(?:{_FAILED})\b")),
    ("succeeded", re.compile(rf"\b(?:{_SUCCEEDED})\b")),
]
_RATE = re.compile(
    r"\b(?:(?:succe\w+|fail\w*|pass|error) ?(?:rate|share|ratio|quota|percentage)s?|(?:rate|share|percentage) of (?:succe\w+|fail\w*)(?: runs?)?)\b"
)
_EITHER = re.compile(  # not what is asked for, but said to count as well
    r"\bwhether (?:\w+ ){1,4}or (?:not|\w+)\b|\bregardless of (?:\w+ ?){1,4}|"
    r"\b(?:good|passed|worked|succeeded|successful) or (?:bad|failed|not|otherwise)\b|\b(?:failed|bad|broken) or (?:good|not|passed|succeeded)\b|"
    r"\b(?:the )?(?:failed|failures|failing|successful|succeeded)(?: ones| runs)?,? (?:included|or not|as well|too)\b|"
    r"\b(?:including|included|whether) (?:the )?(?:failed|failures|successful)\w*(?: ones| runs)?\b"
)
_CLAUSE = re.compile(r"[,;:!?.]+(?:\s|$)|\b(?:so that|because|if i)\b")
_GENERIC = frozenset(
    {"component", "components", "task", "tasks", "agent", "agents", "type", "types", "run", "runs", "error", "errors", "job"}
)
_ISSUE = r"errors?|exceptions?|failures?|problems?|issues?|reasons?|causes?|faults?"

KINDS = {
    "pattern": r"(?:anti-?)?patterns?",
    "template": r"templates?",
    "rule": r"rules?",
    "decision": r"decisions?|adrs?",
    "assumption": r"assum\w+",
    "gotcha": r"gotchas?|pitfalls?|caveats?|traps?",
    "reflection": r"reflections?|retrospectives?|post-?mortems?",
    "lesson": r"lessons?|learnings?|learn(?:ed|t)",
}
_NOTE = r"notes?|memor(?:y|ies)|knowledge|entr(?:y|ies)"
_BY = [
    ("agent", r"agents?|who|whom|whose|who's|whos|models?|people|person"),
    ("component", r"components?|modules?|parts?|services?|areas?"),
    ("type", r"(?:types?|kinds?|sorts?) of (?:tasks?|jobs?|work|runs?)|(?:task|job)[ -]types?|types?(?! of)"),
    ("error", rf"(?:(?:types?|kinds?|sorts?) of )?(?:{_ISSUE})"),
]
_WORSE = r"worse|better|slower|faster|quicker|longer|shorter|flakier|more reliable|less reliable|more expensive|cheaper|more stable|less stable"
_INTENTS = [  # the first that fits is meant
    ("similar", r"similar\w*|(?:runs?|tasks?|executions?|jobs?|ones?|anything) like|comparable|resembl\w+|alike"),
    (
        "trend",
        rf"trend\w*|(?:over|with|across) (?:the )?(?:time|months|weeks|years?)|(?:get\w*|got|becom\w+|became|is|are|any|and) (?:\w+ )?(?:{_WORSE})|"
        rf"(?:{_WORSE}) (?:than (?:before|it was|they were|last|in|usual|it used to|they used to)|over|lately|these days|recently)|more and more|less and less|"
        r"(?:more|less) (?:often|frequently)? ?than (?:before|it used to|they used to|usual|last)|"
        r"improv\w+|worsen\w*|deteriorat\w+|degrad\w+|regress\w+|slow(?:ed|ing) down|speed(?:ing)? up|sped up|creep\w*|"
        r"(?:ris|grow|increas|decreas|declin|dropp)ing|increased|decreased|going (?:up|down)",
    ),
    ("slowest", r"slowest|longest|(?:took|takes|taken|needs?|needed|lasted|ran) (?:the )?(?:most time|longest)|most time"),
    ("fastest", r"fastest|quickest|shortest"),
    (
        "worst",
        r"worst|least (?:reliable|successful|stable)|lowest|weakest|most unreliable|flak(?:y|iest)|bad at|suck\w*(?: the)?(?: most)?|struggl\w+(?: the)?(?: most)?",
    ),
    (
        "best",
        r"best|most (?:reliable|successful|stable|dependable)|highest (?:success|share|pass|rate)\w*|strongest|good at|better at|better with",
    ),
    (
        "count",
        r"how many|how often|how much times|(?<!highest )(?<!largest )number of|count(?: of| up)?|(?:total|overall) number|tally|frequency",
    ),
    (
        "top",
        r"(?:the )?most(?! recent)(?: often| common\w*| frequent\w*)?|commonest|common(?:ly)?|usual\w*|typical\w*|mainly|main|mostly|top|"
        r"highest number|biggest|frequent\w*|keeps?",
    ),
    ("last", r"last|latest|most recent\w*|newest|recent\w*|previous\w*"),
    ("first", r"first(?: time)?|earliest|oldest"),
]
_PATTERNS = [(name, re.compile(rf"\b(?:{pattern})(?!\w)")) for name, pattern in _INTENTS]
_ASKING = re.compile("|".join(pattern.pattern for _, pattern in (*_PATTERNS, *_OUTCOMES)))
_KIND_PATTERNS = [(kind, re.compile(rf"\b(?:{pattern})\b")) for kind, pattern in KINDS.items()]
_NOTE_PATTERN = re.compile(rf"\b(?:{_NOTE})\b")
_KIND_OR_NOTE = re.compile("|".join([*KINDS.values(), _NOTE]))
_ASKS_FOR = re.compile(  # as in "which patterns flopped"
    rf"\b(?:which|what|any|known|our|the) (?:\w+ )?(?:{_KIND_OR_NOTE.pattern})\b|^(?:{_KIND_OR_NOTE.pattern})\b"
)
_NAMED_BY = [(name, re.compile(rf"\b(?:{pattern})(?!\w)")) for name, pattern in _BY]
_ASKED_BY = [
    (name, re.compile(rf"\b(?:which|what|wich|our|of the|of all)(?: of)?(?: (?:the|our|all|\w+))? (?:{pattern})(?!\w)"))
    for name, pattern in _BY
] + [("agent", re.compile(r"\bwho(?:'s|s|m)?\b"))]
_ABOUT = re.compile(
    r"(?:\b(?:about|on|for|of|regarding|concerning|mention\w*|around|with|to|against)\s+(?:the |our |a |any )?|\b(?=[\w-]+[- ](?:specific|related)))(\w+)"
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_SUBORDINATE = re.compile(r"^(?:before|while|because|if|as|although|though|just so|sorry)\b[^,?]*,\s*(?=\w+ \w+)")
_BEGINS = re.compile(
    r"^(?:please )?(?:show|list|give|gimme|tell|find|count|get|what|which|who|when|where|why|how|is|are|did|does|do|has|have|was|any)\b"
)
_RELIABLE = re.compile(r"\b(?:\w*reliab\w+|succe\w+|fail\w*|flak\w+|stable|unstable|stability)\b")
_MOST = re.compile(r"\b(?:last|latest|newest|first|slowest|fastest|recent) (\d{1,3})\b")
_YES_OR_NO = re.compile(r"^(?:did|does|was|has|is|were)\b")
_MANY_OF = re.compile(r"\bhow many (?:of )?(?:the |our |different )?(\w+)")
_PAST = re.compile(r"\b(?:since|last|past|previous|ago|between|from|before|until|till|yesterday|this|week|\d{4}|in)\b")
_DURATION = re.compile(
    r"\b(?:slow\w*|fast\w*|quick\w*|durations?|(?<!over )(?<!with )(?<!last )(?<!the )time|long\w*|short\w*|speed\w*|sped|latency|runtime|took|takes?|seconds|minutes)\b"
)
_COST = re.compile(r"\b(?:costs?|cheap\w*|expens\w+|dollars?|usd|money|price[ys]?)\b")
_SHOW = re.compile(
    r"\b(?:show|list|give|gimme|get|pull|print|tell|see|display|dump)\b.*\b(?:all|every|each|everything|full|complete|whole|list)\b|\b(?:all|every|complete list|everything)\b"
)
_RUN = re.compile(r"\b(?:runs?|executions?|jobs?|tasks?|deploy\w*|builds?|attempts?)\b")
_FRAME = frozenset(
    """
    ago already always answer anybody anyone anything back before better case cases check come comes could count day days deal ever
    everything execution executions exactly far finish finished fine give gimme going good got gotta great had happen happened
    happens happening hear help hit hits hitting honest idea info inform information instance instances involving item items job
    jobs kind kinds kindly know known lately list look looking lot mean meet moment mind morning name need night number numbers
    often one ones past people pls please previous prior problem question ran reason remind run runs running say see seen shall show
    similar since sort started state still stuff sure table take taken talk task tasks tell thank thanks thing things think tick
    till time times today took touch tried try type types understand used usually want wanted way week weeks whats whens whos wich
    wonder work works working wrong yet total overall far date result results status end ended ends called attempt attempts latest
    recent recently newest last first most least best worst which errors error failure failures issue issues problems exception
    exceptions reasons cause causes component components agent agents tag tags note notes memory everyone somebody someone rate
    share percentage common commonly typical main top frequent frequently high highest low lowest slow slowest fast fastest longest
    shortest biggest reliable unreliable successful success trend change changed changes month months year years hour hours
    quarter actually really just also imagining impression whether weekly report monthly daily included colleague hello hi hey dear
    em tagged didn don doesn isn aren wasn weren won wouldn couldn shouldn hasn haven hadn ain ll ve re roughly about approximately showing
    telling listing seeing across among amid per via within without toward towards upon onto currently recently altogether together apart besides beyond
    despite except inside outside near next gave gives given brought caused bring brings new old big small little bit quick quickly
    team regards certain whole complete different many much around along
    """.split()  # noqa: SIM905  (two hundred quotes read worse)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a question asks.

    `intent` is find, last, first, slowest, fastest, count, top, best, worst, trend, similar, history, runs or all; `by` is what top, best and
    worst range over, `of` what a trend is of. Names are those the workspace knows; `errors` are fingerprints. `terms` is all
    that can be searched for, `rest` what of it nothing was read from, `about` what of
    that stands after a word like about, on or with.
    """

    text: str
    intent: str = "find"
    by: str | None = None
    of: str = "success"
    outcome: str | None = None
    kinds: tuple[str, ...] = ()
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    period: Period | None = None
    terms: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    most: int | None = None  # how many were asked for
    notes: bool = False  # notes are asked for, not runs


def read_question(text: str, vocabulary: Vocabulary, now: datetime, *, runs: Vocabulary | None = None) -> Question:
    """Read a question in plain words, as of `now`, which carries the asker's time zone.

    `runs` has the names that executions carry, where notes carry others as well: what is asked of runs is narrowed by those.
    """
    lowered = " ".join(text[:MOST_CHARACTERS].lower().replace("\u2019", "'").split())
    asking, around = _asking_part(lowered)
    period, timeless = read_period(asking, now)
    if around and (period is None or not _PAST.search(period.said)):
        other, _ = read_period(around, now)
        period = other if other is not None and _PAST.search(other.said) else period
    words = as_words(timeless)
    sorts = frozenset(word.text for word in words if _KIND_OR_NOTE.fullmatch(word.text))  # lessons, though there be such a tag
    beside = vocabulary.find(as_words(around), apart_from=_GENERIC) if around else {}  # "I work on the api. Who is best at it?"
    names = {**beside, **vocabulary.find(words, apart_from=_GENERIC | sorts)}
    plain = " ".join(word.text if not word.used else "_" for word in words)  # names do not say what is asked
    kinds = tuple(kind for kind, pattern in _KIND_PATTERNS if pattern.search(plain))
    notes = bool(kinds or _NOTE_PATTERN.search(plain))
    outcome = _outcome(timeless)
    intent, by = _intent(plain, outcome=outcome, named=bool(names), notes=notes)
    ended = runs or vocabulary
    errors: tuple[str, ...] = ()
    if intent not in ("find", "all") and not notes:
        words, names, errors = _about_runs(timeless, ended, apart_from=frozenset() if intent == "similar" else _GENERIC)
        _, beside_names, beside_errors = _about_runs(around, ended, apart_from=_GENERIC)
        names, errors = (
            {**beside_names, **names},
            errors or (() if names.get("component") else beside_errors),
        )  # "I work on the api. Who is best at it?"
        outcome = "failed" if errors else outcome
    most = _MOST.search(timeless) if intent in ("last", "first", "slowest", "fastest") else None
    if intent == "last" and outcome and _YES_OR_NO.match(timeless):  # "did it fail last time": whichever way the last one went
        outcome = None
    if intent in ("find", "all") and not notes and _SHOW.search(timeless) and _RUN.search(plain):
        words, names, errors = _about_runs(timeless, ended, apart_from=_GENERIC)
        intent, outcome = "runs", "failed" if errors else outcome
    rest = tuple(word for word in _rest(words, plain, timeless) if most is None or word != most[1])
    if intent == "top" and by is None:
        by = "component" if outcome and not ("component" in names or "agent" in names) else "error"
        intent = "find" if rest and not (names or errors) else intent  # "why does the widget keep crashing" is of the widget
    if intent == "count" and (many := _MANY_OF.search(plain)) and many[1] in rest:  # "how many screens are too many"
        intent = "find"
    if (
        intent == "find" and (outcome or _RUN.search(plain)) and names and not notes
    ):  # as in "timeout incidents on the booking form"
        words, of_runs, alike = _about_runs(timeless, ended, apart_from=_GENERIC)
        if of_runs and not _rest(words, plain, timeless):
            intent, names, errors, rest = "history", of_runs, alike, ()
    if intent == "find" and not (rest or notes) and (outcome or period):
        words, of_runs, alike = _about_runs(timeless, ended, apart_from=_GENERIC)  # as in "what happened today"
        if not _rest(words, plain, timeless):
            intent, names, errors = "runs", of_runs, alike
    if intent == "count" and (many := _MANY_OF.search(plain)) and not outcome and not errors:
        by = next((name for name, pattern in _NAMED_BY if name != "error" and pattern.fullmatch(many[1])), None)
    if intent == "find" and not rest and (notes or (names.get("tag") and _SHOW.search(timeless))):
        intent = "all"  # as in "failed patterns booking-form", "everything tagged nightly"
    topical = intent in ("find", "all") and period is not None and not _PAST.search(period.said)  # as in "can I ship on friday"
    return Question(
        text=text,
        intent=intent,
        by=by,
        of=_of(timeless),
        outcome=outcome,
        kinds=kinds,
        names=names,
        errors=errors,
        period=None if topical else period,
        terms=tuple(_expanded(terms(lowered if intent == "find" else timeless))),
        rest=rest,
        most=int(most[1]) if most is not None else None,
        about=tuple(word for word in rest if word in {match[1] for match in _ABOUT.finditer(timeless)}),
        notes=notes,
    )


def _about_runs(
    timeless: str, ended: Vocabulary, *, apart_from: AbstractSet[str]
) -> tuple[list[Word], dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Return the words of a question with what was read from them marked, the names in it and the errors it speaks of."""
    words = as_words(timeless)
    names = ended.find(words, apart_from=apart_from)
    joined = [f"{a.text}{b.text}" for a, b in pairwise(words) if not (a.used or b.used)]  # "time out" is timeout
    words = _without_frame(words, timeless)
    return words, names, ended.find_errors(words, joined)


def _intent(plain: str, *, outcome: str | None, named: bool, notes: bool) -> tuple[str, str | None]:
    """Return what is asked, and what it ranges over: a ranking of nothing that can be ranked is a search."""
    intent = next((name for name, pattern in _PATTERNS if pattern.search(plain)), "find")
    by = _by(plain) if intent in ("top", "best", "worst") else None
    if by is None and (intent in ("best", "worst") or (intent == "top" and outcome is None and not named)):
        intent = "find"
    if notes and by is None and intent in ("find", "last", "top", "count") and not _RUN.search(plain):
        asked = _SHOW.search(plain) or _ASKS_FOR.search(plain)
        intent = "all" if asked else "count" if intent == "count" else "find"
    return intent, by


def _by(plain: str) -> str | None:
    """Return what stands after "which", or else what is named first."""
    asked = [(match.start(), name) for name, pattern in _ASKED_BY if (match := pattern.search(plain))]
    found = asked or [(match.start(), name) for name, pattern in _NAMED_BY if (match := pattern.search(plain))]
    return min(found)[1] if found else None


def _asking_part(lowered: str) -> tuple[str, str]:
    """Return the sentences of a question that ask, and what stands around them."""
    sentences = [part.strip() for part in _SENTENCE.split(lowered) if part.strip()]
    asking = (
        [part for part in sentences if part.endswith("?")] or [part for part in sentences if _BEGINS.match(part)] or sentences
    )
    around = [part for part in sentences if part not in asking]
    around += [match[0] for part in asking if (match := _SUBORDINATE.match(part))]
    return " ".join(_SUBORDINATE.sub("", part) for part in asking), " ".join(around)


def _of(timeless: str) -> str:
    if _RELIABLE.search(timeless):
        return "success"
    if _DURATION.search(timeless) and not _RATE.search(timeless):
        return "duration"
    return "cost" if _COST.search(timeless) else "success"


def _outcome(timeless: str) -> str | None:
    text = _EITHER.sub(" ", _RATE.sub(" ", timeless))
    return next((name for name, pattern in _OUTCOMES if pattern.search(text)), None)


def _without_frame(words: list[Word], timeless: str) -> list[Word]:
    """Mark what says how it went, or only frames the question, as used."""
    said = {word for _, pattern in _OUTCOMES for match in pattern.finditer(timeless) for word in words_of(match[0])}
    return [Word(word.text, used=word.used or word.text in said or word.text in STOP or word.text in _FRAME) for word in words]


def _expanded(words: list[str]) -> dict[str, None]:
    """Return words with what people's short names for errors mean."""
    return dict.fromkeys(saying for word in words for saying in error_words(word))


def _rest(words: list[Word], plain: str, timeless: str) -> tuple[str, ...]:
    """Return the words nothing was read from, of the clauses that ask: what stands around them is small talk."""
    asked = {part for match in _ASKING.finditer(plain) for part in words_of(match[0])}
    clauses = _CLAUSE.split(timeless)
    telling = {word for clause in clauses if _ASKING.search(clause) for word in words_of(clause)} if len(clauses) > 1 else ()
    return tuple(
        word
        for word in dict.fromkeys(unused(words))
        if len(word) > 1
        and word not in STOP
        and word not in _FRAME
        and word not in asked
        and (not telling or word in telling)
        and not _KIND_OR_NOTE.fullmatch(word)
    )
