"""A deterministic reading of a question: what is asked for, about which runs or notes, of which time.

Words are read off the question in order: its time, the names this workspace knows, what is asked, how it went, which kinds
of notes. What nothing was read from is what is searched for.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from itertools import pairwise

from learning_loop.features import error_words
from learning_loop.retrieval.periods import NUMBERS, Period, read_period
from learning_loop.retrieval.vocabulary import Vocabulary, Word
from learning_loop.retrieval.wording import canonical, spelled
from learning_loop.retrieval.words import MOST_CHARACTERS, STOP, terms, words_of

MOST_LEFT = 4  # words nothing was read from: a text with more of them is searched for, whatever else it says
PASTED = 3  # words of an error in a question: it was pasted, with all that stood in it

KINDS = {
    "pattern": r"(?:anti ?)?patterns?|approach(?:es)?",
    "template": r"templates?",
    "rule": r"rules?",
    "decision": r"decisions?|adrs?",
    "assumption": r"assum\w+",
    "gotcha": r"gotchas?|pitfalls?|caveats?|traps?",
    "reflection": r"reflections?|retrospectives?|post ?mortems?",
    "lesson": r"lessons?|learnings?|learn(?:ed|t)",
}
_NOTE = r"notes?|memor(?:y|ies)|knowledge|entr(?:y|ies)"
_RUN_NOUN = r"runs?|executions?|jobs?|tasks?|attempts?|tries|trials?|examples?|samples?|instances?|occurrences?|cases?"
_RUN = rf"{_RUN_NOUN}|deploy\w*|builds?"  # the latter two say what kind of work it was as well
_ISSUE = r"errors?|exceptions?|failures?|problems?|issues?|reasons?|causes?|faults?|fails"
_FAILED = r"failed|errors?|exceptions?|unsuccess\w*|wrong|bad(?:ly)?|red|trouble\w*|incidents?|outages?|hiccups?|issues?|problems?|bugs?|failures?|fails"
_SUCCEEDED = r"succeeded|succe\w+|green|fine|clean(?:ly)?|ok(?:ay)?|good|well"
_OUTCOMES = [("failed", _FAILED), ("succeeded", _SUCCEEDED)]

_BY = [  # what can be ranked, and what the words for it are
    ("agent", r"agents?|who|whom|whose|models?|people|person|anyone|one who"),
    ("component", r"components?|modules?|parts?|services?|areas?"),
    ("type", r"(?:types?|kinds?|sorts?) of (?:tasks?|jobs?|work|runs?)|(?:task|job) types?|types?(?! of)"),
    ("error", rf"(?:(?:types?|kinds?|sorts?) of )?(?:{_ISSUE})"),
]
_RELIABLE = r"reliab\w*|dependabl\w*|stable|stability|trust\w*|success\w*|steady|safe\w*"
_GREATEST = r"highest|largest|biggest|greatest|strongest|top|most|best"
_SMALLEST = r"lowest|smallest|least|fewest|worst|poorest|weakest|slimmest"
_WORSE = (
    r"worse|better|slower|faster|quicker|longer|shorter|flakier|more (?:un)?(?:reliable|expensive|stable)|less (?:reliable|stable)"
    r"|cheaper|costlier"
)
_INTENTS = [  # the first that fits is meant
    ("similar", r"similar\w*|(?:runs?|tasks?|executions?|jobs?|ones?|anything) like|comparable|resembl\w+|alike"),
    ("worst", rf"(?:{_GREATEST}) (?:\w+ )?badrate|(?:{_SMALLEST}) (?:\w+ )?goodrate|failed (?:the )?most reliably"),
    (
        "best",
        rf"(?:{_GREATEST}) (?:\w+ )?goodrate|(?:{_SMALLEST}) (?:\w+ )?badrate|failed (?:the )?least|fewest (?:{_ISSUE})",
    ),
    (
        "trend",
        rf"trend\w*|over time|more and more|less and less|(?:get\w*|got|becom\w+|became|is|are|any|and) (?:\w+ )?(?:{_WORSE})|"
        rf"(?:{_WORSE}|more|less) (?:\w+ ){{0,6}}?than (?:before|it|they|he|she|we|last|in|usual|ever)|"
        rf"(?:{_WORSE}|more|less) (?:\w+ )?(?:over|lately|nowadays|these days|recently)|"
        r"(?:more|less) (?:often|frequently)|more frequent|improv\w+|worsen\w*|deteriorat\w+|degrad\w+|regress\w+|evol[vu]\w+|"
        r"slow(?:ed|ing) down|speed(?:ing)? up|sped up|creep\w*|"
        r"(?:ris|grow|increas|decreas|declin|dropp|shrink)ing|increased|decreased|risen|grown|declined|(?:going|gone|go) (?:up|down)",
    ),
    ("slowest", r"slowest|(?<!no )longest|(?:took|takes|taken|needs?|needed|lasted|ran) (?:the )?most time|most time"),
    ("fastest", r"fastest|quickest|shortest"),
    (
        "worst",
        rf"worst|(?:{_SMALLEST}) (?:{_RELIABLE})|weakest|most unreliabl\w+|flak(?:y|iest)|bad at|struggl\w+(?: the)?(?: most)?",
    ),
    (
        "best",
        rf"best|(?:{_GREATEST}) (?:{_RELIABLE})|strongest|good at|better (?:at|with)|(?:count|rely|depend) on (?:the )?most",
    ),
    (
        "level",
        r"(?:good|bad)rate|how (?:reliable|stable|flaky|successful|expensive|costly|slow|fast|quick)|how long (?:do|does|did|is|are|was|were)|"
        r"(?:average|mean|median|typical|usual|normal) (?:\w+ )?(?:durations?|times?|runtime|costs?)|compare[ds]?",
    ),
    ("count", r"how many|count(?: of| up)?|tally|frequency"),
    (
        "top",
        r"most often|(?:the )?most(?! recent)(?: often)?|commonest|common(?:ly)?|usual\w*|typical\w*|mainly|main|mostly|top|"
        r"(?:highest|largest|greatest|biggest) number|biggest|frequent\w*|keeps? (?:on )?(?:\w+ing|failed)",
    ),
    ("last", r"last|latest|final|most recent\w*|newest|recent\w*|previous\w*"),
    ("first", r"first(?: time)?|earliest|oldest"),
]


def _whole(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{pattern})(?!\w)")


_INTENT_CUES = [(name, _whole(pattern)) for name, pattern in _INTENTS]
_OUTCOME_CUES = [(name, _whole(pattern)) for name, pattern in _OUTCOMES]
_KIND_CUES = [(kind, _whole(pattern)) for kind, pattern in KINDS.items()]
_KIND_OR_NOTE = "|".join([*KINDS.values(), _NOTE])
_NOTE_CUE, _RUN_CUE, _KIND_OR_NOTE_CUE = _whole(_NOTE), _whole(_RUN), _whole(_KIND_OR_NOTE)
_CUES = re.compile("|".join(cue.pattern for _, cue in (*_INTENT_CUES, *_OUTCOME_CUES)))
_BY_CUES = [(name, _whole(pattern)) for name, pattern in _BY]
_ASKED_BY_CUES = [
    (name, _whole(rf"(?:which|what|our|of the|of all)(?: one)?(?: of)?(?: (?:the|our|all|these|\w+))? (?:{pattern})"))
    for name, pattern in _BY
] + [("agent", _whole(r"who|whom"))]
_NOTES_ASKED_FOR = re.compile(  # as in "which patterns failed"
    rf"\b(?:which|what|any|known|our|the) (?:\w+ )?(?:{_KIND_OR_NOTE})\b|^(?:{_KIND_OR_NOTE})\b"
)
_EXECUTION_CUE = _whole(r"runs|executions")
_RUN_NOUN_CUE = _whole(_RUN_NOUN)
_SHARE_CUE = _whole(r"proportion\w*|percent\w*|relative\w*|in relation")
_RATE_CUE = _whole(r"(?:good|bad)rate")
_SHOW = r"show(?:ing)?|list(?:ing)?|give|get|pull|print|tell|see|display|dump|go through"
_ALL = r"all|every|each|everything|full|complete|whole|list"
_ALL_CUE = _whole(rf"(?:{_SHOW})\b.*\b(?:{_ALL})|all|every|complete list|everything")
_SHOW_CUE = _whole(rf"{_SHOW}|any|some|a few|which|what were|examples?|samples?")
_DURATION_CUE = _whole(
    r"slow\w*|fast\w*|quick\w*|durations?|(?:run|running|execution) ?times?|(?<!over )(?<!with )(?<!last )(?<!the )(?<!of )time|long\w*|"
    r"short\w*|speed\w*|sped|latency|runtime|took|takes?|seconds|minutes"
)
_COST_CUE = _whole(r"costs?|costly|cheap\w*|expens\w+|dollars?|usd|money|price[ys]?")
_SUCCESS_CUE = _whole(r"\w*reliab\w+|(?:good|bad)rate|succe\w+|fail\w*|flak\w+|stable|unstable|stability")
_FEW_CUE = re.compile(rf"\b(?:last|latest|newest|first|slowest|fastest|recent) (\d{{1,3}}|{'|'.join(NUMBERS)})\b")
_MANY_OF = re.compile(
    r"\bhow many (?:of )?(?:the |our )?(?P<sorts>different |distinct |(?:kinds|types|sorts) of )?(?:the |our )?(?P<what>\w+)"
)
_EXCLUDING = re.compile(  # names taken out are "_"
    r"\b(?:(?:all |any\w* )?(?:other than|except(?: for)?|excluding|apart from|but not|anything but)\b|(?:without|not)(?: \w+){0,2} _(?!\w)|, not \w+)"
)
_SO_MANY = re.compile(rf"(?<!last )(?<!first )(?<!latest )(?<!newest )\b\d+ (?=(?:{_RUN})\b)")  # "of the 2000 runs"
_COMPARED = re.compile(r"\b(?:or|than|versus|vs|compare[ds]?)\b")
_MOST_OF_WHAT = re.compile(r"\bmost (?!often|common|frequent|usual)(\w+)")
_EACH = re.compile(
    rf"\b(?:per|for each|by each|of each|for every|grouped by|broken down by) ({'|'.join(pattern for _, pattern in _BY)})(?!\w)"
)
_YES_OR_NO = re.compile(r"^(?:did|does|was|has|have|is|were)\b")
_PAST = re.compile(r"\b(?:since|last|past|previous|ago|between|from|before|after|until|till|yesterday|this|week|\d{4}|in)\b")
_BASELINE = re.compile(  # what is compared with is no time that is asked about
    r"\b(than|as)((?: (?:it|they|he|she|we|things|that))?(?: (?:did|was|were|used to|had been|has been|is|are))?)"
    r" (?:(?:in|during|back in) )?(?:(?:an? |\w+ ){1,3}ago|last \w+|the \w+ before|in the past)"
)
_ABOUT = re.compile(
    r"(?:\b(?:about|on|for|of|regarding|concerning|mention\w*|around|with|(?:related|relates|due|regard|respect|answers?) to|against)\s+(?:the |our |a |any )?|"
    r"\b(?=[\w-]+[- ](?:specific|related)))(\w+)"
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_CLAUSE = re.compile(r"[,;:!?.]+(?:\s|$)|\b(?:so that|because|if i)\b")
_SUBORDINATE = re.compile(r"^(?:before|while|because|if|as|although|though|just so|sorry|suppose|given)\b[^,?]*,\s*(?=\w+ \w+)")
_LEAD = re.compile(  # what stands before the question proper
    r"^.*?(?:\b(?:ask|know|tell me|wonder\w*|curious|say|hoping|remind me|find out|interested in|question is)|[,;:-])\s+(?:please )?(?:you )?"
    r"(?=(?:in |on |at |for |of )?(?:how|which|who|whom|what|when|whether)\b)"
)
_PURPOSE = re.compile(r"^(?:before|after|for|as|since|because) .*?\b(?=(?:i|we) (?:would (?:like|love)|want|need|have) to\b)")
_BEGINS = re.compile(
    r"^(?:please )?(?:show|list|give|tell|find|count|get|what|which|who|when|where|why|how|is|are|did|does|do|has|have|was|any)\b"
)
_EXPLAIN = re.compile(  # "how does the payment webhook work", "what is the kill switch": verbs are no verdicts there
    r"(?:how (?:do|does|can|could|should|would|to)|what (?:is|are|does|do)|where (?:is|are|do|does)|why (?:is|are|do|does))\b"
)
_TOKEN = re.compile(r"[^\W_]+|[,;:!?.](?=\s|$)")
_GENERIC = frozenset(
    {"component", "components", "task", "tasks", "agent", "agents", "type", "types", "run", "runs", "error", "errors", "job"}
)
_FRAME = frozenset(  # what a question is put in: the nouns of this memory, quantities, requests, times, and fillers
    """
    agent agents cause causes component components error errors exception exceptions execution executions failure failures issue
    issues job jobs kind kinds memory note notes problem problems reason reasons result results run runs status tag tagged tags
    task tasks type types
    anybody anyone anything certain complete different everybody everyone everything lot lots many much nobody nothing number
    numbers one ones people percentage rate several share somebody someone something stuff thing things total two whole
    answer ask called come could describe end ended find found get gets give go going got had happen happened happens help hit
    hope identify include included involving item items know known let like list look looking made mean meet mind name names need
    ran report running say record recorded see seen show sort take taken talk tell think touch touched tried try used using want whether wonder
    work worked working works
    ago already always back day days ever far hour hours lately moment month months morning night now nowadays often past prior
    quarter recently soon still then time times today till week weeks year years yet
    about across actually also among approximately around average dear exactly hello hey hi high honest idea info information just
    kindly long low new normal old only per please question quite really roughly short small sorry sure thank thanks together
    upon usual via within without big overall
    """.split()  # noqa: SIM905  (two hundred quotes read worse)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a question asks.

    `intent` is find, last, first, slowest, fastest, count, top, best, worst, level, trend, similar, history, runs or all; `by`
    is what top, best and worst range over, `of` what a level or a trend is of. Names are those the workspace knows; `errors` are
    fingerprints. `terms` is all that can be searched for, `rest` what of it nothing was read from, `about` what of that
    stands after a word like about, on or with.
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
    excluding: str | None = None  # words that take something out, which is not understood

    @property
    def about_notes(self) -> tuple[str, ...]:
        """What notes are searched for by: where something else was asked, without the words that asked it."""
        return self.terms if self.intent == "find" or not self.rest else self.rest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What a question says apart from its time: `plain` has its names taken out, `left` is what nothing was read from."""

    plain: str
    names: dict[str, tuple[str, ...]]
    errors: tuple[str, ...]
    left: tuple[str, ...]
    pasted: bool  # a whole message, of which what nothing was read from is a part


def read_question(text: str, vocabulary: Vocabulary, now: datetime, *, runs: Vocabulary | None = None) -> Question:
    """Read a question in plain words, as of `now`, which carries the asker's time zone.

    `runs` has the names that executions carry, where notes carry others as well: what is asked of runs is narrowed by those.
    """
    said = text[:MOST_CHARACTERS]
    lowered = spelled(said)
    asking, around = _asking_part(lowered)
    if around:
        alone = _told(_period(asking, "", now)[1], "", vocabulary)
        if not (alone.left or alone.names):
            asking, around = lowered, ""  # "We had some deadlocks in the api. Could you list a few?"
    found = _read(said, asking, around, vocabulary, runs or vocabulary, now)
    return replace(found, terms=tuple(_expanded(terms(said)))) if found.intent == "find" else found


def _read(said: str, asking: str, around: str, vocabulary: Vocabulary, ended: Vocabulary, now: datetime) -> Question:
    """Read the part of a question that asks; what stands `around` it gives names and a time, where that has none."""
    period, timeless = _period(asking, around, now)
    told = _told(timeless, around, vocabulary)
    plain = told.plain
    kinds = tuple(kind for kind, cue in _KIND_CUES if cue.search(plain))
    notes = bool(kinds or _NOTE_CUE.search(plain))
    outcome, of = _outcome(plain), _of(plain)
    intent, by = _intent(plain, around, outcome=outcome, named=bool(told.names), notes=notes)
    if not notes and (intent not in ("find", "all") or outcome or period or told.names or _RUN_CUE.search(plain)):
        ran = _told(timeless, around, ended, everything=intent == "similar")
        if intent in ("find", "all"):
            intent = _of_runs(intent, ran, outcome=outcome, period=period)
        if intent not in ("find", "all") and len(ran.left) <= MOST_LEFT:
            told, outcome = ran, "failed" if ran.errors else outcome
    excluding = _EXCLUDING.search(told.plain)
    if len(told.left) > MOST_LEFT or excluding is not None:
        intent = "find"
    if intent in ("find", "all"):
        told = replace(told, errors=())
    intent, by = _settled(intent, by, told, outcome=outcome, notes=notes, of=of)
    few = _FEW_CUE.search(timeless) if intent in ("last", "first", "slowest", "fastest") else None
    topical = intent in ("find", "all") and period is not None and not _PAST.search(period.said)  # "can I ship on friday"
    left = tuple(word for word in told.left if few is None or word != few[1])
    about = {match[1] for match in _ABOUT.finditer(timeless)} if left else set()
    return Question(
        text=said,
        intent=intent,
        by=by,
        of=of,
        # "did it fail last time": whichever way the last one went
        outcome=None if intent == "last" and _YES_OR_NO.match(timeless) else outcome,
        kinds=kinds,
        names=told.names,
        # "we wait longer and longer" is of no lock's wait
        errors=() if intent == "trend" and of != "success" else told.errors,
        period=None if topical else period,
        terms=tuple(_expanded(terms(timeless))),
        rest=left,
        most=None if few is None else int(few[1]) if few[1].isdigit() else NUMBERS[few[1]],
        about=tuple(word for word in left if word in about),
        notes=notes,
        excluding=excluding[0].strip(" ,_") if excluding is not None else None,
    )


def _settled(intent: str, by: str | None, told: _Told, *, outcome: str | None, notes: bool, of: str) -> tuple[str, str | None]:
    """Return what is asked, and what it ranges over, once names and errors are known."""
    if intent == "top" and by is None:
        by = "component" if outcome and not ("component" in told.names or "agent" in told.names) else "error"
        if told.left and not (told.names or told.errors):  # "why does the widget keep crashing" is of the widget
            intent = "find"
    if intent == "top" and outcome == "failed" and _SHARE_CUE.search(told.plain):
        intent = "worst"
    if (
        intent == "top" and (most := _MOST_OF_WHAT.search(told.plain)) and most[1] in told.left
    ):  # "the most expensive component"
        intent = "find"
    if intent in ("count", "find", "top") and (each := _EACH.search(told.plain)):  # "how many runs per agent"
        intent, by = "top", next((name for name, cue in _BY_CUES if cue.fullmatch(each[1])), by)
    several = next((category for category, names in told.names.items() if len(names) > 1 and category != "tag"), None)
    if intent in ("trend", "level") and several is not None and _COMPARED.search(told.plain):  # "who is better, alice or bob"
        intent, by = ("best", several) if of == "success" else ("find", None)
    if intent == "level" and (told.left or not told.names):  # "how long do we keep a slot"
        intent = "find"
    if intent == "count" and (many := _MANY_OF.search(told.plain)):
        if many["what"] in told.left:  # "how many screens are too many"
            intent = "find"
        elif not told.errors:
            ranged = (name for name, cue in _BY_CUES if cue.fullmatch(many["what"]) and (name != "error" or many["sorts"]))
            by = next(ranged, None)
    if intent == "find" and not told.left and (notes or (told.names.get("tag") and _ALL_CUE.search(told.plain))):
        intent = "all"  # as in "failed patterns booking-form", "everything tagged nightly"
    return intent, by


def _asking_part(lowered: str) -> tuple[str, str]:
    """Return the sentences of a question that ask, and what stands around them."""
    sentences = [part.strip() for part in _SENTENCE.split(lowered) if part.strip()]
    asking = (
        [part for part in sentences if part.endswith("?")] or [part for part in sentences if _BEGINS.match(part)] or sentences
    )
    around = [part for part in sentences if part not in asking]
    for pattern in (_SUBORDINATE, _PURPOSE, _LEAD):
        around += [match[0] for part in asking if (match := pattern.match(part))]
        asking = [pattern.sub("", part) for part in asking]
    return " ".join(asking), " ".join(around)


def _period(asking: str, around: str, now: datetime) -> tuple[Period | None, str]:
    """Return the time that is asked about, and the question without it."""
    period, timeless = read_period(_BASELINE.sub(r"\1\2 before", asking), now)
    if around and (period is None or not _PAST.search(period.said)):
        other, _ = read_period(around, now)
        period = other if other is not None and _PAST.search(other.said) else period
    return period, timeless


def _told(timeless: str, around: str, vocabulary: Vocabulary, *, everything: bool = False) -> _Told:
    """Read the names and the errors in a question; words like task name nothing, unless `everything` may be a name."""
    tokens = _TOKEN.findall(timeless)
    words = [Word(token) for token in tokens if token[0].isalnum()]
    asking = {word.text for word in words if _asks(word.text)}  # a slip makes no name of them
    within = {word.text for word in words if _generic(word.text)}
    names = vocabulary.find(words, within_names=frozenset() if everything else within, exact=asking)
    read = iter(words)
    shown = [token if not token[0].isalnum() or not next(read).used else "_" for token in tokens]
    plain = canonical(_SO_MANY.sub("", " ".join(shown)), idioms=not _EXPLAIN.match(timeless.strip()))
    left = [Word(word) for word in _left([plain]) if word not in STOP and word not in _FRAME]
    joined = [f"{a}{b}" for a, b in pairwise(words_of(plain))] if vocabulary.errors else []  # "time out" is timeout
    errors = vocabulary.find_errors(left, joined) if vocabulary.errors else ()
    unread = [word.text for word in left if not word.used]
    pasted = len(left) - len(unread) >= PASTED
    clauses = [clause for clause in _CLAUSE.split(plain) if clause.strip()]
    if len(clauses) > 1 and (telling := [clause for clause in clauses if _CUES.search(clause)]):
        unread = [word for word in unread if word in _left(telling)]
    if around:  # "I work on the api. Who is best at it?"
        beside = _told(around, "", vocabulary)
        names = {**beside.names, **names}
        errors = errors or (beside.errors if beside.pasted or not names.get("component") else ())
    return _Told(plain=plain, names=names, errors=errors, left=() if pasted else tuple(unread), pasted=pasted)


@lru_cache(maxsize=10_000)
def _asks(word: str) -> bool:
    return word in _FRAME or _CUES.fullmatch(word) is not None


@lru_cache(maxsize=10_000)
def _generic(word: str) -> bool:
    return word in _GENERIC or _KIND_OR_NOTE_CUE.fullmatch(word) is not None


def _left(clauses: Sequence[str]) -> list[str]:
    """Return the words of clauses that say neither what is asked nor how it went."""
    text = " ".join(clauses)
    for cue in (_CUES, _KIND_OR_NOTE_CUE, _RUN_NOUN_CUE):
        text = cue.sub(" ", text)
    return [word for word in dict.fromkeys(words_of(text)) if len(word) > 1]


def _intent(plain: str, around: str, *, outcome: str | None, named: bool, notes: bool) -> tuple[str, str | None]:
    """Return what is asked, and what it ranges over: a ranking of nothing that can be ranked is a search."""
    intent = next((name for name, cue in _INTENT_CUES if cue.search(plain)), "find")
    by = _by(plain) or _by(around) if intent in ("top", "best", "worst") else None
    if by is None and (intent in ("best", "worst") or (intent == "top" and outcome is None and not named)):
        intent = "find"
    if notes and by is None and intent in ("find", "last", "top", "count"):
        listed = _NOTES_ASKED_FOR.search(plain)
        if listed or not _RUN_CUE.search(plain):
            intent = "all" if listed or _ALL_CUE.search(plain) else "count" if intent == "count" else "find"
    return intent, by


def _of_runs(intent: str, ran: _Told, *, outcome: str | None, period: Period | None) -> str:
    """Return what is asked of runs, where nothing more definite was said: to see them, or what is known of them."""
    told = bool(ran.names or ran.errors)
    if (_RUN_CUE.search(ran.plain) or ran.names.get("type")) and (
        _ALL_CUE.search(ran.plain) or (_SHOW_CUE.search(ran.plain) and _certainly_runs(ran))
    ):
        return "runs"
    if intent == "find" and not ran.left:
        if told and (outcome or ran.errors or _RUN_CUE.search(ran.plain)):
            return "history"  # as in "timeout incidents on the booking form"
        if outcome or period:
            return "runs"  # as in "what happened today"
    return intent


def _certainly_runs(ran: _Told) -> bool:
    """Say whether what is to be shown are runs: examples and cases may be of other things."""
    return bool(ran.errors or (ran.names and (not ran.left or _EXECUTION_CUE.search(ran.plain))))


def _by(plain: str) -> str | None:
    """Return what stands after "which", or else what is named first."""
    asked = [(match.start(), name) for name, cue in _ASKED_BY_CUES if (match := cue.search(plain))]
    found = asked or [(match.start(), name) for name, cue in _BY_CUES if (match := cue.search(plain))]
    return min(found)[1] if found else None


def _of(plain: str) -> str:
    if _SUCCESS_CUE.search(plain):
        return "success"
    if _DURATION_CUE.search(plain):
        return "duration"
    return "cost" if _COST_CUE.search(plain) else "success"


def _outcome(plain: str) -> str | None:
    text = _RATE_CUE.sub(" ", plain)
    return next((name for name, cue in _OUTCOME_CUES if cue.search(text)), None)


def _expanded(words: list[str]) -> dict[str, None]:
    """Return words with what people's short names for errors mean."""
    return dict.fromkeys(saying for word in words for saying in error_words(word))
