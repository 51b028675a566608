import base64
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.clients.kube.credentials import load
from infra_mcp.errors import InfraError

pytestmark = pytest.mark.anyio

PLUGIN = """
import json, os, sys
null = os.stat(os.devnull).st_rdev
facts = {
    "stdin": os.fstat(0).st_rdev == null and sys.stdin.read() == "",
    "own_session": os.getsid(0) == os.getpid(),
    "interactive": json.loads(os.environ["KUBERNETES_EXEC_INFO"])["spec"]["interactive"],
    "env": os.environ["EXTRA"],
    "arg": sys.argv[1],
}
print("secret-on-stderr", file=sys.stderr)
status = {"token": json.dumps(facts), "expirationTimestamp": "2100-01-01T00:00:00Z"}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
"""


def write(path: Path, server: str = "http://127.0.0.1:9", **user: object) -> Path:
    config = {
        "current-context": "wrong",
        "contexts": [
            {"name": "wrong", "context": {"cluster": "wrong", "user": "wrong"}},
            {"name": "right", "context": {"cluster": "right", "user": "right"}},
        ],
        "clusters": [
            {"name": "wrong", "cluster": {"server": "http://127.0.0.1:1"}},
            {"name": "right", "cluster": {"server": server}},
        ],
        "users": [{"name": "wrong", "user": {"token": "wrong"}}, {"name": "right", "user": user or {"token": "right"}}],
    }
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def files_in(config: dict) -> list[tuple[dict, str]]:
    """Where a kubeconfig names files."""
    keys = {"certificate-authority", "client-certificate", "client-key"}
    places = [entry[what] for what in ("cluster", "user") for entry in config[f"{what}s"]]
    return [(at, key) for at in places for key in keys & set(at)]


def make_relative(config: dict, folder: Path) -> None:
    """Paths as people write them: relative to the kubeconfig."""
    for at, key in files_in(config):
        at[key] = os.path.relpath(at[key], folder)


def make_inline(config: dict) -> None:
    """Certificates and keys inside the kubeconfig."""
    for at, key in files_in(config):
        at[f"{key}-data"] = base64.b64encode(Path(at.pop(key)).read_bytes()).decode()


@pytest.mark.promise("cluster.named")
async def test_the_named_context_is_used_and_not_the_current_one(tmp_path):
    login = await load(write(tmp_path / "config"), "right")

    assert (login.host, login.authorization) == ("http://127.0.0.1:9", "Bearer right")


@pytest.mark.promise("cluster.named")
@pytest.mark.cluster
async def test_another_current_context_does_not_change_the_cluster(control_plane, tmp_path, ref):
    config = yaml.safe_load(control_plane.kubeconfig.read_text(encoding="utf-8"))
    config["contexts"].append({"name": "elsewhere", "context": {"cluster": "elsewhere", "user": "elsewhere"}})
    config["clusters"].append({"name": "elsewhere", "cluster": {"server": "http://127.0.0.1:1"}})
    config["users"].append({"name": "elsewhere", "user": {}})
    config["current-context"] = "elsewhere"
    make_relative(config, tmp_path)
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    async with Cluster.connect("test", path, control_plane.context) as cluster:
        assert await cluster.get(ref("Namespace", "default"), as_user=None) is not None


@pytest.mark.promise("cluster.named")
@pytest.mark.parametrize("name", ["gone", "", "right\n"])
async def test_a_missing_context_is_refused(tmp_path, name):
    with pytest.raises(InfraError, match="no context named") as refused:
        await load(write(tmp_path / "config"), name)

    assert refused.value.code == "setup-failed"


@pytest.mark.promise("cluster.named")
async def test_two_contexts_of_one_name_are_refused(tmp_path):
    path = write(tmp_path / "config")
    config = json.loads(path.read_text(encoding="utf-8"))
    config["contexts"].append({"name": "right", "context": {"cluster": "wrong", "user": "wrong"}})
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InfraError, match="more than one context named"):
        await load(path, "right")


@pytest.mark.parametrize("text", ["token: [hunter2", "just words: hunter2: and", "hunter2", "[hunter2]"])
async def test_a_file_that_is_not_a_kubeconfig_is_refused_without_quoting_it(tmp_path, text):
    path = tmp_path / "config"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InfraError, match="is not a kubeconfig") as refused:
        await load(path, "right")

    assert "hunter2" not in str(refused.value)
    with pytest.raises(InfraError, match="cannot be read"):
        await load(tmp_path / "nowhere", "right")


async def test_a_context_without_its_user_is_refused_and_not_anonymous(tmp_path):
    path = write(tmp_path / "config")
    config = json.loads(path.read_text(encoding="utf-8"))
    config["users"] = []
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InfraError, match='no user named "right"'):
        await load(path, "right")


async def test_a_credential_that_does_not_load_is_reported_without_its_content(tmp_path):
    broken = {"client-certificate-data": "aHVudGVyMg==", "client-key-data": "aHVudGVyMg=="}
    path = write(tmp_path / "config", "https://127.0.0.1:9", **broken)
    with pytest.raises(InfraError, match="does not load") as refused:
        await load(path, "right")

    assert "hunter2" not in str(refused.value)
    assert "aHVudGVyMg" not in str(refused.value)


@pytest.mark.cluster
async def test_inline_keys_are_on_no_disk_once_they_are_loaded(control_plane, tmp_path, monkeypatch):
    config = yaml.safe_load(control_plane.kubeconfig.read_text(encoding="utf-8"))
    make_inline(config)
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    for _ in range(2):  # the library remembers file names; the second time they must not be used
        async with Cluster.connect("test", path, control_plane.context) as cluster:
            assert list(scratch.iterdir()) == []
            assert (await cluster._discovery.find("v1", "Pod")).namespaced


@pytest.fixture
def piped_stdin():
    """Descriptor 0 is a pipe with bytes in it, as it is in a server that speaks JSON-RPC on it."""
    saved = os.dup(0)
    reader, writer = os.pipe()
    os.write(writer, b'{"jsonrpc": "2.0"}\n')
    os.dup2(reader, 0)
    yield reader
    os.dup2(saved, 0)
    for descriptor in (saved, reader, writer):
        os.close(descriptor)


def plugin(path: Path, source: str) -> dict:
    path.write_text(source, encoding="utf-8")
    return {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": [str(path), "an argument; $(id)"],
        "env": [{"name": "EXTRA", "value": "given"}],
        "interactiveMode": "IfAvailable",
    }


@pytest.mark.promise("auth.refresh")
async def test_a_credential_plugin_gets_no_stdin_and_a_session_of_its_own(tmp_path, piped_stdin, capfd):
    login = await load(write(tmp_path / "config", exec=plugin(tmp_path / "plugin.py", PLUGIN)), "right")
    facts = json.loads(login.authorization.removeprefix("Bearer "))

    assert facts == {
        "stdin": True,
        "own_session": True,
        "interactive": False,
        "env": "given",
        "arg": "an argument; $(id)",
    }
    assert login.expires > time.time()
    assert os.read(piped_stdin, 100) == b'{"jsonrpc": "2.0"}\n'
    assert "secret-on-stderr" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "source",
    ["import sys; print('hunter2'); sys.exit(1)", "print('hunter2')", "print('{\"status\": {}}')", "print('[]')"],
)
async def test_a_plugin_without_a_credential_is_refused_without_its_output(tmp_path, source):
    path = write(tmp_path / "config", exec=plugin(tmp_path / "plugin.py", source))
    with pytest.raises(InfraError, match="gave no credential") as refused:
        await load(path, "right")

    assert "hunter2" not in str(refused.value)


async def test_a_missing_plugin_is_refused(tmp_path):
    path = write(
        tmp_path / "config", exec={"command": "./no-such-plugin", "apiVersion": "client.authentication.k8s.io/v1"}
    )
    with pytest.raises(InfraError, match="gave no credential"):
        await load(path, "right")


@pytest.mark.cluster
@pytest.mark.promise("auth.refresh")
async def test_a_credential_near_its_end_is_renewed_before_it_is_refused(broken, proxy, token_file, monkeypatch):
    transport = broken._transport
    monkeypatch.setattr(transport, "_login", replace(transport._login, expires=time.time() + 10))
    monkeypatch.setattr(transport, "_renewed", time.monotonic() - 3600)
    token_file.write_text("second", encoding="utf-8")
    await broken.list("v1", "Namespace", None, as_user=None)

    assert [headers["authorization"] for _, headers in proxy.seen] == ["Bearer second"]


def signed(ends: float) -> str:
    """A token that says when it ends, as those of service accounts do (RFC 7519); its signature is not checked here."""
    payload = base64.urlsafe_b64encode(json.dumps({"exp": int(ends)}).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


@pytest.mark.cluster
@pytest.mark.promise("auth.refresh")
@pytest.mark.usefixtures("broken")
async def test_a_service_accounts_token_is_read_again_before_its_end(proxy, token_file, tmp_path, monkeypatch):
    token_file.write_text(signed(time.time() + 10), encoding="utf-8")  # as a pod's file, which the kubelet replaces
    async with Cluster.connect("test", tmp_path / "kubeconfig", "proxied") as cluster:
        monkeypatch.setattr(cluster._transport, "_renewed", time.monotonic() - 3600)
        later = signed(time.time() + 3600)
        token_file.write_text(later, encoding="utf-8")
        for _ in range(2):
            await cluster.list("v1", "Namespace", None, as_user=None)
        assert cluster.expires > time.time() + 3000

    sent = [headers["authorization"] for path, headers in proxy.seen if "namespaces" in path]
    assert sent == [f"Bearer {later}"] * 2


@pytest.mark.cluster
async def test_a_proxy_of_the_environment_is_not_used_for_a_server_on_this_machine(control_plane, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with Cluster.connect("test", control_plane.kubeconfig, control_plane.context) as cluster:
        assert (await cluster._discovery.find("v1", "Pod")).namespaced


async def test_a_proxy_of_the_environment_is_used_for_a_server_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr("infra_mcp.clients.kube.transport.PAUSES", ())
    async with Cluster.connect("test", write(tmp_path / "config", "http://192.0.2.1"), "right") as cluster:
        with pytest.raises(KubeError, match="Connection refused"):
            await cluster._discovery.find("v1", "Pod")
