"""Pages in Prefect's UI: Markdown under a key that a person knows. They are views: every fact is in the catalog.

Every value passes through `markdown`, so that no text of a publisher is markup here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from uuid import UUID

from prefect.artifacts import Artifact, acreate_markdown_artifact, acreate_progress_artifact, aupdate_progress_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from modelshelf.words import markdown, said_bytes, said_seconds
from tasks.library import in_run

_KEY_LENGTH = 60


def key(kind: str, *names: object) -> str:
    """Return `import-qwen3`: lower-case letters, digits and dashes, as Prefect has its keys."""
    text = "-".join(str(name) for name in (kind, *names) if str(name)).lower()
    return re.sub(r"[^a-z0-9]+", "-", text)[:_KEY_LENGTH].strip("-")


class Markup(str):
    """Markdown that we made ourselves, of parsed names: not escaped again."""


def link(page: str, name: object) -> Markup:
    """Return a link to another page. The UI shows escapes within a link's text as they are, so `name` is a parsed one."""
    return Markup(f"[{name}](/artifacts/key/{page})")


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return the rows as a table in Markdown; the first row names the columns.

    The UI cuts off what is wider than the page: long words belong in `facts` or in paragraphs.
    """
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cell(value: object) -> str:
    return value if isinstance(value, Markup) else markdown(value)


def facts(**values: object) -> str:
    """Return a table of names and values; underscores in the names become spaces."""
    lines = "".join(f"| {name.replace('_', ' ')} | {markdown(value)} |\n" for name, value in values.items())
    return f"| | |\n|---|---|\n{lines}"


async def publish(key: str, text: str, summary: object) -> None:
    """Add the page to the timeline of its key; without a flow run there is nobody to show it to."""
    if in_run():
        await acreate_markdown_artifact(text, key=key, description=markdown(summary))


async def publish_in_place(key: str, text: str, summary: object) -> None:
    """Let the page of the key say this: one page, without a timeline. An unchanged page is not written."""
    if not in_run():
        return
    there = await Artifact.aget(key)
    if there is None or there.id is None:
        await publish(key, text, summary)
    elif there.data != text:
        async with get_client() as client:
            await client.update_artifact(there.id, ArtifactUpdate(data=text, description=markdown(summary)))


class Card:
    """A progress bar that never falls, and ends at 100 or says why it does not."""

    _shown: dict[str, tuple[UUID, float]] = {}

    def __init__(self, stage: str, subject: object, total: int) -> None:
        self._key = key(stage, subject)
        self._total = total
        self._title = f"{stage.capitalize()} {markdown(subject)}"

    async def show(self, done: int, *, seconds: float) -> None:
        """Show so many bytes as done after so many seconds."""
        rate = f", {said_bytes(int(done / seconds))}/s" if seconds > 0 else ""
        await self._write(done, f"{self._title}: {said_bytes(done)} of {said_bytes(self._total)}{rate}")

    async def complete(self, seconds: float) -> None:
        await self._write(self._total, f"{self._title}: {said_bytes(self._total)} in {said_seconds(seconds)}")

    async def fail(self, done: int, reason: object) -> None:
        await self._write(done, f"{self._title}: failed at {said_bytes(done)} of {said_bytes(self._total)}. {markdown(reason)}")

    async def _write(self, done: int, description: str) -> None:
        if not in_run():
            return
        percent = 100.0 * done / max(self._total, 1)
        if self._key not in self._shown:
            made = await acreate_progress_artifact(progress=percent, key=self._key, description=description)
            self._shown[self._key] = made, percent
            return
        artifact, before = self._shown[self._key]
        self._shown[self._key] = artifact, max(before, percent)
        await aupdate_progress_artifact(artifact, progress=max(before, percent), description=description)
