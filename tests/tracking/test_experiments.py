from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from undrift.core.errors import Conflict, Invalid, NotFound, TooLarge
from undrift.events import ListEvents, list_events
from undrift.tracking import (
    CreateExperiment,
    DeleteExperiment,
    FindExperiment,
    FindRun,
    RestoreExperiment,
    SearchExperiments,
    StartRun,
    TagExperiment,
    UpdateExperiment,
    create_experiment,
    delete_experiment,
    find_experiment,
    find_run,
    restore_experiment,
    search_experiments,
    start_run,
    tag_experiment,
    update_experiment,
)

START = datetime(2013, 1, 1, tzinfo=UTC)


def create(ctx, name="late", **given):
    return create_experiment(ctx, CreateExperiment(**({"project": "flights", "name": name} | given)))


def names(ctx, **asked):
    return [one.name for one in search_experiments(ctx, SearchExperiments("flights", **asked)).experiments]


def test_an_experiment_is_found_by_number_and_by_name_in_its_project(ctx):
    made = create(ctx, "Späte Flüge / 2013 %", tags={"team": "ops"})
    assert find_experiment(ctx, FindExperiment("flights", id=made.id)) == made
    assert find_experiment(ctx, FindExperiment("flights", name="Späte Flüge / 2013 %")) == made
    assert made.tags == {"team": "ops"}
    for elsewhere in (FindExperiment("ships", id=made.id), FindExperiment("ships", name=made.name)):
        with pytest.raises(NotFound):
            find_experiment(ctx, elsewhere)
    with pytest.raises(NotFound, match="No Experiment with id=99999999999999999999"):
        find_experiment(ctx, FindExperiment("flights", id=99999999999999999999))


def test_a_name_is_taken_once_a_project_also_by_a_deleted_one(ctx):
    made = create(ctx)
    assert create(ctx, project="ships").id != made.id
    with pytest.raises(Conflict, match="already exists"):
        create(ctx)
    delete_experiment(ctx, DeleteExperiment("flights", made.id))
    with pytest.raises(Conflict, match="deleted state"):
        create(ctx)
    with pytest.raises(Conflict, match="must be in the 'active' state"):
        start_run(ctx, StartRun("flights", "late"))


def test_an_import_brings_number_and_time_along_and_others_count_on(ctx):
    brought = create(ctx, id=0, created_at=START - timedelta(days=9))
    assert (brought.id, brought.created_at) == (0, START - timedelta(days=9))
    far = create(ctx, "far", id=5)
    following = [create(ctx, f"next {place}").id for place in range(8)]
    assert len({0, far.id, *following}) == 10
    with pytest.raises(Conflict, match="Another experiment has the number 5"):
        create(ctx, "again", id=5)


def test_runs_follow_their_experiment_when_it_is_deleted_and_restored(ctx):
    run = start_run(ctx, StartRun("flights", "late"))
    delete_experiment(ctx, DeleteExperiment("flights", run.experiment_id))
    assert find_run(ctx, FindRun(run.id)).state == "deleted"
    assert names(ctx) == []
    assert names(ctx, view="deleted") == names(ctx, view="all") == ["late"]
    with pytest.raises(NotFound, match="No active Experiment"):
        delete_experiment(ctx, DeleteExperiment("flights", run.experiment_id))
    restore_experiment(ctx, RestoreExperiment("flights", run.experiment_id))
    assert find_run(ctx, FindRun(run.id)).state == "active"
    with pytest.raises(NotFound, match="No deleted Experiment"):
        restore_experiment(ctx, RestoreExperiment("flights", run.experiment_id))


def test_renaming_keeps_runs_and_refuses_a_name_that_is_taken(ctx):
    run = start_run(ctx, StartRun("flights", "late"))
    create(ctx, "other")
    with pytest.raises(Conflict, match="already exists"):
        update_experiment(ctx, UpdateExperiment("flights", run.experiment_id, "other"))
    update_experiment(ctx, UpdateExperiment("flights", run.experiment_id, "later"))
    assert find_run(ctx, FindRun(run.id)).experiment == "later"
    events = [event.type for event in list_events(ctx, ListEvents(subject=f"experiments/{run.experiment_id}"))]
    assert events == ["experiment.renamed", "experiment.created"]


def test_tags_are_set_in_place_and_removed_by_name(ctx):
    made = create(ctx, tags={"team": "ops", "old": "1"})
    tagged = tag_experiment(ctx, TagExperiment("flights", made.id, {"team": "data"}, ("old",)))
    assert tagged.tags == {"team": "data"}
    with pytest.raises(NotFound, match="No tag with name: old"):
        tag_experiment(ctx, TagExperiment("flights", made.id, removed=("old",)))


@pytest.mark.parametrize(("name", "kind"), [("", Invalid), ("  ", Invalid), ("a\x00b", Invalid), ("a" * 501, TooLarge)])
def test_names_that_nobody_can_see_or_type_are_refused(ctx, name, kind):
    with pytest.raises(kind):
        create(ctx, name)
    assert names(ctx, view="all") == []


def test_experiments_are_searched_by_name_tag_and_time(ctx):
    for hour, name in enumerate(("Alpha", "alpha", "beta", "be_a", "be[a")):
        tags = {"even": "yes"} if hour % 2 == 0 else {"odd": "100%"}
        create(ctx, name, tags=tags, created_at=START + timedelta(hours=hour))
    assert names(ctx) == ["be[a", "be_a", "beta", "alpha", "Alpha"], "the newest first"
    assert names(ctx, filter="name LIKE 'alp%'") == ["alpha"]
    assert names(ctx, filter="name ILIKE 'ALP%'", order_by=("name",)) == ["Alpha", "alpha"]
    assert names(ctx, filter="name LIKE 'be[a'") == ["be[a"], "only % and _ mean something"
    assert names(ctx, filter="name LIKE 'be_a'", order_by=("name ASC",)) == ["be[a", "be_a", "beta"]
    assert names(ctx, filter="tags.even = 'yes' AND name != 'beta'", order_by=("name",)) == ["Alpha", "be[a"]
    assert names(ctx, filter="tags.odd = '100%'", order_by=("name",)) == ["alpha", "be_a"]
    assert names(ctx, filter="tags.even IS NULL", order_by=("name",)) == ["alpha", "be_a"]
    ms = int((START + timedelta(hours=3)).timestamp() * 1000)
    assert names(ctx, filter=f"creation_time >= {ms}") == ["be[a", "be_a"]
    assert names(ctx, filter=f"creation_time > {ms} ") == ["be[a"]
    assert names(ctx, filter=f"creation_time = {ms}") == ["be_a"]


def test_pages_give_every_experiment_once(ctx):
    made = [create(ctx, f"e{number}").name for number in range(7)]
    found, token = [], ""
    while True:
        page = search_experiments(ctx, SearchExperiments("flights", limit=3, page_token=token))
        assert len(page.experiments) <= 3
        found += [one.name for one in page.experiments]
        token = page.next_page_token
        if not token:
            break
    assert sorted(found) == made
    with pytest.raises(Invalid, match="Invalid page token"):
        search_experiments(ctx, SearchExperiments("flights", page_token="e30="))


@pytest.mark.parametrize("id_", [-1, 10**18, 2**63])
def test_a_number_that_clients_cannot_say_is_refused(ctx, id_):
    with pytest.raises(Invalid, match="cannot be the number"):
        create(ctx, id=id_)
    assert names(ctx, view="all") == []
