"""The one retry policy: what was refused is never tried again, what was unavailable is, with patience."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from modelshelf.errors import Refused, Unavailable
from tasks import logs
from tasks.library import in_run
from tasks.outcomes import state_of

P = ParamSpec("P")
R = TypeVar("R")


async def _is_unavailable(_task: Any, _run: Any, state: Any) -> bool:
    """Return whether to try again, and say why: Prefect asks only while there are tries left."""
    error = await state.aresult(raise_on_failure=False)
    if not isinstance(error, Unavailable):
        return False
    logs.say(f"Trying again: {error}")
    return True


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

    @wraps(function)
    async def tried_once(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await logged(*args, **kwargs)
        except Refused as error:
            return cast("R", state_of(error))  # for Prefect a task that returns a failed state has failed, without a trace

    tried = task(
        retries=3,
        retry_delay_seconds=[1, 5, 20],
        retry_condition_fn=_is_unavailable,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(tried_once)

    @wraps(function)
    async def called(*args: P.args, **kwargs: P.kwargs) -> R:
        if not in_run():
            return await logged(*args, **kwargs)
        ended = await tried(*args, **kwargs)
        if isinstance(ended, State):
            await ended.aresult()  # raises what ended it
        return ended

    return called
