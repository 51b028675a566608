"""A kubeconfig is whatever kubectl takes: read as it reads it, or refused with the entry named."""

import base64
import json
import os
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path

import anyio
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.clients.kube.credentials import load
from infra_mcp.errors import InfraError
from infra_mcp.masking import Masker
from infra_mcp.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.bad_input("23")]

SERVER = "http://127.0.0.1:9"


def entries(user: object, cluster: object = None, name: str = "it") -> dict:
    """A kubeconfig with one context, and one cluster and user of the same name."""
    return {
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "clusters": [{"name": name, "cluster": {"server": SERVER} if cluster is None else cluster}],
        "users": [{"name": name, "user": user}],
    }


def save(path: Path, config: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(config if isinstance(config, str) else json.dumps(config, default=str), encoding="utf-8")
    return path


def listed(*files: Path | str) -> Path:
    """Several files, as KUBECONFIG names them."""
    return Path(os.pathsep.join(map(str, files)))


async def refused(path: Path, context: str = "it") -> InfraError:
    with pytest.raises(InfraError) as caught:
        await load(path, context)
    assert caught.value.code == "setup-failed"
    return caught.value


# -- tokens
@pytest.mark.fault("f12")
@pytest.mark.parametrize("text", ["abc\n", "abc\r\n", "\n abc \n\n", "abc\t"])
async def test_white_space_around_the_token_of_a_file_does_not_count(tmp_path, text):
    (tmp_path / "token").write_bytes(text.encode())

    assert (await load(save(tmp_path / "config", entries({"tokenFile": "token"})), "it")).authorization == "Bearer abc"


@pytest.mark.fault("f12")
@pytest.mark.parametrize("user", [{"token": "a\nb"}, {"token": "a\0"}, {"tokenFile": "token"}])
async def test_a_token_that_no_header_can_carry_is_refused_by_its_user_and_not_shown(tmp_path, user):
    (tmp_path / "token").write_text("hunter2\nhunter3", encoding="utf-8")

    error = await refused(save(tmp_path / "config", entries(user)))

    assert '"it"' in error.what
    assert "hunter" not in str(error)


@pytest.mark.fault("f15")
async def test_a_token_file_is_preferred_to_a_token(tmp_path):
    path = save(tmp_path / "config", entries({"token": "stale", "tokenFile": "token"}))

    assert (await load(path, "it")).authorization == "Bearer stale"
    (tmp_path / "token").write_text("fresh\n", encoding="utf-8")
    assert (await load(path, "it")).authorization == "Bearer fresh"


@pytest.mark.fault("f15")
@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
async def test_a_token_file_without_a_token_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "token").write_bytes(content)

    error = await refused(save(tmp_path / "config", entries({"tokenFile": "token"})))

    assert '"it"' in error.what
    assert str(tmp_path / "token") in error.what


@pytest.mark.fault("f15")
@pytest.mark.parametrize("status", [0, 400, 401, 403, 404, 409, 422, 429, 500, 503])
@pytest.mark.parametrize("text", ["Unauthorized", "the token has expired"])
def test_the_api_servers_reason_is_not_masked(status, text):
    masker = Masker(b"k" * 32)

    for error in (KubeError(status, "Reason", text).translate(), KubeError(status, text, text).translate("it")):
        assert masker.mask(str(error)) == str(error)
    if status == HTTPStatus.UNAUTHORIZED:
        assert text in KubeError(status, "Unauthorized", text).translate().what


# -- several files
@pytest.mark.fault("f13")
async def test_several_files_are_merged_and_paths_are_relative_to_their_file(tmp_path):
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "token").write_text("second", encoding="utf-8")
    one, two = entries({"token": "x"}, {"server": "http://127.0.0.1:1"}), entries({"tokenFile": "token"}, name="other")
    files = [
        save(tmp_path / "one" / "config", {"clusters": one["clusters"] + two["clusters"]}),
        save(tmp_path / "two" / "config", {"contexts": two["contexts"], "users": two["users"]}),
    ]

    login = await load(listed(*files), "other")

    assert (login.host, login.authorization) == (SERVER, "Bearer second")


@pytest.mark.fault("f13")
async def test_of_two_entries_of_one_name_the_first_files_is_used_completely(tmp_path):
    first = save(tmp_path / "a", entries({"token": "first"}))
    second = save(tmp_path / "b", entries({"token": "second", "username": "u"}, {"server": "http://127.0.0.1:1"}))

    for files, token in (((first, second), "first"), ((second, first), "second")):
        assert (await load(listed(*files), "it")).authorization == f"Bearer {token}"


@pytest.mark.fault("f13")
async def test_missing_and_empty_files_of_a_list_are_skipped(tmp_path):
    there = save(tmp_path / "there", entries({"token": "x"}))
    empty = save(tmp_path / "empty", "")
    files = listed("", tmp_path / "nowhere", empty, there, there, "")

    assert (await load(files, "it")).authorization == "Bearer x"
    assert str(tmp_path / "nowhere") in (await refused(listed(tmp_path / "nowhere", tmp_path / "no"))).what
    broken = save(tmp_path / "broken", "[]")
    assert str(broken) in (await refused(listed(there, broken))).what


@pytest.mark.fault("f13")
def test_the_environments_list_of_files_is_kept_complete(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path / "repo"], check=True)
    for name in ("KUBECONFIG", "INFRA_MCP_KUBECONFIG"):
        monkeypatch.delenv("INFRA_MCP_KUBECONFIG", raising=False)
        monkeypatch.setenv(name, f"/a{os.pathsep}/b")
        assert str(Settings.find(str(tmp_path / "repo")).kubeconfig) == f"/a{os.pathsep}/b"


# -- entries of the wrong form
WRONG = {
    "a user that is a text": entries("token"),
    "a user that is a list": entries(["token"]),
    "a cluster that is a text": entries({}, "http://127.0.0.1:9"),
    "a server that is a number": entries({}, {"server": 6443}),
    "a server that is a list": entries({}, {"server": ["http://127.0.0.1:9"]}),
    "no server": entries({}, {}),
    "a server of another scheme": entries({}, {"server": "ftp://127.0.0.1:9"}),
    "a server that is no address": entries({}, {"server": "http://[::1"}),
    "a server without a host": entries({}, {"server": "https://"}),
    "a port that is none": entries({}, {"server": "http://127.0.0.1:port"}),
    "a token that is a number": entries({"token": 12345}),
    "a token that is a list": entries({"token": ["a"]}),
    "a token file that is a number": entries({"tokenFile": 1}),
    "a certificate that is a number": entries({"client-certificate-data": 1, "client-key-data": 1}),
    "a certificate that is no base64": entries({"client-certificate-data": "é", "client-key-data": "é"}),
    "an authority that is no base64": entries({}, {"server": "https://127.0.0.1:9", "certificate-authority-data": "a"}),
    "a flag that is a text": entries({}, {"server": "https://127.0.0.1:9", "insecure-skip-tls-verify": "true"}),
    "a proxy that is no address": entries({}, {"server": SERVER, "proxy-url": "nowhere"}),
    "a password that is a number": entries({"username": "a", "password": 1}),
    "exec that is a text": entries({"exec": "aws"}),
    "exec without a command": entries({"exec": {"args": []}}),
    "exec whose arguments are a text": entries({"exec": {"command": "env", "args": "-i"}}),
    "exec whose environment is an object": entries({"exec": {"command": "env", "env": {"A": "b"}}}),
    "exec whose environment names nothing": entries({"exec": {"command": "env", "env": [{"value": "b"}]}}),
    "exec whose environment is no list of objects": entries({"exec": {"command": "env", "env": ["A=b"]}}),
    "exec that wants a terminal": entries({"exec": {"command": "env", "interactiveMode": "Always"}}),
    "auth-provider that is a text": entries({"auth-provider": "oidc"}),
    "auth-provider without its keys": entries({"auth-provider": {"name": "oidc"}}),
    "auth-provider with a token that is none": entries(
        {"auth-provider": {"name": "oidc", "config": {"id-token": "a.b.c"}}}
    ),
    "users that are an object": entries({}) | {"users": {"it": {"token": "a"}}},
    "clusters that are a text": entries({}) | {"clusters": "it"},
    "contexts that are a number": entries({}) | {"contexts": 1},
    "a context that is a text": entries({}) | {"contexts": [{"name": "it", "context": "it"}]},
    "a context without a cluster": entries({}) | {"contexts": [{"name": "it", "context": {"user": "it"}}]},
    "a context whose user is a number": entries({}) | {"contexts": [{"name": "it", "context": {"user": 1}}]},
    "a text": "a text",
    "a day that is none": "day: 2026-13-45",
    "a number without end": "number: " + "9" * 10_000,
    "brackets without end": "[" * 100_000,
    "bytes that are no text": "\x00",
}


@pytest.mark.fault("f14")
@pytest.mark.parametrize("what", WRONG)
async def test_a_malformed_entry_is_a_setup_error_that_names_it(tmp_path, what):
    config = WRONG[what]

    error = await refused(save(tmp_path / "config", config))

    assert str(tmp_path / "config") in error.what
    named = '"it"' in error.what or "'it'" in error.what
    assert named or "is not a kubeconfig" in error.what or "a list" in error.what


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("it"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(
    ["server", "token", "tokenFile", "exec", "as", "auth-provider", "username", "password", "proxy-url", "name"]
) | (
    st.sampled_from(["certificate-authority-data", "client-certificate", "client-key-data", "insecure-skip-tls-verify"])
)
ENTRY = JSON | st.dictionaries(KEYS, JSON, max_size=4)


@pytest.mark.fault("f14")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(user=ENTRY, cluster=ENTRY, more=st.dictionaries(st.sampled_from(["users", "clusters", "contexts"]), JSON))
async def test_any_entry_loads_or_is_a_setup_error(tmp_path, user, cluster, more):
    cluster = {"server": SERVER} | cluster if isinstance(cluster, dict) else cluster
    path = save(tmp_path / "config", entries(user, cluster) | more)

    code = "setup-failed"
    try:
        await load(path, "it")
    except InfraError as error:
        code = error.code
    assert code == "setup-failed"


@pytest.mark.fault("f14")
async def test_a_variable_without_a_value_is_empty_as_for_kubectl(tmp_path):
    source = "import json, os; print(json.dumps({'status': {'token': repr(os.environ['PROFILE'])}}))"
    spec = {"command": sys.executable, "args": ["-c", source], "env": [{"name": "PROFILE"}]}

    assert (await load(save(tmp_path / "config", entries({"exec": spec})), "it")).authorization == "Bearer ''"


@pytest.mark.fault("f14")
async def test_a_server_without_a_scheme_uses_http_or_with_certificates_https(tmp_path):
    bare = {"server": "127.0.0.1:9"}

    assert (await load(save(tmp_path / "a", entries({}, bare)), "it")).host == SERVER
    secure = save(tmp_path / "b", entries({}, bare | {"insecure-skip-tls-verify": True}))
    assert (await load(secure, "it")).host == "https://127.0.0.1:9"


@pytest.mark.fault("f15")
@pytest.mark.parametrize("key", ["certificate-authority", "client-certificate", "client-key"])
async def test_a_file_is_used_where_its_data_is_empty(tmp_path, key):
    (tmp_path / "there").write_text("", encoding="utf-8")
    user, cluster = {"client-certificate": "there", "client-key": "there"}, {"server": "https://127.0.0.1:9"}
    for data in ("", None):
        (cluster if key == "certificate-authority" else user).update({key: "nowhere", f"{key}-data": data})
        error = await refused(save(tmp_path / "config", entries(user, cluster)))
        assert str(tmp_path / "nowhere") in error.what, "the file is looked for"


# -- what is not done
@pytest.mark.fault("f16")
@pytest.mark.parametrize(
    "more", [{"as": "somebody"}, {"as-uid": "1"}, {"as-groups": ["admins"]}, {"as-user-extra": {"reason": ["x"]}}]
)
async def test_a_user_that_impersonates_another_is_refused_by_name_and_key(tmp_path, more):
    error = await refused(save(tmp_path / "config", entries({"token": "a"} | more)))

    assert '"it"' in error.what
    assert f"`{next(iter(more))}`" in error.what


@pytest.mark.fault("f16")
@pytest.mark.parametrize("name", ["gcp", "azure", "openstack"])
async def test_a_removed_auth_provider_is_named_with_its_replacement(tmp_path, name):
    config = {"access-token": "a", "expiry": "2100-01-01T00:00:00Z"}

    error = await refused(save(tmp_path / "config", entries({"auth-provider": {"name": name, "config": config}})))

    assert name in error.what
    assert "exec" in error.next_step


@pytest.mark.fault("f16")
@pytest.mark.parametrize("scheme", ["socks5", "socks4", "ftp"])
async def test_a_proxy_that_cannot_be_used_is_named(tmp_path, scheme):
    cluster = {"server": SERVER, "proxy-url": f"{scheme}://127.0.0.1:1"}

    assert scheme in (await refused(save(tmp_path / "config", entries({}, cluster)))).what


# -- beside kubectl itself
def variants(config: dict, folder: Path) -> dict[str, Path]:
    """Forms in which people write the kubeconfig of a real cluster; of each the files, as KUBECONFIG lists them."""
    (token_user,) = config["users"]
    (cluster,) = config["clusters"]
    other = {"name": "other", "user": {"token": "stale"}}
    (folder / "empty").write_text("", encoding="utf-8")
    (folder / "stale").write_text("stale\n", encoding="utf-8")
    token = token_user["user"]["token"]

    def user(**entry) -> dict:
        return config | {"users": [{"name": token_user["name"], "user": entry}, other]}

    (folder / "token").write_text(f"{token}\n", encoding="utf-8")
    ca = {"certificate-authority": str(folder / "ca.crt"), "certificate-authority-data": ""}
    made: dict[str, list] = {
        "as it is": [config],
        "token file": [user(tokenFile="token")],
        "token file beside a stale token": [user(tokenFile=str(folder / "token"), token="stale")],
        "a stale token file beside a good token": [user(tokenFile="stale", token=token)],
        "a missing token file beside a good token": [user(tokenFile="nowhere", token=token)],
        "a stale token": [user(token="stale")],
        "a token that is a number": [user(token=12345)],
        "empty data beside the file": [config | {"clusters": [cluster | {"cluster": cluster["cluster"] | ca}]}],
        "two files": [{"clusters": config["clusters"]}, config | {"clusters": []}],
        "the good user first": [config, user(token="stale")],
        "the stale user first": [{"users": user(token="stale")["users"]}, config],
        "null": [config | {"preferences": None, "extensions": None}, {"users": None}],
        "more than is known": [config | {"more": 1, "users": [token_user | {"more": 1}, other]}],
        "twice in one file": [config | {"users": [token_user, token_user]}],
    }
    found = {}
    for number, (what, files) in enumerate(made.items()):
        paths = [folder / f"{number}-{at}" for at in range(len(files))]
        for path, content in zip(paths, files, strict=True):
            path.write_text(yaml.safe_dump(content), encoding="utf-8")
        found[what] = listed(folder / "nowhere", folder / "empty", *paths)
    return found


async def kubectl(plane, *arguments: object, env=None):
    return await anyio.run_process([plane.kubectl, *arguments], check=False, env=env)


@pytest.mark.cluster
@pytest.mark.fault("f13")
async def test_logins_work_exactly_where_kubectls_do(control_plane, tmp_path):
    admin = ["--kubeconfig", control_plane.kubeconfig, "--context", control_plane.context]
    view = await kubectl(control_plane, *admin, "config", "view", "--minify", "--flatten", "-o", "json")
    cluster = json.loads(view.stdout)["clusters"][0]["cluster"]
    (tmp_path / "ca.crt").write_bytes(base64.b64decode(cluster.pop("certificate-authority-data")))
    token = (await kubectl(control_plane, *admin, "create", "token", "default")).stdout.decode().strip()
    real = entries({"token": token}, cluster | {"certificate-authority": str(tmp_path / "ca.crt")})

    ours, theirs = {}, {}
    for what, files in variants(real, tmp_path).items():
        try:
            async with Cluster.connect("test", files, "it") as connected:
                ours[what] = (await connected._discovery.find("v1", "Pod")).namespaced
        except (InfraError, KubeError):
            ours[what] = False
        environment = os.environ | {"KUBECONFIG": str(files), "HOME": str(tmp_path)}
        done = await kubectl(control_plane, "--context", "it", "get", "--raw", "/api/v1", env=environment)
        theirs[what] = done.returncode == 0

    assert ours == theirs
    assert set(theirs.values()) == {True, False}
