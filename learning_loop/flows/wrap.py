"""`@loop.task`: a function of any kind whose every call is a run."""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from typing import Any

from learning_loop.flows.guard import Guard
from learning_loop.flows.run import CURRENT, Run

Begin = Callable[[Any], Run]


def wrapped(begin: Begin, guard: Guard, fields: Mapping[str, Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that begins a run for each call; signature, kind and behaviour of the function stay as they are."""

    def decorate(function: Any) -> Any:
        if isinstance(function, staticmethod | classmethod):
            return type(function)(decorate(function.__func__))
        describe = _describer(function, guard, fields)

        @functools.wraps(function)
        def plain_call(*args: Any, **kwargs: Any) -> Any:
            with begin(describe(args, kwargs)) as run:
                run.result = function(*args, **kwargs)
            return run.result

        @functools.wraps(function)
        async def awaited_call(*args: Any, **kwargs: Any) -> Any:
            with begin(describe(args, kwargs)) as run:
                run.result = await function(*args, **kwargs)
            return run.result

        @functools.wraps(function)
        def generated(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            inner = function(*args, **kwargs)  # first: wrong arguments begin no run
            return (yield from _generated(begin(describe(args, kwargs)), inner))

        @functools.wraps(function)
        async def generated_async(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            inner = function(*args, **kwargs)  # first: wrong arguments begin no run
            run = begin(describe(args, kwargs))
            raised: BaseException | None = None
            try:
                step: Callable[[], Any] = functools.partial(inner.asend, None)
                while True:
                    token = CURRENT.set(run)
                    try:
                        item = await step()
                    except StopAsyncIteration:
                        return
                    finally:
                        CURRENT.reset(token)
                    try:
                        step = functools.partial(inner.asend, (yield item))
                    except GeneratorExit:
                        await inner.aclose()
                        raise
                    except BaseException as thrown:  # noqa: BLE001  (handed to the generator it was thrown at)
                        step = functools.partial(inner.athrow, thrown)
            except BaseException as error:
                raised = error
                raise
            finally:
                run.finish(run, None, raised)

        if inspect.iscoroutinefunction(function):
            return awaited_call
        if inspect.isgeneratorfunction(function):
            return generated
        return generated_async if inspect.isasyncgenfunction(function) else plain_call

    return decorate


def _describer(function: Callable[..., Any], guard: Guard, fields: Mapping[str, Any]) -> Callable[[Any, Any], dict[str, Any]]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins do not say
        signature = inspect.Signature([inspect.Parameter("arguments", inspect.Parameter.VAR_POSITIONAL)])
    inner = function.func if isinstance(function, functools.partial) else function
    kind = type(inner)
    own = getattr(inner, "__qualname__", kind.__qualname__)
    name, module = getattr(inner, "__name__", kind.__name__), getattr(inner, "__module__", kind.__module__)
    named = {"id": own, "type": name, "component": module, **fields}
    given = named["id"]

    def describe(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:  # the call itself will say so
            return {**named, "id": own}
        arguments = {name: value for name, value in bound.arguments.items() if name not in ("self", "cls")}
        task_id = given
        if callable(given):
            task_id = guard.attempt("the task's id", [], lambda: str(given(*args, **kwargs)), own)
        return {**named, "id": task_id, "parameters": {**arguments, **fields.get("parameters", {})}}

    return describe


def _generated(run: Run, inner: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Pass a generator through; its run is current only while its own code runs, not while the consumer's does."""
    result, raised = None, None
    try:
        step: Callable[[], Any] = functools.partial(next, inner)
        while True:
            token = CURRENT.set(run)
            try:
                item = step()
            except StopIteration as stop:
                result = stop.value
                return result
            finally:
                CURRENT.reset(token)
            try:
                step = functools.partial(inner.send, (yield item))
            except GeneratorExit:
                inner.close()
                raise
            except BaseException as thrown:  # noqa: BLE001  (handed to the generator it was thrown at)
                step = functools.partial(inner.throw, thrown)
    except BaseException as error:
        raised = error
        raise
    finally:
        run.finish(run, result, raised)
