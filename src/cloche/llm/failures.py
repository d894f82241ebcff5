"""What went wrong at the provider, in Cloche's own errors.

The messages are written here: a provider's own text may repeat the key, the prompt or a page of HTML.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx2
import openai
from pydantic_ai import exceptions as ai

from cloche.errors import (
    ClocheError,
    ModelError,
    ModelProtocolError,
    ModelRateLimitedError,
    ModelRefusedError,
    ModelTimeoutError,
    ModelUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_CODE = re.compile(r"[A-Za-z_]{1,64}")  # words only: a code with digits could be anything, even a key
_BEFORE_ANY_ANSWER = "without sending a response"

_PROVIDER_ERRORS = (ai.AgentRunError, openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError)
_SHAPE_ERRORS = (AttributeError, TypeError, LookupError, ValueError)

_TOO_LARGE = 413
_TIMED_OUT = frozenset({408, 504})
_BUSY = frozenset({409, 425})
_RATE_LIMITED = 429
_REFUSALS = {
    401: "The provider refused the API key.",
    403: "The provider does not allow this request with this API key.",
    404: "The provider does not know this model, or the base URL is wrong.",
    _TOO_LARGE: "The request is larger than the provider accepts.",
}


def to_model_error(error: BaseException) -> ModelError | None:
    """The provider's failure as one of Cloche's errors, or None if the error is not the provider's.

    Understands pydantic-ai's, the OpenAI client's and httpx's exceptions, and groups of them. A stream that broke off
    after it began is a ``ModelProtocolError``, one that never began a ``ModelUnavailableError``. An exhausted quota is
    refused, not rate limited: waiting does not help.
    """
    match error:
        case ModelError():
            return error
        case BaseExceptionGroup():
            return next((found for inner in error.exceptions if (found := to_model_error(inner)) is not None), None)
        case ai.AgentRunError():
            return _from_pydantic_ai(error)
        case openai.OpenAIError():
            return _from_openai(error)
        case httpx2.HTTPError() | httpx2.InvalidURL() | httpx2.StreamError():
            return _from_httpx(error)
        case json.JSONDecodeError():
            return ModelProtocolError("The provider's answer is not valid JSON.")
        case _:
            return None


@contextmanager
def model_failures() -> Generator[None]:
    """Around one request to a model: what leaves the block is a ``ModelError`` if it was the provider's failure.

    Here it is known that the error came out of a request, so what a provider's client stumbles over in an answer of
    the wrong shape (an ``AttributeError`` in its parsing, say) is a ``ModelProtocolError`` too. Put nothing else
    into the block: no tool, no code of an agent.
    """
    try:
        yield
    except ClocheError:
        raise
    except (*_PROVIDER_ERRORS, *_SHAPE_ERRORS) as error:
        found = to_model_error(error)
        if found is None and isinstance(error, _SHAPE_ERRORS):
            found = ModelProtocolError("The provider's answer does not have the expected shape.")
        if found is None:
            raise
        raise found from error


def _from_pydantic_ai(error: ai.AgentRunError) -> ModelError | None:
    match error:
        case ai.ModelAPIError():
            return _from_api(error)
        case ai.ContentFilterError():
            return ModelRefusedError("The provider's content filter stopped the answer.")
        case ai.OutputTokenLimitExceeded():
            return ModelProtocolError("The answer was cut at the model's output limit before it was usable.")
        case ai.UnexpectedModelBehavior():
            return ModelProtocolError("The provider's answer does not have the expected shape.")
        case _:
            return None


def _from_api(error: ai.ModelAPIError) -> ModelError:
    details = _details(error)
    match error:
        case ai.ModelRequestTimeout() | ai.ModelTimeoutError():
            return ModelTimeoutError("The provider did not answer in time.", details=details)
        case ai.ModelConnectionError():
            return _lost(error, details)
        case ai.ModelQuotaExceededError():
            return ModelRefusedError("The quota or credit at the provider is used up.", details=details)
        case ai.ModelContextWindowExceededError():
            return ModelRefusedError("The conversation is longer than the model accepts.", details=details)
        case ai.ModelRateLimitError():
            return _limited(error.retry_after, details)
        case ai.ModelHTTPError():
            return _from_status(error.status_code, error.retry_after, details)
        case ai.ModelUnavailableError() | ai.ModelServerError():
            return ModelUnavailableError(
                "The provider reported a failure of its own.", details=details, retry_after_s=error.retry_after
            )
        case ai.ModelRequestRejectedError():
            return ModelRefusedError("The provider refused the request.", details=details)
        case _:
            return _uncategorised(error, details)


def _uncategorised(error: ai.ModelAPIError, details: dict[str, object]) -> ModelError:
    if error.in_stream:
        return ModelUnavailableError("The provider reported an error in the middle of its answer.", details=details)
    return ModelProtocolError("The provider's answer is incomplete or cannot be understood.", details=details)


def _from_status(status: int, retry_after_s: float | None, details: dict[str, object]) -> ModelError:
    details = {**details, "status": status}
    if status == _RATE_LIMITED:
        return _limited(retry_after_s, details)
    if status in _TIMED_OUT:
        message = f"The provider gave up on the request (HTTP {status})."
        return ModelTimeoutError(message, details=details, retry_after_s=retry_after_s)
    if status >= 500 or status in _BUSY:
        message = f"The provider cannot answer now (HTTP {status})."
        return ModelUnavailableError(message, details=details, retry_after_s=retry_after_s)
    if status >= 400:
        return ModelRefusedError(
            _REFUSALS.get(status, f"The provider refused the request (HTTP {status})."), details=details
        )
    return ModelProtocolError(f"The provider answered with an unexpected status (HTTP {status}).", details=details)


def _limited(retry_after_s: float | None, details: dict[str, object]) -> ModelRateLimitedError:
    message = "The provider refuses more requests for now."
    return ModelRateLimitedError(message, details=details, retry_after_s=retry_after_s)


def _from_openai(error: openai.OpenAIError) -> ModelError:
    match error:
        case openai.APITimeoutError():
            return ModelTimeoutError("The provider did not answer in time.")
        case openai.APIConnectionError():
            return _lost(error, {})
        case openai.APIStatusError():
            return _from_status(error.status_code, _seconds(error.response.headers.get("retry-after")), {})
        case openai.ContentFilterFinishReasonError():
            return ModelRefusedError("The provider's content filter stopped the answer.")
        case _:
            return ModelProtocolError("The provider's answer cannot be understood.")


def _from_httpx(error: httpx2.HTTPError | httpx2.InvalidURL | httpx2.StreamError) -> ModelError:
    match error:
        case httpx2.TimeoutException():
            return ModelTimeoutError("The provider did not answer in time.")
        case httpx2.HTTPStatusError():
            headers = error.response.headers
            return _from_status(error.response.status_code, _seconds(headers.get("retry-after")), {})
        case httpx2.DecodingError() | httpx2.TooManyRedirects() | httpx2.StreamError():
            return ModelProtocolError("The provider's answer cannot be understood.")
        case _:
            return _lost(error, {})


def _lost(error: BaseException, details: dict[str, object]) -> ModelError:
    if any(_broke_off(cause) for cause in _causes(error)):
        return ModelProtocolError("The provider's answer broke off before its end.", details=details)
    return ModelUnavailableError("The provider cannot be reached.", details=details)


def _broke_off(error: BaseException) -> bool:
    return isinstance(error, httpx2.RemoteProtocolError) and _BEFORE_ANY_ANSWER not in str(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _details(error: ai.ModelAPIError) -> dict[str, object]:
    details: dict[str, object] = {"model": error.model_name}
    code = error.provider_error_code or error.provider_error_type
    if code is not None and _CODE.fullmatch(code):
        details["provider_code"] = code
    return details


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() else None
