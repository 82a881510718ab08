"""Secrets are taken out of everything before it reaches disk."""

import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

REDACTED = "[redacted]"
SHORT = 80  # letters of a text that may well come again

_WORD = r"(?:^|[_.\- ])"
_STRONG = re.compile(  # names whose value is a secret whatever it is
    r"passw(?:or)?d|passphrase|credential|(?:api|access|private|signing|encryption|ssh|secret)[_.\- ]?key"
    rf"|{_WORD}secrets?(?:$|[_.\- ])|{_WORD}(?:db|pg|user|root|admin|smtp|ftp|ldap)?(?:pass|pwd|pw|pin)$",
    re.IGNORECASE,
)
_WEAK = re.compile(  # names that may as well stand for a count or a switch: numbers under them stay
    rf"(?:{_WORD}|auth|access|refresh|api|bot|csrf)token$|{_WORD}(?:auth|authorization|cookies?|bearer|pat|session[_.\- ]?id)$",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_FLAG = re.compile(
    r"^-{1,2}(?:[\w-]*-)?(?:password|passwd|passphrase|secret|token|api-?key|secret-?key|access-?key)$", re.IGNORECASE
)
_VALUE = r"(?!\[redacted\])(?:\"(?:[^\"\\\n]|\\.){3,}\"|'(?:[^'\\\n]|\\.){3,}'|[^\s,;&'\"<>\])}]{3,})"
SECRET = re.compile(
    r"(?P<pem>-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\Z))"
    r"|(?P<url>(?<=://)[^\s/:'\"]*:[^\s/'\"]+(?=@))"
    r"|(?P<known>\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}\b|\bgithub_pat_\w{20,}\b|\bglpat-[\w-]{20,}"
    r"|\bxox[abeprs]-[\w-]{10,}|\bsk-[A-Za-z0-9_-]{16,}|\b[rs]k_(?:live|test)_\w{10,}|\bAIza[\w-]{35}\b|\bpypi-[\w-]{20,}"
    r"|\bnpm_\w{30,}|\bhf_[A-Za-z0-9]{20,}\b|\bya29\.[\w-]{20,}|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|(?<=hooks\.slack\.com/services/)\S+)"
    r"|(?P<lead>\bbearer\s+)[\w.~+/-]{12,}=*|(?P<basic>\bbasic\s+)(?=[\w+/]*[\d=])[\w+/]{12,}=*"
    r"|(?P<header>\b(?:proxy-)?authorization[\"']?\s*[=:]\s*|\b(?:set-)?cookie[\"']?\s*[=:]\s*)(?!\[redacted\])[^\n\"']{3,}"
    r"|(?P<tag><(?:password|passwd|secret|token|api-?key)>)[^<]+"
    r"|(?P<name>\b[\w.-]*(?:passw(?:or)?d|passphrase|secret|token(?!s)|credential|(?:api|access|private|signing|encryption|ssh)[_-]?key"
    r"|(?<![a-z])(?:db|pg|user|root|admin|smtp|ldap)?_?pass|_pwd|_pat)[\w-]{0,20}?[\"']?(?:\s*(?:=>|[=:])\s*))"
    + _VALUE
    + r"|(?P<said>\bpassword\s+is\s+)"
    + _VALUE
    + r"|(?P<flag>--(?:[\w-]*-)?(?:password|passwd|secret|token|api-?key)\s+)\S{3,}"
    r"|(?P<user>\s-u\s+)[^\s:]+:\S+|(?P<query>[?&](?:sig|signature)=)[^\s&]{8,}",
    re.IGNORECASE | re.DOTALL,
)
_KEPT = ("lead", "basic", "header", "tag", "name", "said", "flag", "user", "query")
_HINTS = (  # one of them stands in whatever SECRET finds: looking for them is many times quicker
    "akia", "asia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat", "glpat-", "xox", "rk_", "sk_", "aiza", "pypi-",
    "npm_", "hf_", "ya29", "eyj", "hooks.slack", "bearer", "basic", "pass", "pwd", "_pat", "secret", "token", "key",
    "credential", "authorization", "cookie", "sig=", "signature=",
)  # fmt: skip
_CLOSER = re.compile(r"\s-u\s|\bsk-", re.IGNORECASE)  # and two that stand in many a word


class Redactor:
    """Replaces secrets in texts, and in the texts inside lists and mappings; everything else passes untouched.

    Secrets are known by their form (private keys, well-known tokens, credentials in URLs), by the name they are assigned to
    (`password=...`, `{"api_key": ...}`), by the patterns given, and by being the value of a secret variable in `environ`.
    """

    def __init__(self, *, patterns: tuple[str, ...] = (), environ: Mapping[str, str] | None = None) -> None:
        values = {value for name, value in (environ or {}).items() if _is_secret_value(name, value)}
        own = [re.escape(value) for value in sorted(values, key=len, reverse=True)] + list(patterns)
        self._own = re.compile("|".join(f"(?:{pattern})" for pattern in own)) if own else None
        self._short = lru_cache(maxsize=4_096)(self.text)  # names, types, reasons: the same in every run
        self._name = lru_cache(maxsize=4_096)(lambda name: (self.text(name), _sounds_secret(name)))

    def __call__(self, value: Any) -> Any:
        if value is None or isinstance(value, (float, int)):
            return value
        if isinstance(value, str):
            return self._short(value) if len(value) <= SHORT else self.text(value)
        if isinstance(value, Mapping):
            return dict(map(self._entry, value, value.values()))
        if isinstance(value, tuple):
            return tuple(self._items(value))
        if isinstance(value, list):
            return self._items(value)
        return value

    def _entry(self, key: Any, item: Any) -> tuple[Any, Any]:
        """Return what stands in a mapping, and under which name."""
        if isinstance(key, str) and len(key) <= SHORT:
            name, sounds = self._name(key)
            return name, REDACTED if any(sounds) and _holds_secret(sounds, item) else self(item)
        return self(key), REDACTED if _is_secret(key, item) else self(item)

    def _items(self, values: Sequence[Any]) -> list[Any]:
        """Return a list's items; one that follows a flag such as --token, as in a command, is that flag's secret."""
        previous = [None, *values[:-1]]
        return [
            REDACTED if isinstance(item, str) and isinstance(flag, str) and _FLAG.match(flag) else self(item)
            for flag, item in zip(previous, values, strict=False)
        ]

    def text(self, text: str) -> str:
        if not text.isascii():
            text = text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates can be stored nowhere
        if self._own is not None:
            text = self._own.sub(REDACTED, text)
        return SECRET.sub(_replace, text) if _may_hold(text) else text


def _may_hold(text: str) -> bool:
    """Say whether there may be a secret in a text; what is none by SECRET may be one by this, never the other way round."""
    folded = text.lower() if text.isascii() else text.casefold().replace("i\u0307", "i").replace("\u0131", "i")  # as IGNORECASE
    if any(hint in folded for hint in _HINTS) or ("://" in folded and "@" in folded):
        return True
    return ("-u" in folded or "sk-" in folded) and _CLOSER.search(text) is not None


def _replace(found: re.Match[str]) -> str:
    return next((found[name] for name in _KEPT if found[name]), "") + REDACTED


def _is_secret(name: Any, value: Any) -> bool:
    """Say whether what stands under a name in a mapping is a secret."""
    return isinstance(name, str) and _holds_secret(_sounds_secret(name), value)


def _holds_secret(sounds: tuple[bool, bool], value: Any) -> bool:
    if value is None or isinstance(value, bool) or value in ("", (), [], {}):
        return False
    strong, weak = sounds
    return strong or (weak and not isinstance(value, int | float))


@lru_cache(maxsize=4_096)
def _sounds_secret(name: str) -> tuple[bool, bool]:
    spoken = _CAMEL.sub("_", name[:200])
    return bool(_STRONG.search(spoken)), bool(_WEAK.search(spoken))


def _is_secret_value(name: str, value: str) -> bool:
    """Say whether a variable holds a secret; PWD and SSH_AUTH_SOCK only sound like it, their values are paths."""
    return len(value) >= 8 and _is_secret(name, value) and not os.path.exists(value)
