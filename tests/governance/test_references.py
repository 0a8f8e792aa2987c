"""No column that names objects can be forgotten: what nobody declares would be removed under the feet of its room."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa

from undrift.governance.stored import NO_REFERENCES, REFERENCES
from undrift.metastore import Json, metadata
from undrift.operations import all_operations

_NAMES = re.compile(r"digest|object|artifact|profile|tree|commit|hash|blob|(^|_)ref$|schema$|snapshot|report")
_BYTES_OF_A_DIGEST = 64
# The id of a thing of its own, which no store knows.
_OTHER_IDS = {"predictions.prediction_id", "labels.prediction_id", "label_corrections.prediction_id"}
_WITHOUT_A_ROOM = {"answers"}  # of idempotent calls: they repeat what was said


def suspicious(column):
    if isinstance(column.type, Json):
        return True
    if not isinstance(column.type, sa.String) or isinstance(column.type, sa.Text):
        return _NAMES.search(column.name) is not None
    return column.type.length == _BYTES_OF_A_DIGEST or _NAMES.search(column.name) is not None


def suspects():
    all_operations()  # brings the tables of all rooms along
    return [
        column
        for table in metadata.sorted_tables
        if table.name not in _WITHOUT_A_ROOM
        for column in table.c
        if suspicious(column) and str(column) not in _OTHER_IDS
    ]


def test_every_column_that_could_name_an_object_says_whether_it_does():
    said = {str(one.column) for one in REFERENCES} | {str(column) for column in NO_REFERENCES}
    unsaid = sorted(str(column) for column in suspects() if str(column) not in said)
    assert unsaid == [], "Say in the room's stored.py what these columns name: in REFERENCES or in NO_REFERENCES."


def test_no_column_is_said_to_name_objects_and_not_to():
    assert not {str(one.column) for one in REFERENCES} & {str(column) for column in NO_REFERENCES}


def test_a_new_column_would_be_found():
    table = sa.Table("another", sa.MetaData(), sa.Column("model_digest", sa.String(64)), sa.Column("name", sa.Text))
    assert [column.name for column in table.c if suspicious(column)] == ["model_digest"]


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda one: str(one.column))
def test_every_reference_can_be_asked(reference, ctx):
    from datetime import timedelta

    from undrift.governance import records
    from undrift.governance.freeing import held_now
    from undrift.metastore.references import Doomed

    held, _ = held_now(ctx)
    doomed = Doomed(ctx.now() - timedelta(days=7), held, "flights", with_models=True)
    with ctx.read() as tx:
        assert list(records.named(tx, reference, doomed)) == []
        assert list(records.named(tx, reference, doomed, dead=True)) == []
