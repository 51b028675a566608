"""What of a wanted object the live one, or the one in git, does not say yet."""

import pytest

from infra_mcp.repository.partial import differences, is_within


def test_the_outermost_missing_field_is_named_once():
    found = list(differences({"metadata": {"name": "a"}}, {"metadata": {"annotations": {"x": "1", "y": "2"}}}))

    assert found == [(("metadata", "annotations"), None, {"x": "1", "y": "2"}, False)]


def test_items_with_names_are_compared_by_name():
    live = {"containers": [{"name": "side", "image": "s:1"}, {"name": "web", "image": "w:1", "ports": [1]}]}
    sets = {"containers": [{"name": "web", "image": "w:2"}]}

    assert list(differences(live, sets)) == [(("containers", {"name": "web"}, "image"), "w:1", "w:2", True)]


def test_a_list_of_mere_names_is_one_value():
    live, sets = {"imagePullSecrets": [{"name": "a"}]}, {"imagePullSecrets": [{"name": "a"}, {"name": "b"}]}

    assert [path for path, *_ in differences(live, sets)] == [("imagePullSecrets",)]


def test_what_the_server_adds_to_an_item_is_no_difference():
    live = {"limits": [{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}}]}

    assert is_within({"limits": [{"type": "Container", "default": {"cpu": "1"}}]}, live)


@pytest.mark.parametrize(("one", "other"), [("1024Mi", "1Gi"), ("1000m", "1"), ("0.5", "500m"), ("2k", "2000")])
def test_another_way_to_write_a_quantity_is_no_difference_where_quantities_stand(one, other):
    assert is_within({"spec": {"hard": {"x": one}}}, {"spec": {"hard": {"x": other}}})
    assert not is_within({"metadata": {"labels": {"x": one}}}, {"metadata": {"labels": {"x": other}}})


def test_a_larger_quantity_is_a_difference():
    assert not is_within({"spec": {"hard": {"memory": "2Gi"}}}, {"spec": {"hard": {"memory": "1Gi"}}})
