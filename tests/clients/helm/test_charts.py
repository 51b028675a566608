"""Charts are fetched from repositories that policy lists, one version, by digest, with the dependencies of a lock."""

import anyio
import pytest
import yaml
from clients.helm.parts import CONFIG, chart_yaml, digest_of, packed
from clients.helm.servers import chart_server
from drivers.helm.space import helm

from infra_mcp.clients.helm import charts
from infra_mcp.clients.helm.charts import Source
from infra_mcp.clients.helm.program import find_helm
from infra_mcp.errors import InfraError

__all__ = ["helm"]
pytestmark = [pytest.mark.anyio, pytest.mark.promise("helm.safe-args"), pytest.mark.bad_input("14")]


@pytest.fixture
def server(helm, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with chart_server() as made:
        made.helm = helm
        made.put("docs", "1.2.3", packed())
        yield made


async def _fetch(source, allowed=lambda _: None):
    return await charts.fetch(await find_helm(), source, lambda text: text, allowed)


@pytest.mark.parametrize("kind", ["http", "oci"])
@pytest.mark.trap("H10")
async def test_a_chart_comes_from_a_repository_or_a_registry_with_its_files_alone(server, kind):
    found = await _fetch(Source(getattr(server, kind), "docs", "1.2.3"))
    assert (found.name, found.version, found.digest) == ("docs", "1.2.3", digest_of(packed()))
    assert sorted(found.files) == ["Chart.yaml", "templates/config.yaml"]
    assert found.files["templates/config.yaml"].decode() == CONFIG


async def test_a_version_that_was_fetched_once_stays_what_it_was_and_is_not_asked_for_again(server):
    first = await _fetch(Source(server.http, "docs", "1.2.3"))
    server.put("docs", "1.2.3", packed(files={"templates/evil.yaml": "evil: true"}))
    server.asked.clear()
    second = await _fetch(Source(server.http, "docs", "1.2.3"))
    assert first.digest == second.digest
    assert server.asked == []


async def test_a_cached_archive_that_was_changed_is_fetched_again(server, tmp_path):
    await _fetch(Source(server.http, "docs", "1.2.3"))
    [kept] = (tmp_path / "cache").rglob("*.tgz")
    kept.write_bytes(packed(files={"templates/evil.yaml": "evil: true"}))
    assert "templates/evil.yaml" not in (await _fetch(Source(server.http, "docs", "1.2.3"))).files


async def test_a_pinned_digest_is_required(server):
    good = await _fetch(Source(server.http, "docs", "1.2.3", digest_of(packed())))
    assert good.version == "1.2.3"
    with pytest.raises(InfraError, match="digest") as caught:
        await _fetch(Source(server.http, "docs", "1.2.3", f"sha256:{'0' * 64}"))
    assert caught.value.code == "chart-unavailable"


async def test_a_repository_that_policy_does_not_list_is_not_even_asked_nor_its_cache_used(server):
    await _fetch(Source(server.http, "docs", "1.2.3"))
    server.asked.clear()

    def refuse(repository):
        raise InfraError("policy-denied", repository)

    with pytest.raises(InfraError) as caught:
        await _fetch(Source(server.http, "docs", "1.2.3"), refuse)
    assert caught.value.code == "policy-denied"
    assert server.asked == []


@pytest.mark.parametrize("kind", ["http", "oci"])
async def test_a_chart_that_is_not_there_is_said_with_what_helm_says(server, kind):
    with pytest.raises(InfraError, match=r"chart docs 9\.9\.9 of .* cannot be fetched") as caught:
        await _fetch(Source(getattr(server, kind), "docs", "9.9.9"))
    assert caught.value.code == "chart-unavailable"


async def test_an_archive_that_holds_another_chart_is_refused(server):
    server.put("docs", "2.0.0", packed("docs", "1.9.9"))
    with pytest.raises(InfraError, match=r"holds chart docs 1\.9\.9"):
        await _fetch(Source(server.http, "docs", "2.0.0"))


@pytest.mark.parametrize(
    "source",
    [
        Source("https://charts.example", "docs", "^1.2"),
        Source("https://charts.example", "docs", ""),
        Source("https://charts.example", "docs", "1.2"),
        Source("https://charts.example", "docs", "--devel"),
        Source("https://charts.example", "--plugin", "1.2.3"),
        Source("https://charts.example", "docs/../x", "1.2.3"),
        Source("--post-renderer=x", "docs", "1.2.3"),
        Source("file:///etc", "docs", "1.2.3"),
        Source("s3://charts.example", "docs", "1.2.3"),
        Source("http://charts.example", "docs", "1.2.3"),
        Source("http://127.0.0.1.example", "docs", "1.2.3"),
        Source("https://user:word@charts.example", "docs", "1.2.3"),
        Source("https://charts.example/../x", "docs", "1.2.3"),
        Source("https://charts.example", "docs", "1.2.3", "sha256:1"),
    ],
)
async def test_what_is_no_plain_chart_of_a_repository_is_refused_before_helm_sees_it(source):
    with pytest.raises(InfraError) as caught:
        await charts.fetch(None, source, str, lambda _: None)
    assert caught.value.code == "chart-unavailable"


def _with_leaf(server, version="0.1.x", **more):
    dependencies = [{"name": "leaf", "version": version, "repository": server.http} | more]
    return {"Chart.yaml": chart_yaml(dependencies=dependencies).encode(), "templates/config.yaml": CONFIG.encode()}


def _lock(server, declared, version="0.1.4"):
    dependencies = [{"name": "leaf", "version": version, "repository": server.http}]
    about = yaml.safe_load(declared["Chart.yaml"])["dependencies"]
    digest = min(charts._lock_digests(about, dependencies))
    return {"Chart.lock": yaml.safe_dump({"dependencies": dependencies, "digest": digest}).encode()}


async def _local(files):
    return await charts.local(await find_helm(), files, "The chart in docs", lambda text: text, lambda _: None)


async def test_dependencies_come_in_the_versions_of_the_lock(server):
    server.put("leaf", "0.1.4", packed("leaf", "0.1.4"))
    server.put("leaf", "0.1.9", packed("leaf", "0.1.9"))
    files = _with_leaf(server)
    found = await _local(files | _lock(server, files))
    assert "charts/leaf-0.1.4/templates/config.yaml" in found.files


async def test_a_chart_without_a_lock_or_with_one_of_other_dependencies_is_refused(server):
    server.put("leaf", "0.1.4", packed("leaf", "0.1.4"))
    files = _with_leaf(server)
    with pytest.raises(InfraError, match=r"has no Chart\.lock"):
        await _local(files)
    with pytest.raises(InfraError, match="out of sync"):
        await _local(files | _lock(server, _with_leaf(server, "0.2.x")))


@pytest.mark.parametrize("alias", [{}, {"alias": "other"}, {"condition": "leaf.enabled", "tags": ["a", "b"]}])
async def test_the_lock_that_helm_itself_writes_fits(server, tmp_path, alias):
    server.put("leaf", "0.1.4", packed("leaf", "0.1.4"))
    files = _with_leaf(server, **alias)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "Chart.yaml").write_bytes(files["Chart.yaml"])
    await _update(server.helm, tmp_path / "docs")
    found = await _local(files | {"Chart.lock": (tmp_path / "docs" / "Chart.lock").read_bytes()})
    assert "charts/leaf-0.1.4/Chart.yaml" in found.files


async def _update(helm, folder):
    env = {"HOME": str(folder.parent), "PATH": ""}
    await anyio.run_process([str(helm), "dependency", "update", str(folder)], env=env)


async def test_dependencies_that_lie_in_the_chart_need_neither_a_lock_nor_a_network(server):
    files = _with_leaf(server) | {"charts/leaf-0.1.4.tgz": packed("leaf", "0.1.4")}
    assert "charts/leaf-0.1.4/Chart.yaml" in (await _local(files)).files
    assert server.asked == []


async def test_a_locked_dependency_is_fetched_only_from_a_repository_that_policy_lists(server):
    files = _with_leaf(server)

    def refuse(repository):
        raise InfraError("policy-denied", repository)

    program, whole = await find_helm(), files | _lock(server, files)
    with pytest.raises(InfraError) as caught:
        await charts.local(program, whole, "The chart in docs", str, refuse)
    assert caught.value.code == "policy-denied"
