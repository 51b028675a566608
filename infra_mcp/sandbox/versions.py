"""The versions of a sandbox's control plane: those in `gomod/go.mod`, the only place that names them."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

# What a sandbox runs, and kubectl, which people and tests run against it.
BINARIES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok", "kwokctl")

_MODULES = {"kubernetes": "k8s.io/kubernetes", "etcd": "go.etcd.io/etcd/server/v3", "kwok": "sigs.k8s.io/kwok"}
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


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
    text = (files("infra_mcp.sandbox") / "gomod" / "go.mod").read_text("utf-8")
    found = {}
    for name, module in _MODULES.items():
        match = re.search(rf"^\s{re.escape(module)} v(\S+)", text, re.MULTILINE)
        if match is None:
            msg = f"go.mod does not require {module}"
            raise ValueError(msg)
        found[name] = match[1]
    machine = platform.machine().lower()
    return Versions(**found, system=sys.platform, machine=_MACHINES.get(machine, machine))
