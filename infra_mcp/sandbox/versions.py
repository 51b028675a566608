"""The versions of a sandbox's control plane: those in its go.mod, the only place that names them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from infra_mcp.binaries.catalogue import MACHINE, SYSTEM
from infra_mcp.binaries.gomodule import required

# What a sandbox runs, and kubectl, which people and tests run against it.
BINARIES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok", "kwokctl")
MODULE = "sandbox"  # the Go module that builds them

_MODULES = {"kubernetes": "k8s.io/kubernetes", "etcd": "go.etcd.io/etcd/server/v3", "kwok": "sigs.k8s.io/kwok"}


@dataclass(frozen=True)
class Versions:
    """The versions of one set of binaries, without a leading `v`, and the machine they run on, as Go names it."""

    kubernetes: str
    etcd: str
    kwok: str
    system: str
    machine: str

    @property
    def key(self) -> str:
        """The name of the set's folder in the cache."""
        return f"kubernetes-{self.kubernetes}_etcd-{self.etcd}_kwok-{self.kwok}_{self.system}-{self.machine}"


@cache
def pinned() -> Versions:
    """The versions the sandbox is tested with, on this machine."""
    found = {name: required(MODULE, path) for name, path in _MODULES.items()}
    return Versions(**found, system=SYSTEM, machine=MACHINE)
