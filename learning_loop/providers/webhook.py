"""Telling another system: one POST of JSON, tried again where that may help."""

from collections.abc import Mapping
from typing import Any

from learning_loop.errors import DeliveryError

PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers after which the same may go through a little later
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0


class Webhook:
    """POSTs to one URL. Raises DeliveryError where it could not be delivered, after all tries.

    A `token` goes along as `Authorization: Bearer`; it is never part of what is raised or logged.
    """

    def __init__(self, url: str, *, timeout_s: float, retries: int, token: str | None = None) -> None:
        self._url, self._timeout_s, self._retries = url, timeout_s, retries
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __call__(self, body: Mapping[str, Any]) -> None:
        import httpx2
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

        def passing(error: BaseException) -> bool:
            if isinstance(error, httpx2.HTTPStatusError):
                return error.response.status_code in PASSING
            return isinstance(error, httpx2.TransportError)

        def post() -> None:
            answer = httpx2.post(self._url, json=body, headers=self._headers, timeout=self._timeout_s)
            answer.raise_for_status()

        retrying = Retrying(
            stop=stop_after_attempt(self._retries + 1),
            wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
            retry=retry_if_exception(passing),
            reraise=True,
        )
        try:
            retrying(post)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            what = f"{error.response.status_code}" if isinstance(error, httpx2.HTTPStatusError) else type(error).__name__
            raise DeliveryError(f"the webhook did not take it ({what}): check notify.webhook") from None
