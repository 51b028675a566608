"""The table of drivers and checks."""

from drivers.checks import table

SUITE = "tests/drivers/test_conformance.py::"


def test_the_table_shows_the_worst_of_each_check_for_each_driver_and_a_dash_where_a_driver_has_none():
    ended = [
        (f"{SUITE}TestOne::test_a_plan_writes_nothing[3]", "failed"),
        (f"{SUITE}TestOne::test_a_plan_writes_nothing[4]", "passed"),
        (f"{SUITE}TestTwo::test_a_plan_writes_nothing", "passed"),
        (f"{SUITE}TestTwo::test_an_undo_restores", "skipped"),
        ("tests/drivers/test_built.py::test_other", "failed"),
        (f"{SUITE}TestTwo::test_an_undo_restores", "deselected"),
    ]

    assert table(ended) == [
        "| check | One | Two |",
        "| --- | --- | --- |",
        "| a plan writes nothing | FAILED | yes |",
        "| an undo restores | - | skipped |",
    ]
    assert table(ended[4:5]) == []
