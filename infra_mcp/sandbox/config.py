"""kwokctl's configuration for one sandbox: loopback only, free ports, our stages, no leases to wait for.

The stages (`stages/*.yaml`, kwok's Stages) simulate what the kubelet does with pods, and a provisioner with claims. A
pod fails in one of the ways of a real kubelet when it carries the label `infra-mcp.dev/sandbox: MODE`, or when the tag
of one of its images contains `-WORD` (so that a new version alone can be the one that fails). Statuses, messages and
events have the kubelet's form (Kubernetes 1.36, `pkg/kubelet/{images,status,kuberuntime}`); times are shorter. Logs,
exec and network are not simulated.
"""

from __future__ import annotations

import random
import re
import socket
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from infra_mcp.sandbox.places import Place

# mode (the label's value) -> the word that selects it in an image's tag
MODES = {
    "image-never-pulls": "unpullable",  # ErrImagePull, then ImagePullBackOff, for ever
    "image-pulls-late": "latepull",  # ErrImagePull because the registry timed out; Ready after two seconds
    "image-invalid": "invalid",  # InvalidImageName, for ever
    "crash-loop": "crash",  # terminated and CrashLoopBackOff in turn, with a growing restartCount
    "crash-unnamed": "exits",  # the same, but never `waiting: CrashLoopBackOff`, as kubelets often show it
    "crash-later": "latecrash",  # Ready for two seconds, then as crash-loop
    "never-ready": "notready",  # runs, and its readiness probe fails for ever
    "slow": "slow",  # runs, and is Ready after two seconds
}
_STAGES = ("node", "pod", "pull", "crash", "unready", "volume")

_PORTS = ("kubeApiserver", "etcd", "etcdPeer", "kubeControllerManager", "kubeScheduler", "kwokController")
_BINARIES = {
    "etcd": "etcd",
    "kubeApiserver": "kube-apiserver",
    "kubeControllerManager": "kube-controller-manager",
    "kubeScheduler": "kube-scheduler",
    "kwokController": "kwok",
    "kubectl": "kubectl",
}
_BELOW_EPHEMERAL = range(15000, 31000)  # an outgoing connection takes none of these meanwhile

# Arguments kwokctl has no option for. A leader's or a node's lease would have to run out before a sandbox that was
# killed can be started again; a laptop's disk need not be waited for.
_ARGUMENTS = {
    "etcd": {"unsafe-no-fsync": "true"},
    "kube-controller-manager": {"leader-elect": "false"},
    "kube-scheduler": {"leader-elect": "false"},
    "kwok-controller": {"node-lease-duration-seconds": "0"},
}

_ROOM = {"cpu": "32", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "500"}

NODE_NAME = "node-1"
NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": NODE_NAME,
        "labels": {"kubernetes.io/hostname": NODE_NAME, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
        "annotations": {"kwok.x-k8s.io/node": "fake"},
    },
    "status": {"capacity": _ROOM, "allocatable": _ROOM},
}

# Created and deleted at a start, to see the scheduler work.
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "sandbox-start"},
    "spec": {"containers": [{"name": "start", "image": "none"}]},
}


def free_ports() -> dict[str, int]:
    """A port of the loopback address for each listener, free now; random, so that two starts do not collide."""
    candidates = random.sample(_BELOW_EPHEMERAL, 500)  # a choice, not a secret
    return dict(zip(_PORTS, filter(_is_free, candidates), strict=False))


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def write(place: Place, bin_dir: Path, ports: dict[str, int]) -> None:
    """Write the configuration file of `place`."""
    configuration: dict[str, object] = {
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokctlConfiguration",
        "options": {
            "runtime": "binary",
            "bindAddress": "127.0.0.1",  # the default would show etcd, which asks for no password, to the network
            "disableQPSLimits": True,
            **{f"{name}Port": port for name, port in ports.items()},
            **{f"{name}Binary": str(bin_dir / file) for name, file in _BINARIES.items()},
        },
        "componentsPatches": [
            {"name": name, "extraArgs": [{"key": key, "value": value} for key, value in arguments.items()]}
            for name, arguments in _ARGUMENTS.items()
        ],
    }
    text = yaml.safe_dump_all([configuration, *stages()], sort_keys=False)
    place.config.write_text(text, "utf-8")


def stages() -> list[dict[str, object]]:
    """The Stages for kwok's configuration file."""
    folder = files("infra_mcp.sandbox") / "stages"
    fragments = yaml.safe_load((folder / "fragments.yaml").read_text("utf-8"))
    texts = (_insert((folder / f"{name}.yaml").read_text("utf-8"), fragments) for name in _STAGES)
    return [stage for text in texts for stage in yaml.safe_load_all(text)]


def _insert(text: str, fragments: dict[str, str]) -> str:
    """Replace `${name}`: on a line of its own by the fragment's lines at that indentation, else in place."""

    def indented(match: re.Match[str]) -> str:
        return "\n".join(match[1] + line for line in fragments[match[2]].splitlines())

    text = re.sub(r"^( *)\$\{(\w+)\}$", indented, text, flags=re.MULTILINE)
    return re.sub(r"\$\{(\w+)\}", lambda match: fragments[match[1]].strip(), text)
