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
_WORD = re.compile(r"[^\W_]+(?:[._-][^\W_]+)*")


def terms(text: str, *, most: int = 32) -> list[str]:
    """Return the distinct words of a text in lower case, without stop words; compound ones whole and in their parts."""
    found: dict[str, None] = {}
    for match in _WORD.finditer(text[:10_000].lower()):
        word = match[0]
        for part in dict.fromkeys([*re.split(r"[._-]", word)]):
            if part and part not in STOP and (len(part) > 1 or part.isdigit()):
                found.setdefault(part)
    return list(found)[:most]
