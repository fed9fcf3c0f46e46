"""How a run of ours ends: what was refused or unavailable is a state with a sentence, and no failure with a traceback.

The named states are of Prefect's type FAILED, so that filters and automations for failed runs see them. Anything
unforeseen stays a failure with its trace.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from prefect.client.schemas.objects import State, StateType

from modelshelf.errors import ModelshelfError, Unavailable
from modelshelf.words import plain
from tasks.library import in_run

P = ParamSpec("P")
R = TypeVar("R")


def state_of(error: ModelshelfError) -> State[Any]:
    """Return the final state of a run that this error ended. Whoever asks the state for its result gets the error raised."""
    name = "Unavailable" if isinstance(error, Unavailable) else "Refused"
    return State(type=StateType.FAILED, name=name, message="\n".join(map(plain, str(error).split("\n"))), data=error)


def settled(
    function: Callable[P, Awaitable[R]], afterwards: Callable[[], Awaitable[None]]
) -> Callable[P, Coroutine[Any, Any, R]]:
    """Let a flow's function end in a named state where it raises one of our errors; without a flow run they are raised.

    `afterwards` is called when it has ended in either way.
    """

    @wraps(function)
    async def ended(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            result = await function(*args, **kwargs)
        except ModelshelfError as error:
            await afterwards()
            if not in_run():
                raise
            return cast("R", state_of(error))  # Prefect takes a returned state for the run's own
        await afterwards()
        return result

    return ended
