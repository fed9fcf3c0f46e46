"""Prefect's UI with one small script before it, beside the installed program: without advertisements, and without the error
that Prefect shows to everybody who has not logged in yet. Prefect has no setting for either.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
import uuid
from importlib.metadata import version
from pathlib import Path

_SCRIPT = Path(__file__).with_name("first_view.js")
_MARK = "UI_SERVE_BASE"
"""Prefect's own file in a folder of its UI; what it says must be what Prefect would write, or it copies its files anew."""

_BASE = "/PREFECT_UI_SERVE_BASE_REPLACE_PLACEHOLDER"


def folder() -> Path | None:
    """Return the folder of the UI, made if need be; None where it cannot be written, and then Prefect serves its own."""
    prefect = importlib.util.find_spec("prefect")
    if prefect is None or prefect.origin is None:
        return None
    script = _SCRIPT.read_bytes()
    name = f"ui-{version('prefect')}-{hashlib.sha256(script).hexdigest()[:8]}"
    made = Path(sys.prefix) / "share" / "modelshelf" / name
    if (made / _MARK).exists():
        return made
    fresh = made.with_name(f".{name}.{uuid.uuid4().hex}")
    try:
        shutil.copytree(Path(prefect.origin).parent / "server" / "ui", fresh)
        for file in fresh.rglob("*"):
            if file.suffix in (".html", ".css", ".js", ".json", ".txt", ".webmanifest"):
                file.chmod(0o644)
                file.write_text(file.read_text().replace(_BASE, ""))
        (fresh / _SCRIPT.name).write_bytes(script)
        index = fresh / "index.html"
        index.write_text(index.read_text().replace("<head>", f'<head>\n    <script src="/{_SCRIPT.name}"></script>', 1))
        (fresh / _MARK).write_text(f"v1:{version('prefect')}:/")
        fresh.rename(made)
    except OSError:  # another process made it meanwhile, or the program's folder is read-only
        shutil.rmtree(fresh, ignore_errors=True)
        return made if (made / _MARK).exists() else None
    return made
