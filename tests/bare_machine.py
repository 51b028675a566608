"""A machine with nothing on it, and a Go that builds nothing real: fixtures for what gets programs."""

import shutil

import pytest
from sandbox_scripts import script

__all__ = ["bare", "fake_go"]


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine with a cache of its own, no binaries, no Go and no internet; returns the folder that is its PATH."""
    path = tmp_path / "path"
    path.mkdir()
    for name in ("sh", "cat", "mkdir", "sleep", "touch", "chmod", "env"):
        (path / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("INFRA_MCP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("infra_mcp.binaries.gomodule._GO_PLACES", ())
    monkeypatch.setattr("urllib.request.urlopen", _no_internet)
    return path


def _no_internet(*_, **__):
    message = "Name or service not known"
    raise OSError(message)


GO = r"""
case "$1" in
  list)
    if [ "$2" = "-m" ]; then echo infra-mcp.dev/any; exit 0; fi
    echo "go: downloading k8s.io/api v0.36.3" >&2
    echo "build ID mismatch"; echo "-"; echo "stale dependency"; echo "not installed but available in build cache" ;;
  install)
    echo run >> "$GO_RUNS"
    echo k8s.io/api/core/v1 >&2; echo k8s.io/kubernetes/cmd/kubectl >&2
    [ -n "$GO_FAILS" ] && { echo "no required module provides package" >&2; exit 1; }
    [ -n "$GO_SLEEPS" ] && { touch "$GO_SLEEPS"; sleep 600; }
    for name in ${GO_MAKES:-server kube-apiserver kube-controller-manager kube-scheduler kubectl kwok kwokctl}; do
      printf '#!/bin/sh\necho "%s"\n' "$*" > "$GOBIN/$name"; chmod 755 "$GOBIN/$name"
    done ;;
esac
"""


@pytest.fixture
def fake_go(bare, tmp_path, monkeypatch):
    """A `go` on PATH that builds nothing real; returns the file with a line for each build it was asked for."""
    script(bare / "go", GO)
    runs = tmp_path / "runs"
    runs.touch()
    monkeypatch.setenv("GO_RUNS", str(runs))
    return runs
