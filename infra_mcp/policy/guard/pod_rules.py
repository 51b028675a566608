"""The guardrails of pods: the Pod Security Standards, and what policy can require beside them."""

from __future__ import annotations

from typing import Final

from infra_mcp.policy.guard.guardrail import Guardrail

# https://kubernetes.io/docs/concepts/security/pod-security-standards/
_PODS: Final = "Pod Security Standards, baseline"
_RESTRICTED: Final = "Pod Security Standards, restricted"
_RESOURCES: Final = "NSA/CISA guide, resource policies; Polaris, kube-score, kube-linter"
_PROBES: Final = "Kubernetes, liveness, readiness and startup probes; Polaris, kube-score, kube-linter"
_LABELS: Final = "kube-linter, required labels and annotations"
REQUESTS: Final = "pods.requests"
CPU_LIMIT: Final = "pods.cpu-limit"
MEMORY_LIMIT: Final = "pods.memory-limit"
RATIO: Final = "pods.ratio"
AMOUNTS: Final = "pods.amounts"
LIVENESS: Final = "pods.liveness"
READINESS: Final = "pods.readiness"
TERMINAL: Final = "pods.terminal"
MOUNT: Final = "pods.token-mount"
LABELS: Final = "pods.labels"
ANNOTATIONS: Final = "pods.annotations"


def _baseline(name: str, refuses: str, why: str) -> Guardrail:
    return Guardrail(name, "baseline", refuses, why, _PODS)


def _restricted(name: str, refuses: str, why: str) -> Guardrail:
    return Guardrail(name, "restricted", refuses, why, _RESTRICTED)


def _required(name: str, refuses: str, why: str, source: str, key: str = "") -> Guardrail:
    return Guardrail(name, "required", refuses, why, source, key=key)


POD_RULES: Final = (
    _baseline("pods.privileged", "a privileged container", "It is root on the node."),
    _baseline("pods.host-process", "a Windows HostProcess container", "It runs as a process of the node."),
    _baseline("pods.host-network", "the node's network (`hostNetwork`)", "It sees and sends the node's traffic."),
    _baseline("pods.host-pid", "the node's processes (`hostPID`)", "It can read and signal every process of the node."),
    _baseline("pods.host-ipc", "the node's IPC (`hostIPC`)", "It shares memory with processes of the node."),
    _baseline("pods.host-path", "a `hostPath` volume", "It reads or writes the node's files, tokens among them."),
    _baseline("pods.host-ports", "a `hostPort` other than 0", "It listens at the node's address, past every policy."),
    _baseline(
        "pods.probe-hosts",
        "a `host` in a probe or lifecycle hook",
        "The kubelet would send requests to any address that the manifest names.",
    ),
    _baseline(
        "pods.capabilities",
        "an added capability that a container does not have by default",
        "Capabilities such as SYS_ADMIN or NET_ADMIN are ways to the node.",
    ),
    _baseline("pods.proc-mount", "a `procMount` other than Default", "It uncovers the masked parts of /proc."),
    _baseline(
        "pods.seccomp", "a seccomp profile other than RuntimeDefault or Localhost", "Every system call would be open."
    ),
    _baseline(
        "pods.apparmor",
        "an AppArmor profile other than RuntimeDefault or Localhost, as a field or an annotation",
        "The node's default confinement would be off.",
    ),
    _baseline(
        "pods.selinux",
        "an SELinux user or role, or a type other than those of containers",
        "The node's confinement would be another.",
    ),
    _baseline("pods.sysctls", "a sysctl that is not safe", "It changes the kernel for every pod of the node."),
    _restricted(
        "pods.volume-types",
        "a volume other than configMap, csi, downwardAPI, emptyDir, ephemeral, projected, secret, or a claim",
        "Other volumes reach storage that the namespace was not given.",
    ),
    _restricted(
        "pods.privilege-escalation",
        "a container without `allowPrivilegeEscalation: false`",
        "A setuid program could gain rights.",
    ),
    _restricted(
        "pods.run-as-non-root",
        "a container without `runAsNonRoot: true`, its own or the pod's",
        "Root in a container is the first step out of it.",
    ),
    _restricted("pods.run-as-user", "`runAsUser: 0`", "Root in a container is the first step out of it."),
    _restricted(
        "pods.seccomp-unset",
        "a container without a seccomp profile, its own or the pod's",
        "Without one many clusters filter no system call.",
    ),
    _restricted(
        "pods.drop-capabilities",
        "a container that does not drop ALL capabilities, or adds one other than NET_BIND_SERVICE",
        "What a program does not need it should not have.",
    ),
    # Most charts leave these to values, so that they are required only where policy says so.
    _required(
        REQUESTS,
        "a container without requests of cpu and memory",
        "The scheduler cannot tell where it fits, and it is evicted first.",
        _RESOURCES,
    ),
    _required(
        CPU_LIMIT, "a container without a limit of cpu", "It can take what other pods of the node need.", _RESOURCES
    ),
    _required(
        MEMORY_LIMIT,
        "a container without a limit of memory",
        "It can take the node's memory, and others are killed for it.",
        _RESOURCES,
    ),
    _required(
        RATIO,
        "a container whose limit is more than `max_ratio` times its request",
        "The node promises more than it has, and fails when it is asked for.",
        "Kubernetes, LimitRange (maxLimitRequestRatio)",
        "max_ratio",
    ),
    _required(
        AMOUNTS,
        "a container that asks for more cpu or memory than `limits` of the circle, or for any where they name none",
        "A quota of the namespace would refuse its pods only later.",
        _RESOURCES,
    ),
    _required(
        LIVENESS,
        "a container that runs on without a liveness probe",
        "A program that hangs is not started again.",
        _PROBES,
    ),
    _required(
        READINESS,
        "a container that runs on without a readiness probe",
        "It gets traffic before it can answer, and a roll-out counts as landed too early.",
        _PROBES,
    ),
    _required(
        TERMINAL,
        "a container with `stdin` or `tty`",
        "Who may attach to it types into its process, past git.",
        "Kubernetes, RBAC good practices (pods/attach)",
    ),
    _required(
        MOUNT,
        "a pod without `automountServiceAccountToken: false`",
        "A program that does not talk to the API needs no token for it.",
        "NSA/CISA guide, service account tokens; Polaris, kube-linter",
    ),
    _required(
        LABELS,
        "a workload without a label of `labels`",
        "Nothing says whose it is, or what it is for.",
        _LABELS,
        "labels",
    ),
    _required(
        ANNOTATIONS,
        "a workload without an annotation of `annotations`",
        "Nothing says whose it is, or what it is for.",
        _LABELS,
        "annotations",
    ),
    _required(
        "images.digest",
        "an image without a digest, of a pattern of `digest`",
        "A tag can be pushed again: what was approved would not be what runs.",
        "Kubernetes, images; SLSA; NIST SP 800-190",
        "digest",
    ),
)
