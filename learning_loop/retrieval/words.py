"""The words of a text that can be searched for."""

import re

STOP = frozenset(
    """
    a about after again all also am an and any are as at be because been before being between both but
    by can could did do does doing done during each every few find for from further get give had has
    have having he her here hers him his how i if in into is it its itself just know last let like list
    make many me more most much my no nor not now of off on once only or other our out over own please
    same she should show so some such tell than that the their them then there these they thing things
    this those through time to too tried try under until up us use very was way we were what when where
    which while who whom whose why will with would you your
    """.split()  # noqa: SIM905  (a hundred quotes read worse)
)
MOST_CHARACTERS = 10_000  # of a text that is read word by word: what a question may be
_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, compound ones in their parts."""
    return _WORD.findall(text[:MOST_CHARACTERS].lower())


def terms(text: str, *, most: int = 32) -> list[str]:
    """Return the distinct words of a text that say something: no stop words, no single letters."""
    found = dict.fromkeys(word for word in words_of(text) if word not in STOP and (len(word) > 1 or word.isdigit()))
    return list(found)[:most]
