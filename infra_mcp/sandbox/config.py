"""kwokctl's configuration for one sandbox: loopback only, free ports, our stages, no leases to wait for."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Any

import yaml

from infra_mcp.sandbox import stages
from infra_mcp.sandbox.places import Place

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

# Made and deleted at a start, to see the scheduler at work.
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "sandbox-start"},
    "spec": {"containers": [{"name": "start", "image": "none"}]},
}


def free_ports() -> dict[str, int]:
    """A port of the loopback address for each listener, free just now; chosen at random, so two starts do not meet."""
    ports: dict[str, int] = {}
    for port in random.sample(_BELOW_EPHEMERAL, 500):  # a choice, not a secret
        if len(ports) == len(_PORTS):
            break
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports[_PORTS[len(ports)]] = port
    return ports


def write(place: Place, bin_dir: Path, ports: dict[str, int]) -> None:
    """Write the configuration file of `place`."""
    options: dict[str, object] = {
        "runtime": "binary",
        "bindAddress": "127.0.0.1",  # the default would show etcd, which asks for no password, to the network
        "disableQPSLimits": True,
        **{f"{name}Port": port for name, port in ports.items()},
        **{f"{name}Binary": str(bin_dir / file) for name, file in _BINARIES.items()},
    }
    patches = [
        {"name": name, "extraArgs": [{"key": key, "value": value} for key, value in arguments.items()]}
        for name, arguments in _ARGUMENTS.items()
    ]
    configuration = {
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokctlConfiguration",
        "options": options,
        "componentsPatches": patches,
    }
    text = yaml.safe_dump_all([configuration, *stages.documents()], sort_keys=False)
    place.config.write_text(text, "utf-8")
