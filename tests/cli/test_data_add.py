"""`undrift data add`: rows from a file, as the next version of a dataset."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import polars as pl
import pytest

ORDERS = "order_id,ordered,delivered,km,zip,late\n"
FIRST = ORDERS + "".join(
    f"o{number},2013-04-01T{number:02}:00:00Z,2013-04-01 {number:02}:30:00,{number},0{number}234,0\n"
    for number in range(10)
)
NEW = ("--key", "order_id", "--time", "ordered", "--known-at", "delivered", "--project", "shop")


@pytest.fixture
def table(tmp_path):
    def write(text, name="orders.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_a_first_file_makes_the_dataset_with_times_in_utc(call, folder, table):
    said = call("data", "add", "orders", table(FIRST), *NEW)
    assert (said.code, said.err) == (0, "")
    assert said.out == "Version 1 of orders: 10 rows added, 10 in all.\n"
    (summary,) = call("data", "--json").json
    types = {column["name"]: column["type"] for column in summary["newest"]["columns"]}
    assert types["ordered"] == types["delivered"] == "Datetime(time_unit='us', time_zone='UTC')"
    assert summary["newest"]["known_until"] == "2013-04-01T09:30:00Z"
    assert summary["dataset"]["known_at"] == "delivered"


def test_the_next_file_needs_no_description_and_keeps_the_types(call, folder, table):
    call("data", "add", "orders", table(FIRST.replace(",0\n", ",0.5\n")), *NEW)
    # These postcodes alone look like numbers, these fractions like whole ones, and nobody measured a distance.
    more = ORDERS + "o10,2013-04-02,2013-04-02T02:00:00+02:00,,12345,1\no11,2013-04-02,2013-04-03,,12345,0\n"
    said = call("data", "add", "orders", table(more), "--message", "Tuesday", "--json")
    assert said.json["added_rows"] + said.json["quarantined_rows"] == 2
    types = {column["name"]: column["type"] for column in said.json["columns"]}
    assert (types["km"], types["zip"], types["late"]) == ("Int64", "String", "Float64")
    assert said.json["known_until"] == "2013-04-03T00:00:00Z"
    assert (said.json["number"], said.json["message"]) == (2, "Tuesday")


def test_a_changed_schema_is_refused_and_nothing_is_added(call, folder, table):
    call("data", "add", "orders", table(FIRST), *NEW)
    changed = FIRST.replace("km", "miles").replace("o", "p", 0)
    said = call("data", "add", "orders", table(changed))
    assert said.code == 2
    assert said.err.splitlines() == [
        "The schema of 'orders' changed: km disappeared. Nothing was added.",
        "Mend the file, or name the columns whose change is meant with --allow.",
    ]
    assert [one["number"] for one in call("data", "orders", "--json").json["versions"]] == [1]
    assert call("data", "add", "orders", table(changed), "--allow", "km").code == 0


def test_a_problem_of_the_schema_tells_programs_the_columns(call, folder, table):
    call("data", "add", "orders", table(FIRST), *NEW)
    said = call("data", "add", "orders", table(FIRST.replace(",0,", ",near,")), "--json")
    assert (said.code, said.out) == (2, "")
    assert said.problem["details"]["changed"] == ["km was Int64 and is String"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FIRST.replace("2013-04-01T03:00:00Z", "yesterday"), "Row 4 of"),
        (FIRST.replace("order_id", "id"), "has no column order_id."),
        (ORDERS, "has no rows."),
        ("", "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_makes_no_dataset(text, said, call, folder, table):
    answer = call("data", "add", "orders", table(text), *NEW)
    assert answer.code == 2
    assert said in answer.err
    assert call("data", "--json").json == []


def test_a_file_that_is_not_there_is_not_found(call, folder, tmp_path):
    assert call("data", "add", "orders", tmp_path / "no.csv", *NEW).code == 3


def test_a_new_dataset_needs_a_description(call, folder, table):
    said = call("data", "add", "orders", table(FIRST))
    assert said.code == 2
    assert said.err.startswith("There is no dataset 'orders' yet, so it needs --project, --key and --time.\n")


def test_a_description_that_does_not_fit_is_refused(call, folder, table):
    call("data", "add", "orders", table(FIRST), *NEW)
    said = call("data", "add", "orders", table(FIRST), "--time", "delivered")
    assert said.code == 2
    assert "Dataset 'orders' has 'ordered' for --time, not 'delivered'." in said.err


def test_a_dataset_that_the_project_declares_needs_no_description(call, folder, table, project_file):
    project_file(folder.parent / "project.py")
    call("init")
    said = call("data", "add", "orders", table(FIRST), "--json")
    assert said.code == 0
    (summary,) = call("data", "--json").json
    assert (summary["dataset"]["project"], summary["dataset"]["owner"]) == ("shop", "ada@example.com")


def test_parquet_keeps_its_types_and_naive_times_are_utc(call, folder, tmp_path):
    file = tmp_path / "orders.parquet"
    moments = [datetime(2013, 4, 1, hour) for hour in range(3)]  # noqa: DTZ001 - naive on purpose
    pl.DataFrame({"id": ["a", "b", "c"], "at": moments, "km": [1.0, 2.0, 3.0]}).write_parquet(file)
    said = call("data", "add", "orders", file, "--key", "id", "--time", "at", "--project", "shop", "--json")
    assert said.json["known_until"] == datetime(2013, 4, 1, 2, tzinfo=UTC).isoformat().replace("+00:00", "Z")


def test_a_column_of_numbers_is_no_column_of_times(call, folder, table):
    said = call("data", "add", "n", table("id,at,km\na,1,2\n"), "--key", "id", "--time", "km", "--project", "shop")
    assert said.code == 2
    said = call("data", "add", "n", table("id,at\na,20130401\n"), "--key", "id", "--time", "at", "--project", "shop")
    assert said.code == 0


def test_rows_that_fail_a_check_are_put_aside_and_the_checks_can_be_read(call, folder, table):
    call("data", "add", "orders", table(FIRST), *NEW)
    said = call("data", "add", "orders", table(ORDERS + "o99,2013-04-02,2013-04-02,5000,01234,0\n"))
    assert "1 rows failed a check and were put aside." in said.out
    assert "between -18 and 27" in call("data", "checks", "orders").out
    assert {"type": "in_range", "column": "km", "low": -18.0, "high": 27.0} in json.loads(
        call("data", "checks", "orders", "--json").out
    )


def test_an_unknown_dataset_is_told_with_those_that_are_known(call, folder, table):
    call("data", "add", "orders", table(FIRST), *NEW)
    said = call("data", "checks", "weather")
    assert (said.code, said.err.splitlines()[1]) == (3, "Known are: orders.")
    assert "10 rows" not in call("data", "orders").err
