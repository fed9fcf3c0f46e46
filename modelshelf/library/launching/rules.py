"""What a launch has to keep to, decided before anything is started."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from modelshelf.catalog.instances import Instance
from modelshelf.engines.contract import Engine
from modelshelf.engines.table import engine_called, require_served
from modelshelf.errors import BadSetting, InstanceRuns, PortTaken, TooManyModels, Unprotected
from modelshelf.library.launching.request import LaunchRequest, Serves
from modelshelf.library.opening import Library

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def require_protected(engine: Engine, request: LaunchRequest) -> None:
    """Beyond loopback an engine asks for a key, or someone says that it shall not."""
    if request.key_block and not engine.takes_key:
        raise Unprotected(bind=request.bind, reason=f"{engine.name} knows no keys", advice="Launch without `--key`.")
    if request.bind in _LOOPBACK or request.key_block or request.unprotected:
        return
    if engine.takes_key:
        reason, advice = "no key was named", "Store one with `modelshelf login engine NAME` and launch with `--key NAME`."
    else:
        reason, advice = f"{engine.name} knows no keys", "Launch with `--unprotected` if that is meant."
    raise Unprotected(bind=request.bind, reason=reason, advice=advice)


def require_free(bind: str, port: int) -> None:
    """Raise PortTaken if something listens there."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError as error:
            raise PortTaken(port=port, bind=bind, by=f" ({error.strerror})") from error


def require_fitting(engine: Engine, serves: Serves) -> None:
    """Raise TypeMismatch, CategoryMismatch, BadName or TooManyModels unless the engine serves all of these in one instance."""
    require_served(engine, [(target.ref, target.format, target.category) for target, _ in serves if target.format is not None])
    engine.require_names([served for _, served in serves])
    if len(serves) > engine.models_at_once:
        raise TooManyModels(engine=engine.name, most=engine.models_at_once, found=len(serves))


def engine_for(library: Library, serves: Serves, request: LaunchRequest) -> Engine:
    engine = engine_called(request.engine, library.settings)
    require_fitting(engine, serves)
    engine.require_installed()
    require_protected(engine, request)
    require_environment(request.environment)
    engine.require_environment(dict(pair.split("=", 1) for pair in request.environment))
    return engine


def require_environment(pairs: Sequence[str]) -> None:
    """Raise BadSetting unless each is `NAME=VALUE`, and none of them could load code into the engine."""
    for pair in pairs:
        name, found, _ = pair.partition("=")
        if not found or not name.isidentifier() or not name.isascii() or "\0" in pair:
            raise BadSetting(where="the environment", reason=f"{pair[:60]!r} is not NAME=VALUE")
        if name.startswith(("LD_", "PYTHON", "MODELSHELF_", "PREFECT_")):
            raise BadSetting(where="the environment", reason=f"{name} is not an engine's setting")


def port_for(there: Instance | None, request: LaunchRequest) -> int:
    """The port that was asked for, else the one it had before, else a free one."""
    if request.port:
        require_free(request.bind, request.port)
        return request.port
    if there is not None and there.bind == request.bind:
        try:
            require_free(request.bind, there.port)
        except PortTaken:
            pass
        else:
            return there.port
    family = socket.AF_INET6 if ":" in request.bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((request.bind, 0))
        return int(probe.getsockname()[1])


def require_as_asked(there: Instance, serves: Serves, request: LaunchRequest) -> None:
    """A running instance is what was asked for, or the request is refused: it is never changed under its users."""
    found: dict[str, object] = {**LaunchRequest.from_json(there.settings).to_json()}
    wanted: dict[str, object] = {**request.to_json()}
    for said, names in (
        (found, [(one.ref, one.served_name) for one in there.serves]),
        (wanted, [(target.ref, served) for target, served in serves]),
    ):
        said["version"] = ", ".join(sorted(str(ref) for ref, _ in names))
        said["served as"] = ", ".join(sorted(str(served) for _, served in names))
        del said["template"]
    if not request.port:
        wanted["port"] = found["port"]
    differing = [key for key in wanted if found[key] != wanted[key]]
    if differing:
        raise InstanceRuns(
            instance=there.name,
            state="running",
            found=", ".join(f"{key} {found[key]}" for key in differing),
            wanted=", ".join(f"{key} {wanted[key]}" for key in differing),
        )
