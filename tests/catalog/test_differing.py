"""What is not as it should be, over all nodes: found by one statement, in turn, and no more than a pass can take."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import insert, text, update

from modelshelf.catalog import recoveries
from modelshelf.catalog.database import Catalog
from modelshelf.catalog.tables import node, replica
from modelshelf.catalog.versions import Version
from modelshelf.limits import DEFAULT
from tests.catalog.test_publishers import bring
from tests.counting import asked_of_the_catalog

STATES = {
    "wanted": ("present", "absent"),
    "there": ("present", "present"),
    "unwanted": ("absent", "present"),
    "gone": ("absent", "absent"),
}


def fill(catalog: Catalog, nodes: int) -> list[Version]:
    """On each node, the first version is missing, the second is there, the third is not wanted, the fourth gone; the last fills."""
    made = [bring(catalog, f"hf://org/{name}", "main", seed, name) for seed, name in enumerate((*STATES, "filling"))]
    rows = [
        {"node_id": number, "version_id": one.id, "desired": desired, "observed": observed, "pinned": False}
        for number in range(1, nodes + 1)
        for one, (desired, observed) in zip(made, (*STATES.values(), ("present", "filling")), strict=True)
    ]
    named = [{"id": n, "name": f"n-{n}", "region": "r", "kind": "local", "labels": {}} for n in range(1, nodes + 1)]
    with catalog.writing() as connection:
        connection.execute(insert(node), named)
        connection.execute(insert(replica), rows)
    return made


@pytest.mark.parametrize("nodes", [1, 40])
def test_one_statement_finds_what_differs_whatever_the_number_of_nodes(catalog: Catalog, nodes: int) -> None:
    wanted, _, unwanted, *_ = fill(catalog, nodes)
    with asked_of_the_catalog() as asked, catalog.reading() as connection:
        found = recoveries.differing(connection, DEFAULT)
    assert {(one.node_id, one.version_id, str(one.desired)) for one in found} == {
        (number, target.id, desired)
        for number in range(1, nodes + 1)
        for target, desired in ((wanted, "present"), (unwanted, "absent"))
    }
    assert str(found[0].ref).startswith("wanted:main-")
    assert len(asked) == 1


def test_what_is_not_due_or_was_tried_too_often_or_is_not_ready_waits(catalog: Catalog) -> None:
    wanted, _, unwanted, *_ = fill(catalog, 4)
    here = replica.c.version_id == wanted.id
    with catalog.writing() as connection:
        connection.execute(update(replica).where(here, replica.c.node_id == 1).values(next_try=4e9))
        connection.execute(update(replica).where(here, replica.c.node_id == 2).values(attempts=DEFAULT.recovery_attempts))
        connection.execute(update(replica).where(here, replica.c.node_id == 3).values(next_try=1.0, attempts=1))
        connection.execute(text("UPDATE version SET disabled = true WHERE id = :id"), {"id": unwanted.id})
    with catalog.reading() as connection:
        found = recoveries.differing(connection, DEFAULT)
    assert [one.node_id for one in found] == [4, 3], "what was never tried comes first"


def test_a_pass_takes_no_more_than_its_bound(catalog: Catalog) -> None:
    fill(catalog, 10)
    with catalog.reading() as connection:
        assert len(recoveries.differing(connection, replace(DEFAULT, differing_at_once=7))) == 7
