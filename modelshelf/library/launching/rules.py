"""What a launch has to keep to, decided before anything is started."""

from __future__ import annotations

import re
from collections.abc import Sequence

from modelshelf.addresses import is_loopback
from modelshelf.catalog.instances import Instance
from modelshelf.engines.contract import Engine
from modelshelf.engines.table import engine_called
from modelshelf.errors import BadSetting, InstanceRuns, Unprotected
from modelshelf.library.launching.choose import require_fitting
from modelshelf.library.launching.request import LaunchSettings, LaunchSpec
from modelshelf.library.opening import Library

_SECRET = re.compile(r"(?:_|^)(?:API_?KEY|TOKEN|SECRET|PASSWORD)$|SECRET_", re.IGNORECASE)


def engine_for(library: Library, spec: LaunchSpec) -> Engine:
    """Return the engine, ready to be started. Raises what keeps it from serving this, as these settings ask for it."""
    engine = engine_called(spec.settings.engine)
    require_fitting(engine, spec.serves)
    library.node.require(engine.name)
    require_protected(engine, spec.settings)
    if spec.settings.memory:
        library.node.require_memory_limit()
    require_settings(engine, spec.settings)
    return engine


def require_settings(engine: Engine, settings: LaunchSettings) -> None:
    """Raise BadSetting if the engine's arguments or environment set what modelshelf decides, or hold a secret."""
    engine.require_arguments(settings.arguments)
    require_environment(settings.environment)
    engine.require_environment(dict(pair.split("=", 1) for pair in settings.environment))
    for name in (pair.partition("=")[0] for pair in settings.environment):
        if _SECRET.search(name):
            reason = f"{name} looks like a secret, and the catalog and the process list would show it"
            raise BadSetting(where="the environment", reason=reason)


def require_protected(engine: Engine, settings: LaunchSettings) -> None:
    """Raise Unprotected if the engine would listen beyond loopback without a key, unless `unprotected` was given."""
    if settings.key_block and not engine.takes_key:
        raise Unprotected(bind=settings.bind, reason=f"{engine.name} knows no keys", advice="Launch without `--key`.")
    if is_loopback(settings.bind) or settings.key_block or settings.unprotected:
        return
    if engine.takes_key:
        reason, advice = "no key was named", "Store one with `modelshelf login engine NAME` and launch with `--key NAME`."
    else:
        reason, advice = f"{engine.name} knows no keys", "If that is intended, launch with `--unprotected`."
    raise Unprotected(bind=settings.bind, reason=reason, advice=advice)


def require_environment(pairs: Sequence[str]) -> None:
    """Raise BadSetting unless each is `NAME=VALUE`, and none of them could load code into the engine."""
    for pair in pairs:
        name, found, _ = pair.partition("=")
        if not found or not name.isidentifier() or not name.isascii() or "\0" in pair:
            raise BadSetting(where="the environment", reason=f"{pair[:60]!r} is not NAME=VALUE")
        if name.startswith(("LD_", "PYTHON", "MODELSHELF_", "PREFECT_")) or name in ("PATH", "GGML_BACKEND_PATH"):
            raise BadSetting(where="the environment", reason=f"{name} may not be set for an engine")


def port_for(library: Library, there: Instance | None, settings: LaunchSettings) -> int:
    """Return the port that was asked for, else the one that the instance had, else a free one. Raises PortTaken."""
    before = there.port if there is not None and there.bind == settings.bind else None
    return library.node.choose_port(settings.bind, settings.port, before)


def require_as_asked(there: Instance, spec: LaunchSpec) -> None:
    """Raise InstanceRuns unless the running instance is what is asked for: it is never changed under its users."""
    found, wanted = LaunchSettings.of(there).to_json(), spec.settings.to_json()
    for stated, names in (
        (found, [(one.ref, one.served_name) for one in there.serves]),
        (wanted, [(target.ref, served) for target, served in spec.serves]),
    ):
        stated["version"] = ", ".join(sorted(str(ref) for ref, _ in names))
        stated["served as"] = ", ".join(sorted(str(served) for _, served in names))
        del stated["template"]
    if not spec.settings.port or spec.settings.port == there.port:
        wanted["port"] = found["port"]
    differing = [key for key in wanted if found[key] != wanted[key]]
    if differing:
        raise InstanceRuns(
            instance=there.name,
            state="running",
            found=", ".join(f"{key} {found[key]}" for key in differing),
            wanted=", ".join(f"{key} {wanted[key]}" for key in differing),
        )
