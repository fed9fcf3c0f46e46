"""`history`: who did what, when; of the project that asks, and of no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from modelshelf.catalog import instances, journal, versions
from modelshelf.catalog.journal import EventKind
from modelshelf.catalog.leases import Lease
from modelshelf.cli.main import cli
from modelshelf.library import caching, importing, naming, running
from modelshelf.library.opening import Library
from modelshelf.names import ModelRef, ProjectName, Tag
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.uri import FolderUri
from modelshelf.stop import StopToken
from tests.making import P, bring_in, gguf, record_instance, write


def told(*arguments: str) -> list[tuple[str, str, str, str]]:
    """What, to which, in which words, by whom; newest first."""
    ended = CliRunner().invoke(cli, ["history", "--json", *arguments], catch_exceptions=False)
    return [(one["what"], one["subject"], one["detail"], one["who"]) for one in json.loads(ended.output)]


@pytest.fixture
def shelf(library: Library, tmp_path: Path) -> Library:
    """A version that was imported, called stable, cached, pinned, served and stopped; and one of another project."""
    folder = write(tmp_path / "tiny" / "tiny.gguf", gguf()).parent
    version, _ = bring_in(library, FolderSource(FolderUri(folder)), run="import tiny")
    bring_in(library, FolderSource(FolderUri(folder)), name="theirs", project=ProjectName("other"), run="import theirs")
    naming.promote(library, P, version.ref, Tag("stable"), who="alice, run promote")
    caching.fill(library, P, version, StopToken())
    naming.pin(library, P, version.ref, who="alice, run pin", pinned=True)
    with library.catalog.writing() as connection:
        made = record_instance(connection, library.node_id, version)
        instances.mark_ready(connection, P, made, {}, who="bob, run launch")
    running.stop_instance(library, P, made.name, who="bob, run stop")
    return library


def test_everything_that_was_done_is_listed_newest_first_with_who_did_it(shelf: Library) -> None:
    with shelf.catalog.reading() as connection:
        ref = str(versions.find(connection, P, ModelRef.parse("tiny")).ref)
    events = told()
    assert [(what, subject, who) for what, subject, _, who in events] == [
        ("instance.stopped", "chat-1", "bob, run stop"),
        ("instance.ready", "chat-1", "bob, run launch"),
        ("template.revised", "instance/chat-1", "test"),
        ("replica.pinned", ref, "alice, run pin"),
        ("alias.moved", "tiny:stable", "alice, run promote"),
        ("alias.moved", "tiny:folder", "run import tiny"),
        ("version.ready", ref, "run import tiny"),
    ]
    assert events[1][2] == f"llamacpp serves {ref}"
    assert events[4][2] == f"nothing before, {ref.partition(':')[2]} now"
    assert told("--limit", "2") == events[:2]


def test_the_history_of_a_model_has_its_versions_aliases_replicas_and_who_served_it(shelf: Library, tmp_path: Path) -> None:
    bring_in(shelf, FolderSource(FolderUri(write(tmp_path / "tiny2" / "tiny.gguf", gguf(seed=2)).parent)), name="tiny2")
    assert [(what, subject) for what, subject, _, _ in told("tiny")][:2] == [
        ("instance.ready", "chat-1"),
        ("replica.pinned", told("tiny")[1][1]),
    ]
    assert not any("tiny2" in subject for _, subject, _, _ in told("tiny"))
    assert {what for what, *_ in told("tiny:stable")} == {"alias.moved"}
    assert told("nosuch") == []


def test_a_project_sees_its_own_history_alone(shelf: Library) -> None:
    theirs = told("--project", "other")
    assert {who for *_, who in theirs} == {"run import theirs"}
    assert told("theirs", "--project", "other") == theirs
    assert not any("theirs" in subject for _, subject, _, _ in told())


def test_a_failed_import_is_in_the_history_with_its_reason(shelf: Library) -> None:
    with shelf.catalog.writing() as connection:
        made = versions.reserve(
            connection, P, ModelRef.parse("broken").model, Tag("x-0"), source="s", resolved="0", category="chat"
        )
        lease = Lease(made.lease, says="test")
        lease.acquire(connection)
    importing.give_up(shelf, made, lease, "the disk was full. " * 100, "carol, run import broken")
    ((what, subject, detail, who),) = told("broken")
    assert (what, subject, who) == ("version.failed", "broken:x-0", "carol, run import broken")
    assert detail.startswith("the disk was full. ")
    assert len(detail) == 500, "a reason is cut"


def test_people_read_words(shelf: Library) -> None:
    shown = CliRunner().invoke(cli, ["history", "tiny"], catch_exceptions=False).output
    assert "replica pinned" in shown
    assert "alice, run pin" in shown
    assert CliRunner().invoke(cli, ["history", "nosuch"]).output == "Nothing is recorded of nosuch.\n"
    assert CliRunner().invoke(cli, ["history", "--limit", "0"]).exit_code == 2


def test_the_history_is_one_statement_whatever_happened(shelf: Library) -> None:
    with shelf.catalog.writing() as connection:
        for number in range(200):
            journal.record_event(connection, P, "dave", EventKind.MODEL_CATEGORY, f"m-{number}")
    assert len(told("--limit", "1000")) == 207
    assert told("--limit", "1")[0][1] == "m-199"
