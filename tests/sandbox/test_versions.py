from infra_mcp.sandbox.versions import pinned


def test_the_pinned_versions_are_those_of_go_mod():
    versions = pinned()
    assert (versions.kubernetes, versions.etcd, versions.kwok) == ("1.36.3", "3.6.8", "0.8.0")


def test_the_cache_key_contains_versions_and_machine():
    key = pinned().key
    assert {"kubernetes-1.36.3", "etcd-3.6.8", "kwok-0.8.0"} <= set(key.split("_"))
    assert key.endswith((f"{pinned().system}-amd64", f"{pinned().system}-arm64"))
