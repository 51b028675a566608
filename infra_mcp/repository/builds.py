"""Builds kustomizations of a repository, closed over its files, and keeps what was built from the same inputs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import Final

import anyio
from anyio import to_thread

from infra_mcp.clients.kustomize import Built, Restrict, build, find_renderer
from infra_mcp.errors import InfraError
from infra_mcp.masking import Masker
from infra_mcp.repository.kustomize import Inputs, Read, inputs
from infra_mcp.repository.nodes import Unreadable
from infra_mcp.repository.render import Located, read
from infra_mcp.repository.value import Tree
from infra_mcp.text import named

PARALLEL: Final = 4
MAX_BYTES: Final = 64 * 1024 * 1024  # of one build's files
MAX_OBJECTS: Final = 10_000  # of one build's output
KEPT_BUILDS: Final = 64
KEPT_BYTES: Final = 8 * 1024 * 1024  # of output; the same again of single documents
# Kinds whose objects are in a namespace, whatever their manifest says; of others it is not known.
NAMESPACED: Final = frozenset(
    {
        *("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod", "Job", "CronJob", "HorizontalPodAutoscaler"),
        *("ConfigMap", "Secret", "Service", "ServiceAccount", "Ingress", "NetworkPolicy", "PersistentVolumeClaim"),
        *("PodDisruptionBudget", "ResourceQuota", "LimitRange", "Role", "RoleBinding"),
    }
)
_NAMED = 3  # reasons in a message; the rest is counted


@dataclass(frozen=True)
class View:
    """The files of a repository as one commit, or a change on top of it, has them."""

    read: Read  # the bytes of a regular file; None for one that is too large; may block
    paths: Collection[str]  # of every regular file
    links: Mapping[str, str] = field(default_factory=dict)  # every symbolic link, with its target


def view_of(tree: Tree) -> View:
    """The files of a tree. Blocks while symbolic links are read; the view's `read` may block, too."""
    return View(tree.read, tree.regular, tree.links)


@dataclass(frozen=True)
class Rendered:
    """A build's objects. They are shared between builds: do not change them."""

    root: str
    objects: tuple[Located, ...]  # in the renderer's order; the namespace is the one that the build gives
    renderer: str  # name and version
    inputs: Inputs


def placed(made: Rendered, namespace: str | None) -> Rendered:
    """A build with objects that name no namespace in this one, if there is one, where their kind is in a namespace."""
    if namespace is None:
        return made
    objects = []
    for one in made.objects:
        if one.ref.namespace is None and one.ref.kind in NAMESPACED:
            body = {**one.object, "metadata": {**one.object["metadata"], "namespace": namespace}}
            objects.append(replace(one, object=body, ref=one.ref.model_copy(update={"namespace": namespace})))
        else:
            objects.append(one)
    return replace(made, objects=tuple(objects))


class Builds:
    """Builds kustomizations, at most four at once.

    Args:
        mask: hides secrets in a renderer's own text.
        renderer: an executable, instead of the one of the settings.
    """

    def __init__(self, mask: Callable[[str], str] = str, renderer: str | None = None) -> None:
        self._mask, self._renderer = mask, renderer
        self._key = os.urandom(32)
        self._kept: OrderedDict[tuple[str, ...], tuple[Rendered, int]] = OrderedDict()
        self._running = anyio.Semaphore(PARALLEL)

    async def render(self, view: View, root: str, *, cluster: str = "", restrict: Restrict = "root-only") -> Rendered:
        """Build one folder.

        Args:
            view: the repository.
            root: the folder with the kustomization; empty for the repository's top.
            cluster: the name of the cluster that the objects are for.
            restrict: whether a kustomization may read only files in its own folder, or any of the repository.

        Raises:
            InfraError: `build-refused`, naming file and entry; `build-failed`; `setup-failed`: there is no renderer.
        """
        async with self._running:
            found, files, digest = await to_thread.run_sync(_collect, view, root)
            used = await find_renderer(self._renderer)
            key = root, cluster, restrict, used.path, used.name, digest
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
            # The restriction stays on where nothing needs it off: then nothing outside those folders could be read.
            needed: Restrict = restrict if found.crosses else "root-only"
            mask = partial(self._masked, found, files)
            built = await build(files, root, restrict=needed, links=found.links, renderer=used, mask=mask)
            objects = await to_thread.run_sync(_objects, built, root, cluster)
        made = Rendered(root, objects, built.renderer, found)
        self._keep(key, made, len(built.data))
        return made

    def _keep(self, key: tuple[str, ...], made: Rendered, size: int) -> None:
        self._kept[key] = made, size
        while len(self._kept) > 1 and (
            len(self._kept) > KEPT_BUILDS or sum(size for _, size in self._kept.values()) > KEPT_BYTES
        ):
            self._kept.popitem(last=False)

    def _masked(self, found: Inputs, files: Mapping[str, bytes], text: str) -> str:
        masker = Masker(self._key)
        for secret in _secrets(found, files):
            masker.learn(secret)
        return self._mask(masker.mask(text))


def _collect(view: View, root: str) -> tuple[Inputs, dict[str, bytes], str]:
    """What a build reads, and a digest of it."""
    found = inputs(view.read, view.paths, root, view.links)
    if found.refused:
        more = f" (and {len(found.refused) - _NAMED} more)" if len(found.refused) > _NAMED else ""
        why = "; ".join(found.refused[:_NAMED])
        raise InfraError(
            "build-refused", f"{named(root or '.')} cannot be built from this repository alone: {why}{more}."
        )
    files: dict[str, bytes] = {}
    size = 0
    digest = hashlib.sha256()
    for path in found.files:
        data = view.read(path)
        size += len(data or b"")
        if data is None or size > MAX_BYTES:
            what = f"{named(path)} is too large" if data is None else f"its files have more than {MAX_BYTES} bytes"
            raise InfraError("build-refused", f"{named(root or '.')} cannot be built: {what}.")
        files[path] = data
        digest.update(f"{len(path)} {path} {len(data)} ".encode("utf-8", "surrogateescape") + data)
    for path, target in sorted(found.links.items()):
        digest.update(f"{len(path)} {path} -> {len(target)} {target}".encode("utf-8", "surrogateescape"))
    return found, files, digest.hexdigest()


def _objects(built: Built, root: str, cluster: str) -> tuple[Located, ...]:
    try:
        return tuple(_located(built.data, root, cluster))
    except Unreadable as error:
        what = f"The output of {built.renderer} for {named(root or '.')} cannot be read: {error.why}."
        raise InfraError("build-failed", what) from None


def _located(data: bytes, root: str, cluster: str) -> Iterator[Located]:
    # Text inside an object is indented, so this line only ends a document.
    documents = data.removeprefix(b"---\n").split(b"\n---\n")
    if len(documents) > MAX_OBJECTS:
        raise Unreadable(1, f"it has more than {MAX_OBJECTS} objects")
    for index, document in enumerate(documents):
        for one in _documents.parse(document):
            ref = one.ref.model_copy(update={"cluster": cluster})
            yield replace(one, path=root, index=index, ref=ref)


class _Documents:
    """Parses a document once: most of what is built before and after a change is the same. Used by several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[Located, ...]] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def parse(self, document: bytes) -> tuple[Located, ...]:
        with self._lock:
            if document in self._kept:
                self._kept.move_to_end(document)
                return self._kept[document]
        found = tuple(read(document, whole=True))
        with self._lock:
            if document not in self._kept:
                self._kept[document] = found
                self._size += len(document)
            while self._size > KEPT_BYTES:
                self._size -= len(self._kept.popitem(last=False)[0])
        return found


_documents = _Documents()


def _secrets(found: Inputs, files: Mapping[str, bytes]) -> Iterator[str | bytes]:
    """What a renderer could show in an error: content of secret generators, and of Secrets in the build's files."""
    yield from found.secrets
    for path, data in files.items():
        if path in found.secret_files:
            text = data.decode("utf-8", "replace").replace("\ufffd", "\n")  # a masker finds no value with such in it
            yield text
            yield from (line.partition("=")[2] or line for line in text.splitlines())
        elif b"Secret" in data:
            yield from _of_manifests(data)


def _of_manifests(data: bytes) -> Iterator[str | bytes]:
    try:
        objects = [one.object for one in read(data)]
    except Unreadable:
        return
    for obj in objects:
        for key in ("data", "stringData") if obj["kind"] == "Secret" else ():
            values = obj.get(key)
            for value in values.values() if isinstance(values, dict) else ():
                yield str(value)
                try:
                    yield base64.b64decode(str(value), validate=True)
                except (binascii.Error, ValueError):
                    continue
