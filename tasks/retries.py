"""The one retry policy: what was refused is never tried again, what was unavailable is, with patience."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE

from modelshelf.errors import Unavailable
from tasks import logs
from tasks.library import in_run

P = ParamSpec("P")
R = TypeVar("R")


async def _is_unavailable(_task: Any, _run: Any, state: Any) -> bool:
    return isinstance(await state.aresult(raise_on_failure=False), Unavailable)


def step(function: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Make a function a task that is tried up to four times; each of its log lines names the version that it is about.

    Input and output stay in memory. Without a flow run, the function is called once and nothing is reported: this is how
    tests run a flow.
    """

    @wraps(function)
    async def logged(*args: P.args, **kwargs: P.kwargs) -> R:
        logs.about(*args, *kwargs.values())
        result = await function(*args, **kwargs)
        logs.about(result)
        return result

    tried = task(
        retries=3,
        retry_delay_seconds=[1, 5, 20],
        retry_condition_fn=_is_unavailable,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(logged)

    @wraps(function)
    async def called(*args: P.args, **kwargs: P.kwargs) -> R:
        return await (tried if in_run() else logged)(*args, **kwargs)

    return called
