"""Secrets are taken out of everything before it reaches disk."""

import os
import re
from collections.abc import Mapping
from typing import Any

REDACTED = "[redacted]"

_NAME = re.compile(
    r"(?:^|[_.\-])(?:password|passwd|passphrase|pwd|secret|secrets|token|tokens|api[_\-]?key|apikey|access[_\-]?key|private[_\-]?key|"
    r"secret[_\-]?key|authorization|auth|credential|credentials|cookie|session[_\-]?id|bearer)(?:$|[_.\-])",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_TEXT = re.compile(
    r"(?P<pem>-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z))"
    r"|(?P<url>(?<=://)[^\s/@:'\"]*:[^\s/@'\"]+(?=@))"
    r"|(?P<known>\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}\b|\bgithub_pat_\w{20,}\b|\bglpat-[\w-]{20,}"
    r"|\bxox[abeprs]-[\w-]{10,}|\bsk-[A-Za-z0-9_-]{16,}|\b[rs]k_(?:live|test)_\w{10,}|\bAIza[\w-]{35}\b|\bpypi-[\w-]{20,}|\bnpm_\w{30,}"
    r"|\bhf_[A-Za-z0-9]{20,}\b|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
    r"|(?P<lead>\b(?:bearer|basic)\s+)(?P<header>[\w.~+/-]{8,}=*)"
    r"|(?P<name>\b[\w.-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential)s?[\"']?\s*[=:]\s*)"
    r"(?!\[redacted\])(?P<value>\"[^\"\n]{3,}\"|'[^'\n]{3,}'|[^\s,;&'\"\])}]{3,})"
    r"|(?P<flag>--(?:[\w-]*-)?(?:password|passwd|secret|token|api-?key)\s+)(?P<argument>\S{3,})",
    re.IGNORECASE | re.DOTALL,
)
_MAY_HOLD = re.compile(
    r"-----BEGIN|://[^\s/]*@|AKIA|ASIA|gh[pousr]_|github_pat|glpat|xox|sk-|[rs]k_|AIza|pypi-|npm_|hf_|eyJ|bearer|basic|pass|secret|token|key|credential",
    re.IGNORECASE,
)


class Redactor:
    """Replaces secrets in texts, and in the texts inside lists and mappings; everything else passes untouched.

    Secrets are known by their form (private keys, well-known tokens, credentials in URLs), by the name they are assigned to
    (`password=...`, `{"api_key": ...}`), by the patterns given, and by being the value of a secret variable in `environ`.
    """

    def __init__(self, *, patterns: tuple[str, ...] = (), environ: Mapping[str, str] | None = None) -> None:
        values = {value for name, value in (environ or {}).items() if _is_secret_value(name, value)}
        own = [re.escape(value) for value in sorted(values, key=len, reverse=True)] + list(patterns)
        self._own = re.compile("|".join(f"(?:{pattern})" for pattern in own)) if own else None

    def __call__(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {
                self.text(key) if isinstance(key, str) else key: REDACTED
                if isinstance(key, str)
                and isinstance(item, str | int)
                and not isinstance(item, bool)
                and item != ""
                and is_secret_name(key)
                else self(item)
                for key, item in value.items()
            }
        if isinstance(value, tuple):
            return tuple(self(item) for item in value)
        if isinstance(value, list):
            return [self(item) for item in value]
        return value

    def text(self, text: str) -> str:
        if self._own is not None:
            text = self._own.sub(REDACTED, text)
        return _TEXT.sub(_replace, text) if _MAY_HOLD.search(text) else text


def _replace(found: re.Match[str]) -> str:
    kept = found["lead"] or found["name"] or found["flag"] or ""
    return kept + REDACTED


def _is_secret_value(name: str, value: str) -> bool:
    """Say whether a variable holds a secret; PWD and SSH_AUTH_SOCK only sound like it, their values are paths."""
    return len(value) >= 8 and is_secret_name(name) and not os.path.exists(value)


def is_secret_name(name: str) -> bool:
    return bool(_NAME.search(_CAMEL.sub("_", name)))
