"""Language models by pydantic-ai, and their double; imported where one is configured, and only when it is asked."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import BaseModel, ValidationError

from learning_loop.errors import LanguageModelError
from learning_loop.protocols import Shape, Spending
from learning_loop.settings import LanguageModel

EXTRA = "pip install 'learning-loop[models]'"
MOST_SAID = 200


class ChatModel:
    """A language model of any provider that pydantic-ai knows, or at any URL that speaks OpenAI's protocol."""

    def __init__(self, settings: LanguageModel, key: str | None) -> None:
        self._settings, self._key = settings, key
        self.identity = f"{settings.provider}:{settings.model}"

    def ask(self, instructions: str, prompt: str, shape: type[Shape], spent: Spending) -> Shape:
        """Return the answer; see `protocols.LanguageModel`."""
        with ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="learning-loop-model"
        ) as pool:  # whoever asks may have a loop
            return pool.submit(asyncio.run, self._ask(instructions, prompt, shape, spent)).result()

    async def _ask(self, instructions: str, prompt: str, shape: type[Shape], spent: Spending) -> Shape:
        try:
            from pydantic_ai import Agent, PromptedOutput, RunUsage
            from pydantic_ai.exceptions import AgentRunError, UserError
        except ImportError:
            raise LanguageModelError(f"language models need the extra `models`: {EXTRA}") from None
        settings, usage = self._settings, RunUsage()
        tries = settings.retries + 1
        try:
            agent = Agent(
                self._model(),
                output_type=PromptedOutput(shape),
                instructions=instructions,
                retries=settings.retries,
                model_settings={"max_tokens": settings.most_output_tokens, "timeout": settings.timeout_s},
            )
            return (await asyncio.wait_for(agent.run(prompt, usage=usage), settings.timeout_s * tries)).output
        except TimeoutError:
            raise LanguageModelError(f"{self.identity} did not answer within {settings.timeout_s * tries:g} s") from None
        except (
            AgentRunError,
            UserError,
            ValidationError,
            ImportError,
            ValueError,
        ) as error:  # a provider's own package may be missing
            raise LanguageModelError(f"{self.identity} gave no usable answer: {str(error)[:MOST_SAID]}") from None
        finally:
            spent.input_tokens += usage.input_tokens
            spent.output_tokens += usage.output_tokens

    def _model(self) -> Any:
        from pydantic_ai.models import infer_model

        settings = self._settings
        if settings.provider != "openai":
            return infer_model(f"{settings.provider}:{settings.model}")  # it reads its own key
        if self._key is None and settings.base_url is None:
            raise LanguageModelError(f"{settings.key_variable} is not set: put the key of {self.identity} into it")
        from openai import AsyncOpenAI
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        client = AsyncOpenAI(
            base_url=settings.base_url, api_key=self._key or "none", max_retries=settings.retries, timeout=settings.timeout_s
        )
        return OpenAIChatModel(str(settings.model), provider=OpenAIProvider(openai_client=client))


class ScriptedModel:
    """A double: gives the replies it was given, in their order, and then none; keeps what it was asked.

    A reply is an answer, an exception to be raised, or a function of the prompt that returns either. Answers are counted as
    so many tokens as they have characters.
    """

    def __init__(self, replies: Sequence[Any], *, identity: str = "scripted") -> None:
        self.identity = identity
        self.asked: list[str] = []
        self._replies = list(replies)

    def ask(self, instructions: str, prompt: str, shape: type[Shape], spent: Spending) -> Shape:  # noqa: ARG002
        """Return the next reply; see `protocols.LanguageModel`."""
        self.asked.append(prompt)
        spent.input_tokens += len(prompt)
        if not self._replies:
            raise LanguageModelError("the script is over")
        reply = self._replies.pop(0)
        if callable(reply) and not isinstance(reply, BaseModel):
            reply = reply(prompt)
        if isinstance(reply, Exception):
            raise reply
        try:
            answer = reply if isinstance(reply, shape) else shape.model_validate(reply)
        except ValidationError as error:
            raise LanguageModelError(f"{self.identity} gave no usable answer: {str(error)[:MOST_SAID]}") from None
        spent.output_tokens += len(answer.model_dump_json())
        return answer
