"""What the simulated kubelet does with pods, and a provisioner with claims: kwok Stages, ours, from `stages/*.yaml`.

A pod fails in one of the ways a real kubelet lets it fail when it carries the label `infra-mcp.dev/sandbox: MODE`, or
when the tag of one of its images contains `-WORD` (so that a new version alone can be the one that fails). The
statuses, messages and events have the kubelet's form (Kubernetes 1.36, `pkg/kubelet/{images,status,kuberuntime}`);
times are shorter. Nothing is simulated below that: no logs, exec or network.
"""

from __future__ import annotations

import re
from importlib.resources import files

import yaml

LABEL = "infra-mcp.dev/sandbox"

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

_FILES = ("node", "pod", "pull", "crash", "unready", "volume")


def _insert(text: str, fragments: dict[str, str]) -> str:
    """Replace `${name}`: on a line of its own by the fragment's lines at that indentation, else in place."""

    def indented(match: re.Match[str]) -> str:
        return "\n".join(match[1] + line for line in fragments[match[2]].splitlines())

    text = re.sub(r"^( *)\$\{(\w+)\}$", indented, text, flags=re.MULTILINE)
    return re.sub(r"\$\{(\w+)\}", lambda match: fragments[match[1]].strip(), text)


def documents() -> list[dict[str, object]]:
    """The Stages, ready for kwok's configuration file.

    Raises:
        KeyError: a stage names a fragment that is not there.
    """
    folder = files("infra_mcp.sandbox") / "stages"
    fragments = yaml.safe_load((folder / "fragments.yaml").read_text("utf-8"))
    texts = (_insert((folder / f"{name}.yaml").read_text("utf-8"), fragments) for name in _FILES)
    return [stage for text in texts for stage in yaml.safe_load_all(text)]
