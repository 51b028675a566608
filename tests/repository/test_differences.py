"""What of a wanted object the live one, or the one in git, does not say yet."""

import pytest

from infra_mcp.repository.partial import covers, differences, is_within, ordered_like


def test_the_outermost_missing_field_is_named_once():
    found = list(differences({"metadata": {"name": "a"}}, {"metadata": {"annotations": {"x": "1", "y": "2"}}}))

    assert found == [(("metadata", "annotations"), None, {"x": "1", "y": "2"}, False)]


def test_items_with_names_are_compared_by_name():
    live = {"spec": {"containers": [{"name": "side", "image": "s:1"}, {"name": "web", "image": "w:1", "ports": [1]}]}}
    sets = {"spec": {"containers": [{"name": "web", "image": "w:2"}]}}

    assert list(differences(live, sets)) == [(("spec", "containers", {"name": "web"}, "image"), "w:1", "w:2", True)]


def test_a_list_of_mere_names_is_one_value():
    live, sets = {"imagePullSecrets": [{"name": "a"}]}, {"imagePullSecrets": [{"name": "a"}, {"name": "b"}]}

    assert [path for path, *_ in differences(live, sets)] == [("imagePullSecrets",)]


def test_a_keyed_list_that_lacks_an_item_differs_as_a_whole():
    live, sets = {"spec": {"env": [{"name": "A"}]}}, {"spec": {"env": [{"name": "A"}, {"name": "B"}]}}

    assert [path for path, *_ in differences(live, sets)] == [("spec", "env")]
    assert not covers(live, sets)


def test_another_subject_of_a_binding_is_no_difference():
    ours, other = {"kind": "ServiceAccount", "name": "a", "namespace": "x"}, {"kind": "User", "name": "b"}

    assert is_within({"subjects": [ours]}, {"subjects": [other, ours]})
    assert not is_within({"subjects": [ours]}, {"subjects": [other, ours | {"namespace": "y"}]})


def test_what_the_server_adds_to_an_item_is_no_difference():
    live = {"limits": [{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}}]}

    assert is_within({"limits": [{"type": "Container", "default": {"cpu": "1"}}]}, live)
    assert not covers(live, {"limits": [{"type": "Container", "default": {"cpu": "1"}}]})


@pytest.mark.parametrize(("one", "other"), [("1024Mi", "1Gi"), ("1000m", "1"), ("0.5", "500m"), ("2k", "2000")])
def test_another_way_to_write_a_quantity_is_no_difference_where_quantities_stand(one, other):
    assert is_within({"spec": {"hard": {"x": one}}}, {"spec": {"hard": {"x": other}}})
    assert not covers({"spec": {"hard": {"x": other}}}, {"spec": {"hard": {"x": one}}})
    assert not is_within({"metadata": {"labels": {"x": one}}}, {"metadata": {"labels": {"x": other}}})


def test_a_larger_quantity_is_a_difference():
    assert not is_within({"spec": {"hard": {"memory": "2Gi"}}}, {"spec": {"hard": {"memory": "1Gi"}}})


def test_the_order_of_keyed_items_is_that_of_the_live_ones():
    live = {"spec": {"env": [{"name": "B"}, {"name": "A"}]}, "x": [{"name": "B"}, {"name": "A"}]}
    sets = {"spec": {"env": [{"name": n, "value": "1"} for n in "CAB"]}, "x": [{"name": "A"}, {"name": "B"}]}

    assert [one["name"] for one in ordered_like(sets, live)["spec"]["env"]] == ["B", "A", "C"]
    assert ordered_like(sets, live)["x"] == sets["x"]
