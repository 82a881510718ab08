"""How people put things, brought into the few words that a question is read by: slips, short forms, idioms.

What is searched for keeps the asker's own words; only the reading goes by these.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

_SHORT = {  # as people type them
    "mny": "many",
    "wich": "which",
    "whcih": "which",
    "wat": "what",
    "hw": "how",
    "wk": "week",
    "wks": "weeks",
    "yr": "year",
    "yrs": "years",
    "mth": "month",
    "mths": "months",
    "pls": "please",
    "plz": "please",
    "prev": "previous",
    "avg": "average",
    "freq": "frequency",
    "cnt": "count",
    "qty": "quantity",
    "ppl": "people",
    "tix": "tickets",
    "b4": "before",
    "ystd": "yesterday",
    "yday": "yesterday",
    "gonna": "going to",
    "wanna": "want to",
    "gimme": "give me",
    "lemme": "let me",
    "tho": "though",
    "cos": "because",
    "cuz": "because",
    "succes": "success",
    "wats": "what is",
    "whats": "what is",
    "whos": "who is",
    "hows": "how is",
    "cannot": "can not",
}
_KNOWN = """
    agent agents assume assumption assumptions august average because before between broken common commonly component
    components count crashed december decision decisions deployment deployments deploys duration errors executions
    failed failing failure failures faster fastest february finished frequent frequently friday gotchas happened happens
    issues january latest lessons longest module modules monday november number october pattern patterns percentage
    pitfalls previous problem problems quarter quickest recent recently reflection reflections reliable saturday
    september shortest similar since slower slowest succeeded success successes successful successfully sunday template
    templates thursday trouble tuesday usually wednesday without worked working yesterday
""".split()  # noqa: SIM905  (a hundred quotes read worse)
_BY_LETTER = {letter: [word for word in _KNOWN if word[0] == letter] for letter in {word[0] for word in _KNOWN}}
LEAST_LETTERS = 6

_CONTRACTIONS = [
    (re.compile(r"\bcan't\b"), "can not"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"\b(what|who|where|when|how|it|that|there|here)'s\b"), r"\1 is"),
    (re.compile(r"'s\b"), ""),
    (re.compile(r"'ve\b"), " have"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"'d\b"), " would"),
    (re.compile(r"'ll\b"), " will"),
    (re.compile(r"\bi'm\b"), "i am"),
]
_OTHERS = [
    (re.compile(r"\b(did|does|do|was|is|are|have|has|were)nt\b"), r"\1 not"),
    (re.compile(r"\b(?:i (?:am )?)?(?:search(?:ing)?|look(?:ing)?) for\b|\bi (?:am )?search(?:ing)?\b|\bi seek\b"), "show"),
    (re.compile(r"\b(?:no|nr)\. of\b|#\s?of\b"), "number of"),
]
_TOKEN = re.compile(r"[^\W_]+")


def spelled(text: str) -> str:
    """Return a question in lower case with its short forms written out and slips in the words it is read by mended."""
    text = " ".join(text.lower().replace("\u2019", "'").split())
    for pattern, instead in [*_CONTRACTIONS, *_OTHERS] if "'" in text else _OTHERS:
        text = pattern.sub(instead, text)
    return _TOKEN.sub(lambda match: _mended(match[0]), text)


@lru_cache(maxsize=10_000)
def _mended(word: str) -> str:
    """Return the known word that one dropped, doubled or swapped letter makes of this one; a word of its own stays."""
    if word in _SHORT:
        return _SHORT[word]
    near = _BY_LETTER.get(word[0], ())
    if len(word) < LEAST_LETTERS - 1 or word in near or word.isdigit():
        return word
    from rapidfuzz.distance import OSA

    for known in near:
        if len(known) >= LEAST_LETTERS and OSA.distance(word, known, score_cutoff=1) == 1:
            other = len(word) == len(known) and sorted(word) != sorted(known)  # another letter is mostly another word
            plural = word + "s" == known or known + "s" == word or word + "ly" == known
            if not (other or plural):
                return known
    return word


_ISSUES = r"issues?|problems?|errors?|trouble|hiccups?|incidents?|failures?|failing|failed|crash\w*|bugs?"
_BE = r"(?:did|does|do|has|have|had|was|were|is|are)"
_RATE = r"(?:rate|share|ratio|quota|percentage|proportion)s?"
_CAME_OUT = r"(?:turn\w*|end\w*|came|come|w[eo]nt|go(?:es|ing|ne)?|got|did|do|done)"
_DEGREE = r"(?:out |up |very |so |really |rather |pretty |all )?"
_SAYINGS = [  # in this order; what stands for nothing is taken out
    (  # either way
        "",
        r"whether (?:\w+ ){1,4}or (?:not|\w+)",
        r"regardless of (?:\w+ ?){1,4}",
        r"no matter (?:how|what|whether|if)(?: \w+){1,3}",
        r"(?:good|passed|worked|succeeded|successful) or (?:bad|failed|not|otherwise)",
        r"(?:failed|bad|broken) or (?:good|not|passed|succeeded)",
        r"(?:the )?(?:failed|failures|failing|successful|succeeded)(?: ones| runs)?(?: ,)? (?:included|or not|as well|too)",
        r"(?:including|included|whether) (?:the )?(?:failed|failures|successful)\w*(?: ones| runs)?",
    ),
    (
        "badrate",
        rf"(?:fail\w*|error) ?{_RATE}",
        rf"{_RATE} of (?:fail\w*|broken|unsuccessful)(?: runs?| ones?)?",
    ),
    (
        "goodrate",
        rf"(?:succe\w+|pass|win|hit) ?{_RATE}",
        rf"{_RATE} of (?:succe\w+|passed|passing|green|good)(?: runs?| ones?)?",
    ),
    (
        "succeeded",
        rf"(?:without|no|zero) (?:any |an? |more |further |single )?(?:{_ISSUES})",
        rf"{_BE} not (?:\w+ )?(?:fail\w*|broken?|break\w*|crash\w*)",
        r"(?:not|never|neither) (?:fail\w*|broke)",
    ),
    (
        "failed",
        rf"{_BE} not (?:\w+ )?(?:work\w*|succe\w+|pass\w*|go (?:well|through|fine|right|so well))",
        r"not (?:work\w*|go (?:well|fine))|unsuccess\w*|without success|no success",
        rf"{_CAME_OUT} {_DEGREE}(?:bad(?:ly)?|wrong|poor(?:ly)?|terribl[ey]|south|sideways|awry|pear shaped|red|sour|in tears)",
        r"went down|bl[eo]w\w* up|blown up|(?:mess|screw)\w* up|f[ea]ll\w* (?:over|apart|flat|through)",
        r"(?:go\w*|went) (?:belly up|bust)",
        r"let\w* (?:us|me|you|them) down|bit(?:e|es|ten)? (?:us|me|the dust)|tripp?\w* (?:us |me )?up|backfir\w+|misfir\w+",
        r"crash\w*|broke(?:n)?|breaking|breakage|borked|fail\w*|abort\w*|collaps\w+",
    ),
    (
        "succeeded",
        rf"{_CAME_OUT} (?:it )?{_DEGREE}(?:well|fine|ok|okay|right|green|smoothly|good|great)",
        r"(?:w[ei]nt|gone|goes|got|made it|makes it|(?<!to )go|getting) (?:all the way )?through",
        r"paid off|(?:pan|work)(?:ned|ed|s)? out(?: fine| well)?|succe(?:ed\w*|ss\w*)|suces\w*|passed",
        r"worked(?! (?:on|with|at|for|in)\b)(?: fine| well)*",
    ),
    (
        "how many",
        r"(?<!highest )(?<!largest )(?<!greatest )(?<!biggest )number of",
        r"(?:quantity|amount|count|tally|total|frequency) of|(?:overall|total) (?:number|count)(?: of)?|^total(?: number)? of",
        r"how much(?= (?:times|\w+s)\b)|how (?:often|frequently)|in total|, (?:total|number)(?= please| ,|$)",
    ),
    (
        "most often",
        r"(?<!highest )(?<!largest )most (?:common|frequent|usual|typical)\w*|most of the time",
        r"(?:time and|again and|over and) (?:again|over)|regularly|day in day out",
    ),
    (
        "over time",
        r"as (?:time goes|time passes|we go|the months go)(?: on| by)?",
        r"(?:over|with|across|through) (?:the )?(?:last )?(?:time|months|weeks|years?)\b",
    ),
    (  # what was said stays, for it says what is compared
        r"\g<0> more and more",
        r"(\w+er) and \1|(?:more|less) (?:\w+ )?(?:and|or) (?:more|less)(?: \w+){0,2}",
        r"up or down|down or up|better or worse|worse or better",
        r"(?:nearly |almost |half |just |quite )?as (?:often|much|many|well|fast|quickly|slow|slowly|reliably|long) as",
    ),
]
_IDIOMS = [  # verbs that tell how a run went, where nothing is to be explained
    ("failed", r"tank(?:ed|s|ing)?|flop\w*|suck\w*|kill\w*|die[ds]?|dying|bounc\w+|bomb\w*|chok\w+|breaks?"),
    ("succeeded", r"pass(?:es|ing)?|work(?:s|ing)?(?! (?:on|with|at|for|in)\b)(?: fine| well)*"),
]


def _compiled(sayings: Iterable[tuple[str, ...]]) -> list[tuple[str, re.Pattern[str]]]:
    return [(instead, re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)")) for instead, *phrases in sayings]


_REWRITES, _MORE = _compiled(_SAYINGS), _compiled(_IDIOMS)


def canonical(plain: str, *, idioms: bool = True) -> str:
    """Return a question, its names taken out, with its idioms put into plain words: failed, succeeded, how many.

    Unless `idioms` are meant, verbs that mean other things as well stay as they are.
    """
    for instead, pattern in [*_REWRITES, *_MORE] if idioms else _REWRITES:
        plain = pattern.sub(instead, plain)
    return plain
