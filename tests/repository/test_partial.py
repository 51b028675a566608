from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_mcp.repository.partial import covers, get_path, leaves, merge, remove_path, set_path

POD = ("spec", "template", "spec")
BODY = {
    "spec": {
        "replicas": 2,
        "template": {
            "spec": {
                "containers": [
                    {"name": "web", "image": "a:1", "ports": [{"containerPort": 80, "protocol": "TCP"}]},
                    {"name": "side", "image": "b:1"},
                ],
                "tolerations": [{"key": "x"}],
            }
        },
    },
    "metadata": {"labels": {"a": "1"}, "finalizers": ["one"]},
}


def pod(**spec: object) -> dict:
    return {"spec": {"template": {"spec": spec}}}


def test_a_partial_object_changes_its_fields_and_no_others():
    before = deepcopy(BODY)
    sets = pod(containers=[{"name": "web", "image": "a:2"}]) | {"metadata": {"labels": {"b": "2"}}}
    merged = merge(BODY, sets)

    assert merged["spec"]["replicas"] == 2
    assert merged["spec"]["template"]["spec"]["containers"] == [
        {"name": "web", "image": "a:2", "ports": [{"containerPort": 80, "protocol": "TCP"}]},
        {"name": "side", "image": "b:1"},
    ]
    assert merged["metadata"]["labels"] == {"a": "1", "b": "2"}
    assert before == BODY


@pytest.mark.parametrize(
    ("sets", "where", "expected"),
    [
        (pod(containers=[{"name": "new", "image": "c"}]), (*POD, "containers"), 3),
        (pod(tolerations=[{"key": "y"}, {"key": "z"}]), (*POD, "tolerations"), 2),  # atomic: replaced
        ({"metadata": {"finalizers": ["two", "one"]}}, ("metadata", "finalizers"), 2),  # a set: added
        (pod(containers=[{"name": "web", "ports": [{"containerPort": 80, "name": "http"}]}]), (*POD, "containers"), 2),
    ],
)
def test_each_list_is_merged_as_its_kind_is(sets, where, expected):
    assert len(get_path(merge(BODY, sets), where)[1]) == expected


def test_a_ports_protocol_is_tcp_when_it_is_not_said():
    sets = pod(containers=[{"name": "web", "ports": [{"containerPort": 80, "name": "http"}]}])
    merged = merge(BODY, sets)

    assert merged["spec"]["template"]["spec"]["containers"][0]["ports"] == [
        {"containerPort": 80, "protocol": "TCP", "name": "http"}
    ]


def test_what_the_server_says_of_a_list_goes_over_what_is_well_known():
    sets = pod(containers=[{"name": "web", "image": "a:2"}])

    assert merge(BODY, sets, {(*POD, "containers"): ()})["spec"]["template"]["spec"]["containers"] == [
        {"name": "web", "image": "a:2"}
    ]


def test_pull_secrets_are_keyed_in_a_pod_and_one_value_in_a_service_account():
    one, two = [{"name": "a"}], [{"name": "b"}]

    assert merge({"imagePullSecrets": one}, {"imagePullSecrets": two}) == {"imagePullSecrets": two}
    assert merge(pod(imagePullSecrets=one), pod(imagePullSecrets=two)) == pod(imagePullSecrets=one + two)


@pytest.mark.parametrize(
    ("sets", "so"),
    [
        ({}, True),
        (pod(containers=[{"name": "web", "image": "a:1"}]), True),
        (pod(containers=[{"name": "side"}]), True),
        (pod(containers=[{"name": "web", "image": "a:2"}]), False),
        (pod(containers=[{"name": "other"}]), False),
        (pod(tolerations=[{"key": "x"}]), True),
        (pod(tolerations=[]), False),
        (pod(volumes=[]), True),
        (pod(nodeSelector={}), False),
        ({"spec": {"replicas": "2"}}, False),
        ({"spec": {"replicas": True}}, False),
        ({"metadata": {"finalizers": ["one"]}}, True),
        ({"metadata": {"finalizers": ["two"]}}, False),
        ({"status": {"x": 1}}, False),
    ],
)
def test_covers_says_whether_all_of_it_is_so_already(sets, so):
    assert covers(BODY, sets) is so


def test_leaves_are_the_fields_that_are_set():
    sets = pod(containers=[{"name": "web", "image": "a:2"}, {"name": "bare"}], tolerations=[{"key": "y"}])

    assert list(leaves(sets | {"metadata": {"labels": {"a": "1"}, "annotations": {}}})) == [
        (*POD, "containers", {"name": "web"}, "image"),
        (*POD, "containers", {"name": "bare"}),
        (*POD, "tolerations"),
        ("metadata", "labels", "a"),
        ("metadata", "annotations"),
    ]


def test_nothing_set_is_no_path():
    assert list(leaves({})) == []


def test_paths_find_set_and_remove_through_keyed_items():
    body = deepcopy(BODY)
    image = (*POD, "containers", {"name": "web"}, "image")
    port = (*POD, "containers", {"name": "web"}, "ports", {"containerPort": 80, "protocol": "TCP"})
    set_path(body, image, "a:9")
    set_path(body, ("metadata", "finalizers", {"=": "two"}), "two")

    assert get_path(body, image) == (True, "a:9")
    assert get_path(body, port)[0]
    assert body["metadata"]["finalizers"] == ["one", "two"]
    assert remove_path(body, port)
    assert not remove_path(body, port)
    assert get_path(body, port) == (False, None)
    assert remove_path(body, ("metadata", "finalizers", {"=": "one"}))
    assert body["metadata"]["finalizers"] == ["two"]
    assert not remove_path(body, ("no", "such"))


def test_setting_makes_what_is_missing_on_the_way():
    body: dict = {}
    set_path(body, (*POD, "containers", {"name": "web"}, "env", {"name": "A"}, "value"), "1")

    assert body == pod(containers=[{"name": "web", "env": [{"name": "A", "value": "1"}]}])
    with pytest.raises(ValueError, match="does not fit"):
        set_path(body, ("spec", {"name": "x"}), 1)


names = st.sampled_from(["a", "b", "c"])
scalars = st.one_of(st.integers(0, 2), st.booleans(), names)
items = st.builds(lambda name, image: {"name": name} | ({"image": image} if image else {}), names, st.none() | names)
unique = st.lists(items, max_size=3, unique_by=lambda item: item["name"])
maps = st.dictionaries(names, scalars, max_size=3)
objects = st.fixed_dictionaries(
    {},
    optional={
        "data": maps,
        "spec": st.fixed_dictionaries(
            {}, optional={"containers": unique, "tolerations": st.lists(maps, max_size=2), "n": scalars}
        ),
        "metadata": st.fixed_dictionaries({}, optional={"finalizers": st.lists(names, max_size=3, unique=True)}),
    },
)


@given(objects, objects)
def test_merging_makes_it_so_and_merging_again_changes_nothing(body, sets):
    merged = merge(body, sets)

    assert covers(merged, sets)
    assert merge(merged, sets) == merged
    assert all(get_path(merged, path)[0] for path in leaves(sets))


@given(objects, objects)
def test_merging_leaves_what_is_not_set_as_it_was(body, sets):
    merged = merge(body, sets)
    touched = list(leaves(sets))

    def outside(path):
        return not any(path[: len(leaf)] == leaf or leaf[: len(path)] == path for leaf in touched)

    assert all(get_path(merged, path) == get_path(body, path) for path in leaves(body) if outside(path))


def test_an_item_that_nothing_else_tells_apart_is_named_by_its_index():
    obj = {"ops": [{"op": "add"}, {"op": "replace", "value": 2}]}

    assert get_path(obj, ("ops", 1, "value")) == (True, 2)
    assert get_path(obj, ("ops", 2, "value")) == (False, None)
    assert get_path(obj, ("ops", -1, "value")) == (False, None)
    set_path(obj, ("ops", 1, "value"), 3)
    set_path(obj, ("ops", 2, "op"), "test")
    assert obj == {"ops": [{"op": "add"}, {"op": "replace", "value": 3}, {"op": "test"}]}
    with pytest.raises(ValueError, match="no item at that index"):
        set_path(obj, ("ops", 4), "x")
    assert remove_path(obj, ("ops", 0))
    assert obj["ops"][0]["value"] == 3
