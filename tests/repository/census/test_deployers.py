"""Releases that a deployer of one's own makes, as its cluster files name them."""

import pytest

VALUES = "image: {repository: registry.example/hub, tag: 1.0.0}\n"
CLUSTER = """\
name: north
hubs:
- name: staging
  helm_chart: hub
  helm_chart_values_files: [common.values.yaml, staging.values.yaml]
- name: prod
  helm_chart: hub
  helm_chart_values_files:
  - common.values.yaml
  - prod.values.yaml
  - enc-prod.secret.values.yaml
  - gone.values.yaml
"""
FILES = {
    "charts/hub/Chart.yaml": "apiVersion: v2\nname: hub\nversion: 1.0.0\n",
    "charts/hub/values.yaml": VALUES,
    "config/clusters/north/cluster.yaml": CLUSTER,
    "config/clusters/north/common.values.yaml": "image: {tag: 1.1.0}\n",
    "config/clusters/north/staging.values.yaml": "image: {tag: 1.2.0}\n",
    "config/clusters/north/prod.values.yaml": "image: {tag: 1.1.0} # prod\n",
    "config/clusters/north/enc-prod.secret.values.yaml": "token: ENC[x]\nsops:\n  mac: x\n",
}


def test_each_release_is_an_instance_whose_last_file_decides(census, environments, deployed):
    found = census(FILES)

    assert environments(found, "hub") == ["staging", "prod"]
    assert {one.entry.delivery for one in found.find("hub")} == {"helm"}
    assert {one.entry.cluster for one in found.find("hub")} == {"north"}
    changed, notes = deployed(found, "hub", "1.1.1", "prod")
    assert changed == {"config/clusters/north/prod.values.yaml": "image: {tag: 1.1.1} # prod\n"}
    assert any("common.values.yaml" in note and "stays at 1.1.0" in note for note in notes)


def test_production_of_two_clusters_is_two_instances(census, environments, deployed):
    other = {path.replace("north", "south"): text for path, text in FILES.items() if "north" in path}
    found = census(FILES | other)

    assert sorted(environments(found, "hub")) == ["north/prod", "north/staging", "south/prod", "south/staging"]
    changed, _ = deployed(found, "hub", "1.1.1", "south/prod")
    assert set(changed) == {"config/clusters/south/prod.values.yaml"}


def test_a_value_in_an_encrypted_file_is_known_to_decide(census):
    files = FILES | {"config/clusters/north/enc-prod.secret.values.yaml": "image: {tag: 'ENC[x]'}\nsops:\n  mac: x\n"}
    found = census(files)
    prod = next(one for one in found.find("hub") if one.environment == "prod")

    assert prod.units[0].holds[0].decides.spot.path in found.index.encrypted


@pytest.mark.parametrize(
    "named", ["../../../../etc/values.yaml", "/etc/passwd", "", "a\0b", "x" * 9000, "cluster.yaml/values.yaml", "."]
)
def test_files_outside_or_not_there_are_not_read(census, named):
    text = f"name: prod\nchart: hub\nvalues_files: [{named!r}]\n"

    assert [unit.kind for unit in census({"c/cluster.yaml": text}).units] == []
