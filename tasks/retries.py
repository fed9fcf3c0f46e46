"""The one retry policy: what was refused is never tried again, what was unavailable is, with patience."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from modelshelf.errors import Unavailable
from tasks import logs


async def _is_unavailable(_task: Any, _run: Any, state: Any) -> bool:
    return isinstance(await state.aresult(raise_on_failure=False), Unavailable)


def step(function: Callable[..., Awaitable[Any]]) -> Any:
    """A task that may be tried four times; its input and output stay in memory, and what it is about is in each log line."""

    @wraps(function)
    async def logged(*args: Any, **kwargs: Any) -> Any:
        logs.about(*args, *kwargs.values())
        result = await function(*args, **kwargs)
        logs.about(result)
        return result

    return task(
        logged,
        retries=3,
        retry_delay_seconds=[1, 5, 20],
        retry_condition_fn=_is_unavailable,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
