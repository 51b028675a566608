"""Kustomize repositories at random, with everything in them that people use; a seed gives the same one each time."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import yaml

__all__ = ["repository"]

_KINDS = ("Deployment", "Deployment", "StatefulSet", "DaemonSet", "CronJob")
_NAMES = ("web", "api", "test", "base", "worker")
_IMAGES = ("registry.example/web", "registry.example:5000/api", "web", "library/tool", "registry.example/proxy")
_TAGS = ("1.0.0", "v1.4.2", "latest", "7", "2026.01.02", "1.4.2-rc.1")
_DIGEST = "sha256:" + "a" * 64
_OVERLAYS = ("staging", "production", "prod-eu", "10-prod", "test")


def repository(seed: int) -> dict[str, str]:
    """The files of a repository, by path."""
    return _Maker(Random(seed)).made()


class _Maker:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.files: dict[str, str] = {}
        self.objects: dict[str, list[dict[str, Any]]] = {}  # the workloads of each folder, as the base has them

    def chance(self, likely: float) -> bool:
        return self.random.random() < likely

    def made(self) -> dict[str, str]:
        r = self.random
        flat = self.chance(0.15)
        names = r.sample(_NAMES, r.randint(1, 3))
        bases = ["base"]
        self._base("base", names[:2] if self.chance(0.6) else names[:1], "")
        if len(names) > 1 and self.chance(0.4):
            self._base("shared/more", names[-1:] if names[-1] not in self._named("base") else ["extra"], "")
            bases.append("shared/more")
        if self.chance(0.3):  # a base on a base
            self._over("mid", [bases[0]], "mid")
            bases[0] = "mid"
        parts = []
        if self.chance(0.4):
            self._over("components/part", [], "part", component=True, about=self.objects[bases[0]])
            parts = ["components/part"]
        overlays: list[str] = []
        for name in r.sample(_OVERLAYS, r.randint(1, 4)):
            below = [base for base in bases if base == bases[0] or self.chance(0.7)]
            if overlays and self.chance(0.15):
                below = [r.choice(overlays)]
            folder = f"overlays/{name}" if not flat else name
            self._over(folder, below, name, parts=[part for part in parts if self.chance(0.6)])
            overlays.append(folder)
        if self.chance(0.2):  # an app of the same name as it is applied
            one = self._workload(names[0], "apart")
            self.files["plain/app.yaml"] = _dump(one)
        return self.files

    def _named(self, folder: str) -> list[str]:
        return [one["metadata"]["name"] for one in self.objects[folder]]

    def _image(self) -> str:
        r = self.random
        image = r.choice(_IMAGES)
        form = r.random()
        if form < 0.75:
            return f"{image}:{r.choice(_TAGS)}"
        if form < 0.85:
            return f"{image}:{r.choice(_TAGS)}@{_DIGEST}"
        return image if form < 0.92 else f"{image}@{_DIGEST}"

    def _workload(self, name: str, namespace: str) -> dict[str, Any]:
        r = self.random
        kind = r.choice(_KINDS)
        first = {"name": name if self.chance(0.7) else "main", "image": self._image()}
        pod: dict[str, Any] = {"containers": [first]}
        if self.chance(0.3):
            pod["containers"].insert(
                r.randint(0, 1), {"name": "side", "image": first["image"] if self.chance(0.4) else self._image()}
            )
        if self.chance(0.3):
            start = {"name": "start", "image": first["image"] if self.chance(0.5) else self._image()}
            pod = {"initContainers": [start], **pod}
        metadata: dict[str, Any] = {"name": name, "labels": {"app": name}}
        if namespace:
            metadata["namespace"] = namespace
        template = {"metadata": {"labels": {"app": name}}, "spec": pod}
        if kind == "CronJob":
            spec: dict[str, Any] = {"schedule": "0 1 * * *", "jobTemplate": {"spec": {"template": template}}}
            return {"apiVersion": "batch/v1", "kind": kind, "metadata": metadata, "spec": spec}
        spec = {"selector": {"matchLabels": {"app": name}}, "template": template}
        if kind != "DaemonSet" and self.chance(0.7):
            spec["replicas"] = r.randint(1, 3)
        return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec}

    def _base(self, folder: str, names: list[str], namespace: str) -> None:
        made = [self._workload(name, namespace) for name in names]
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": names[0]},
            "spec": {"ports": [{"port": 80}]},
        }
        form = self.random.randint(0, 3)
        value: dict[str, Any] = {}
        if form == 0:
            self.files[f"{folder}/all.yaml"] = "---\n".join(map(_dump, [service, *made]))
            value["resources"] = ["all.yaml"]
        elif form == 1:
            listed = {"apiVersion": "v1", "kind": "List", "items": [*made, service]}
            self.files[f"{folder}/list.yaml"] = _dump(listed)
            value["resources"] = ["list.yaml"]
        else:
            for one in made:
                self.files[f"{folder}/{one['metadata']['name']}.yaml"] = (
                    json.dumps(one, indent=2) + "\n" if form == 2 and self.chance(0.3) else _dump(one)
                )
            value["resources"] = [f"{name}.yaml" for name in names]
        if self.chance(0.2):
            value["configMapGenerator"] = [{"name": "settings", "literals": ["A=1"]}]
        if self.chance(0.2):
            value["images"] = [self._entry(made)]
        self.files[f"{folder}/kustomization.yaml"] = _dump(value)
        self.objects[folder] = made

    def _over(  # noqa: C901, PLR0912 - each branch is one choice
        self,
        folder: str,
        below: list[str],
        word: str,
        *,
        component: bool = False,
        about: list[dict[str, Any]] | None = None,
        parts: list[str] | None = None,
    ) -> None:
        r = self.random
        objects = list(about or []) or [one for base in below for one in self.objects[base]]
        depth = folder.count("/") + 1
        up = "../" * depth
        value: dict[str, Any] = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
        if component:
            value |= {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component"}
        if below:
            key = "bases" if self.chance(0.1) else "resources"
            value[key] = [f"{up}{base}" for base in below]
        if parts:
            value["components"] = [f"{up}{part}" for part in parts]
        if self.chance(0.4) and not component:
            value["namespace"] = f"ns-{word}"
        if self.chance(0.15) and not component:
            value[r.choice(["namePrefix", "nameSuffix"])] = f"x{word}-" if "namePrefix" in value else f"{word}-x"
        if self.chance(0.15):
            value["labels"] = [{"pairs": {"tier": word}}]
        if self.chance(0.5):
            entries = [self._entry(objects) for _ in range(r.randint(1, 2))]
            value["images"] = (
                list({entry["name"]: entry for entry in entries}.values()) if self.chance(0.9) else entries
            )
        scaled = [one for one in objects if one["kind"] in {"Deployment", "StatefulSet"}]
        if scaled and self.chance(0.25):
            value["replicas"] = [{"name": r.choice(scaled)["metadata"]["name"], "count": r.randint(2, 6)}]
        patches = [self._patch(folder, number, r.choice(objects)) for number in range(r.choice([0, 0, 1, 1, 2]))]
        if patches:
            value["patches"] = patches
        if self.chance(0.12):
            value["configMapGenerator"] = [{"name": f"made-{word}", "literals": ["A=1"]}]
        if self.chance(0.08):
            value["transformers"] = ["change.yaml"]
            entry = self._entry(objects)
            made = {
                "apiVersion": "builtin",
                "kind": "ImageTagTransformer",
                "metadata": {"name": "it"},
                "imageTag": entry,
            }
            paths = [{"path": "spec/template/spec/containers[]/image"}]
            self.files[f"{folder}/change.yaml"] = _dump(made | {"fieldSpecs": paths})
        if self.chance(0.08) and len(objects) > 1:
            one, other = r.sample(objects, 2)
            path = "spec.template.spec.containers.0.image"
            if "CronJob" not in {one["kind"], other["kind"]}:
                value["replacements"] = [
                    {
                        "source": {"kind": one["kind"], "name": one["metadata"]["name"], "fieldPath": path},
                        "targets": [
                            {
                                "select": {"kind": other["kind"], "name": other["metadata"]["name"]},
                                "fieldPaths": [path],
                            }
                        ],
                    }
                ]
        self.files[f"{folder}/kustomization.yaml"] = _dump(value)
        self.objects[folder] = objects

    def _entry(self, objects: list[dict[str, Any]]) -> dict[str, Any]:
        r = self.random
        images = [one["image"] for obj in objects for one in _pod(obj)["containers"]]
        name = r.choice(images).partition("@")[0]
        head, slash, last = name.rpartition("/")
        name = f"{head}{slash}{last.partition(':')[0]}"
        entry: dict[str, Any] = {"name": name}
        form = r.random()
        if form < 0.2:
            entry["newName"] = r.choice(["mirror.example/web", "mirror.example/other"])
        if form < 0.1:
            return entry
        if form < 0.85:
            entry["newTag"] = r.choice(["1.5.0", "v2.0.0", "latest", "7"])
        if form >= 0.75:
            entry["digest"] = "sha256:" + "b" * 64
        return entry

    def _patch(self, folder: str, number: int, one: dict[str, Any]) -> dict[str, Any]:  # noqa: C901, PLR0912
        r = self.random
        name, kind = one["metadata"]["name"], one["kind"]
        at = ("spec", "jobTemplate", "spec", "template", "spec") if kind == "CronJob" else ("spec", "template", "spec")
        containers = _pod(one)["containers"]
        position = r.randrange(len(containers))
        image = f"{r.choice(_IMAGES)}:{r.choice(_TAGS)}"
        form = r.randint(0, 7)
        base: dict[str, Any] = {"apiVersion": one["apiVersion"], "kind": kind, "metadata": {"name": name}}
        if one["metadata"].get("namespace"):
            base["metadata"]["namespace"] = one["metadata"]["namespace"]
        target: dict[str, Any] | None = None
        body: Any
        if form == 0:  # a container by its name
            body = base | _nested(at, {"containers": [{"name": containers[position]["name"], "image": image}]})
        elif form == 1 and kind in {"Deployment", "StatefulSet"}:
            body = base | {"spec": {"replicas": r.choice([4, 5, None])}}
        elif form == 2:  # another container beside those
            body = base | _nested(at, {"containers": [{"name": "added", "image": image}]})
        elif form == 3:  # the list anew, or without one
            if self.chance(0.5) or len(containers) == 1:
                item = {"name": "anew", "image": image}
                body = base | _nested(at, {"containers": [{"$patch": "replace"}, item]})
            else:
                item = {"name": containers[position]["name"], "$patch": "delete"}
                body = base | _nested(at, {"containers": [item]})
        elif form in {4, 5}:
            pointer = f"/{'/'.join(at)}/containers/0/image"
            body = [{"op": r.choice(["replace", "add"]), "path": pointer, "value": image}]
            if self.chance(0.3):
                body.insert(0, {"op": "test", "path": "/metadata/name", "value": name})
            target = r.choice(
                [
                    {"kind": kind, "name": name},
                    {"kind": kind, "name": f"{name[:2]}.*"},
                    {"labelSelector": f"app={name}"},
                    {"labelSelector": f"app in ({name})"},
                    {"kind": kind, "labelSelector": f"app=={name}"},
                    {"group": one["apiVersion"].rpartition("/")[0], "version": "v1", "kind": kind, "name": name},
                    {"group": "batch", "kind": kind, "name": name} if kind != "CronJob" else {"kind": "CronJob"},
                    {"kind": kind, "labelSelector": f"app!={name}"},
                ]
            )
            if kind in {"Deployment", "StatefulSet"} and self.chance(0.3):
                body = [{"op": "add", "path": "/spec/replicas", "value": 4}]
        elif form == 6:  # a strategic patch for whatever fits
            body = {"apiVersion": one["apiVersion"], "kind": kind, "metadata": {"name": "any"}}
            body |= _nested(at, {"containers": [{"name": containers[position]["name"], "image": image}]})
            target = {"kind": kind, "name": name}
        else:
            body = base | _nested(at, {"priorityClassName": "high"})
        if self.chance(0.5):
            made: dict[str, Any] = {"patch": _dump(body)}
        else:
            self.files[f"{folder}/patch{number}.yaml"] = _dump(body)
            made = {"path": f"patch{number}.yaml"}
        return made | ({"target": target} if target else {})


def _pod(obj: dict[str, Any]) -> dict[str, Any]:
    spec = obj["spec"]
    found: dict[str, Any] = (spec["jobTemplate"]["spec"] if obj["kind"] == "CronJob" else spec)["template"]["spec"]
    return found


def _nested(at: tuple[str, ...], value: Any) -> dict[str, Any]:
    for key in reversed(at):
        value = {key: value}
    found: dict[str, Any] = value
    return found


def _dump(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=200)
