"""Small arithmetic over named numbers, as `resolved - 0.25 * cost_usd`: read once, worked out often, nothing else possible."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from learning_loop.errors import UsageError

MOST_LENGTH = 500
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_CALLS: dict[str, Callable[..., Any]] = {"min": min, "max": max, "abs": abs}


class Expression:
    """Numbers, names, `+ - * /`, brackets, `min`, `max` and `abs`; raises UsageError where a text is anything else."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: tuple[str, ...] = ()
        if len(text) > MOST_LENGTH:
            raise self._wrong(f"it is longer than {MOST_LENGTH} characters")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
            self._read = self._compiled(tree)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise self._wrong("it cannot be read") from None

    def value(self, of: Mapping[str, float]) -> float:
        """Return what it comes to; raise ZeroDivisionError, and KeyError where a name has no number."""
        return float(self._read(of))

    def _compiled(self, node: ast.AST) -> Callable[[Mapping[str, float]], float]:
        match node:
            case ast.Constant(value=bool()):
                pass
            case ast.Constant(value=int() | float() as value):
                return lambda _of: value
            case ast.Name(id=name):
                self.names = tuple(dict.fromkeys((*self.names, name)))
                return lambda of: of[name]
            case ast.UnaryOp(op=ast.USub(), operand=part):
                inner = self._compiled(part)
                return lambda of: -inner(of)
            case ast.BinOp(left=first, op=sign, right=second) if type(sign) in _BINARY:
                work = _BINARY[type(sign)]
                left, right = self._compiled(first), self._compiled(second)
                return lambda of: work(left(of), right(of))
            case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in _CALLS and given:
                call, parts = _CALLS[name], [self._compiled(part) for part in given]
                if (len(parts) == 1) == (name == "abs"):
                    return lambda of: call(*(part(of) for part in parts))
        raise self._wrong(f"{ast.unparse(node)!r} has no place in it")

    def _wrong(self, problem: str) -> UsageError:
        return UsageError(
            f"the reward {self.text[:100]!r} cannot be used: {problem}; write numbers, names, + - * /, brackets, min, max, abs"
        )
