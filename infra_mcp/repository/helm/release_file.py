"""Our own form of a declared release: `{root}/{namespace}/{release}.yaml`.

```yaml
chart: docs                        # a name, with its repository; or oci://registry.example/charts/docs; or ./chart
repository: https://charts.example
version: 1.2.3
digest: sha256:…                   # optional: of the chart's archive
valuesFiles: [../values/docs.yaml] # optional, relative to this file, lowest first
values: {replicaCount: 2}          # optional, over the files
wait: true                         # optional: Helm waits until objects are ready, before its post hooks
```
"""

from __future__ import annotations

import posixpath
from typing import Any, Final

from infra_mcp.errors import InfraError
from infra_mcp.repository.helm.declared import YAML, Release, chart_of, made
from infra_mcp.repository.lenient import as_text, joined
from infra_mcp.repository.scalars import Json
from infra_mcp.repository.value import Tree
from infra_mcp.text import named

KEYS: Final = frozenset({"chart", "repository", "version", "digest", "valuesFiles", "values", "wait"})
_NEEDED: Final = {"chart": str, "repository": str, "digest": str, "values": dict, "valuesFiles": list, "wait": bool}
_WORDS: Final = {str: "a text", dict: "a map", list: "a list of paths", bool: "true or false"}


def is_release_file(path: str, root: str) -> bool:
    """Whether a path below a root of delivery `helm` is one of a release: a folder for the namespace, and a file."""
    rest = path.removeprefix(f"{root}/") if root not in ("", ".") else path
    return rest.count("/") == 1 and rest.endswith(YAML)


def is_release(value: Json) -> bool:
    """Whether a document is meant as a declared release: it names a chart, and is no object of Kubernetes."""
    return isinstance(value, dict) and isinstance(value.get("chart"), str) and "kind" not in value


def read(tree: Tree, path: str) -> Release:
    """The release that a file declares.

    Raises:
        InfraError: `manifest-invalid`.
    """
    documents = tree.documents(path) or []
    value: Any = documents[0] if len(documents) == 1 else None
    if not isinstance(value, dict):
        raise _invalid(path, "it is not one map")
    if strange := sorted(map(str, value.keys() - KEYS)):
        raise _invalid(path, f"it has no key {named(strange[0])}; there are {', '.join(sorted(KEYS))}")
    for key, kind in _NEEDED.items():
        if value.get(key) is not None and not isinstance(value[key], kind):
            raise _invalid(path, f"{key} is not {_WORDS[kind]}")
    if not value.get("chart"):
        raise _invalid(path, "it names no chart")
    folder, name = posixpath.split(path)
    files = [joined(folder, str(one)) for one in value.get("valuesFiles") or ()]
    inline: list[Any] = [value["values"]] if value.get("values") else []
    version = as_text(value.get("version"))
    return made(
        tree,
        path,
        posixpath.basename(folder),
        posixpath.splitext(name)[0],
        chart_of(path, value["chart"], value.get("repository") or "", version, value.get("digest") or ""),
        layers=(*files, *inline),
        wait=bool(value.get("wait")),
    )


def _invalid(path: str, why: str) -> InfraError:
    return InfraError("manifest-invalid", f"{path} declares no Helm release: {why}.")
