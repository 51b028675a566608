"""A census takes computing in proportion to what a repository holds, whatever it is made of, and what is remembered
between commits is what it would find.

Each measurement runs in a child with a limit of computing time, so that one that grows faster fails instead of hanging.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from limited import run_limited
from repository.conftest import Files

from infra_mcp.repository.census.apps import Census
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.others import others
from infra_mcp.repository.load import load

TESTS = Path(__file__).resolve().parents[2]

LEAST = 0.3  # seconds of computing below which a ratio says nothing
MOST = 7.0  # times the computing for four times the files: 4 is linear, 16 is quadratic
TAGGED = "resources: [../base]\nimages: [{name: example.org/web0, newTag: 2.0.0}]\n"
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web{0}, namespace: n{0}}}
spec: {{template: {{spec: {{containers: [{{name: web, image: "example.org/web{0}:1.0.0"}}]}}}}}}
"""
FLUX = """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {{name: k{0}, namespace: flux-system}}
spec: {{path: ./apps/web{0}, postBuild: {{substituteFrom: [{{kind: ConfigMap, name: c{0}}}]}}}}
"""
RELEASE = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {{name: web{0}, namespace: n}}
spec:
  chartRef: {{kind: OCIRepository, name: web{0}}}
  valuesFrom: [{{kind: ConfigMap, name: c{0}}}]
  values: {{image: {{repository: example.org/web{0}, tag: 1.0.0}}}}
"""
SOURCE = """\
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata: {{name: web{0}, namespace: n}}
spec: {{ref: {{tag: 1.0.0}}}}
"""
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{0}, namespace: n}}\ndata: {{values.yaml: 'a: 1'}}\n"
APPLICATION = """\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {{name: web{0}-prod, namespace: argocd}}
spec:
  destination: {{name: prod, namespace: n{0}}}
  source: {{repoURL: "https://example.org/infra.git", path: charts/web{0}, helm: {{valueFiles: [values-prod.yaml]}}}}
"""


def _flat(count: int) -> dict[str, str]:
    return {f"apps/{i}.yaml": DEPLOYMENT.format(i) for i in range(count)}


def _overlays(count: int) -> dict[str, str]:
    files = {"base/web.yaml": DEPLOYMENT.format(0), "base/kustomization.yaml": "resources: [web.yaml]\n"}
    return files | {f"overlays/c{i}/kustomization.yaml": "resources: [../../base]\n" for i in range(count)}


def _flux(count: int) -> dict[str, str]:
    files = {f"clusters/prod/{i}.yaml": FLUX.format(i) for i in range(count)}
    files |= {f"clusters/prod/config-{i}.yaml": CONFIG.format(i) for i in range(count)}
    return files | {f"apps/web{i}/web.yaml": DEPLOYMENT.format(i) for i in range(count)}


def _releases(count: int) -> dict[str, str]:
    texts = {"release": RELEASE, "source": SOURCE, "config": CONFIG}
    return {f"apps/{i}/{name}.yaml": text.format(i) for i in range(count) for name, text in texts.items()}


def _charts(count: int) -> dict[str, str]:
    texts = {
        "Chart.yaml": "name: web{0}\nappVersion: 1.0.0\n",
        "values.yaml": "image: {{tag: 1.0.0}}\n",
        "values-prod.yaml": "image: {{tag: 1.0.1}}\n",
    }
    return {f"charts/web{i}/{name}": text.format(i) for i in range(count) for name, text in texts.items()}


def _applications(count: int) -> dict[str, str]:
    return _charts(count) | {f"argo/{i}.yaml": APPLICATION.format(i) for i in range(count)}


def _tags(count: int) -> dict[str, str]:
    return {f"tags/{where}/web{i}": "1.0.0\n" for i in range(count) for where in ("prod", "staging")}


def _images(count: int) -> dict[str, str]:
    images = "".join(f"  - {{name: example.org/web{i}, newTag: 1.0.0}}\n" for i in range(count))
    return {"web.yaml": DEPLOYMENT.format(0), "kustomization.yaml": f"resources: [web.yaml]\nimages:\n{images}"}


def _documents(count: int) -> dict[str, str]:
    return {"all.yaml": "---\n".join(DEPLOYMENT.format(i) for i in range(count))}


def _modules(count: int) -> dict[str, str]:
    return {f"live/r{i}/{name}": "" for i in range(count) for name in ("terragrunt.hcl", "main.tf")}


def _chain(count: int) -> dict[str, str]:
    """Each names the next; the last ones are deeper than anyone builds."""
    files = {f"k{i}/kustomization.yaml": f"resources: [../k{i + 1}, web.yaml]\n" for i in range(count)}
    return files | {f"k{i}/web.yaml": DEPLOYMENT.format(i) for i in range(count)}


SHAPES: dict[str, tuple[Callable[[int], dict[str, str]], int]] = {
    "manifests": (_flat, 500),
    "overlays over one base": (_overlays, 1000),
    "Flux's Kustomizations": (_flux, 300),
    "HelmReleases": (_releases, 300),
    "charts": (_charts, 300),
    "Applications": (_applications, 200),
    "tag files": (_tags, 800),
    "images of a kustomization": (_images, 1500),
    "documents of a file": (_documents, 700),
    "Terraform": (_modules, 2000),
    "a chain of bases": (_chain, 200),
}


def _census(files: dict[str, str]) -> Census:
    return Census(Index(anyio.run(load, Files(dict(files)), "c" * 40, (".",), "sandbox")))


def _computing(files: dict[str, str]) -> float:
    census = _census(files)
    began = time.process_time()
    for unit in census.units:
        _ = unit.holds
    _ = census.apps
    others(census.index)
    return time.process_time() - began


def measure(name: str) -> None:
    """In the child: print how much more computing four times as much takes."""
    make, count = SHAPES[name]
    gc.disable()  # what it collects is not what is measured
    found = []
    for _ in range(3):  # the best of three: other work on the machine shows in a single one
        large = _computing(make(4 * count))
        small = _computing(make(count))
        found.append(large / max(small, LEAST / 4))
        if min(found) <= MOST:
            break
    sys.stdout.write(f"{min(found):.1f}")


@pytest.mark.fault("r13")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SHAPES)
def test_four_times_as_much_takes_about_four_times_the_computing(name):
    code = f"import sys; sys.path.insert(0, {str(TESTS)!r}); from repository.census import test_large as t"
    done = run_limited(f"{code}; t.measure({name!r})", cpu=60, at=TESTS)

    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) <= MOST


@pytest.mark.fault("r13")
@pytest.mark.timeout(120)
def test_bases_that_are_named_twice_at_each_depth_come_to_an_end():
    code = f"import sys; sys.path.insert(0, {str(TESTS)!r}); from repository.census import test_large as t; t.double()"
    done = run_limited(code, cpu=30, at=TESTS)

    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "it builds from more than can be read"


def double() -> None:
    """In the child: two to the power of thirty builds, if each was made."""
    files = {f"k{i}/kustomization.yaml": f"resources: [../k{i + 1}, ../k{i + 1}]\n" for i in range(29)}
    files |= {"k29/kustomization.yaml": "resources: [web.yaml]\n", "k29/web.yaml": DEPLOYMENT.format(0)}
    entry = next(one for one in _census(files).entries if one.root == "k0")
    is_cut = any("more than can be read" in why for why in entry.composition.unread)
    sys.stdout.write("it builds from more than can be read" if is_cut else "")


@pytest.mark.parametrize(
    ("path", "content", "version"),
    [
        ("base/web.yaml", DEPLOYMENT.format(0).replace("1.0.0", "1.1.0"), "1.1.0"),
        ("other/kustomization.yaml", "resources: [../base]\n", "1.0.0"),
        (
            "top/kustomization.yaml",
            "resources: [../base]\nimages: [{name: example.org/web0, newTag: 2.0.0}]\n",
            "2.0.0",
        ),
        ("base/kustomization.yml", None, "1.0.0"),
        ("top/patch.yaml", "- {op: replace, path: /spec/replicas, value: 2}\n", "1.0.0"),
    ],
    ids=["a file of the base", "another overlay", "the overlay", "nothing", "a file that nothing reads"],
)
def test_what_is_remembered_is_what_a_fresh_census_finds(path, content, version):
    files = {
        "base/web.yaml": DEPLOYMENT.format(0),
        "base/kustomization.yaml": "resources: [web.yaml]\n",
        "top/kustomization.yaml": "resources: [../base]\n",
    }
    git = Files(dict(files))
    first = Census(Index(anyio.run(load, git, "a" * 40, (".",), "sandbox")))
    assert _shown(first, "top") == ["1.0.0"]

    if content is not None:
        git.files[path] = content.encode()
    second = Census(Index(anyio.run(load, git, "b" * 40, (".",), "sandbox")))
    assert _shown(second, "top") == [version]
    assert [str(unit) for unit in second.units] == [str(unit) for unit in _census(git.files).units]


def test_a_file_that_a_kustomization_names_counts_from_the_commit_that_adds_it():
    git = Files({"top/kustomization.yaml": "resources: [web.yaml]\n"})
    assert _shown(Census(Index(anyio.run(load, git, "a" * 40, (".",), "sandbox"))), "top") == []

    git.files["top/web.yaml"] = DEPLOYMENT.format(0).encode()
    assert _shown(Census(Index(anyio.run(load, git, "b" * 40, (".",), "sandbox"))), "top") == ["1.0.0"]

    del git.files["top/web.yaml"]
    assert _shown(Census(Index(anyio.run(load, git, "d" * 40, (".",), "sandbox"))), "top") == []


def test_a_composition_is_made_once_while_the_files_that_it_reads_stay():
    files = {
        "a/kustomization.yaml": "resources: [web.yaml]\n",
        "a/web.yaml": DEPLOYMENT.format(0),
        "b/kustomization.yaml": "resources: [web.yaml]\n",
        "b/web.yaml": DEPLOYMENT.format(1),
    }
    git = Files(files)
    first = Census(Index(anyio.run(load, git, "a" * 40, (".",), "sandbox")))
    made = {one.root: one.composition for one in first.entries}
    git.files["b/web.yaml"] += b"# a line more\n"
    second = Census(Index(anyio.run(load, git, "b" * 40, (".",), "sandbox")))
    again = {one.root: one.composition for one in second.entries}

    assert again["a"] is made["a"]
    assert again["b"] is not made["b"]


def _shown(census: Census, root: str) -> list[str]:
    return [hold.version for unit in census.units if unit.entry.root == root for hold in unit.holds]
