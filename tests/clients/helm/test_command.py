"""Helm is started with an argument list of ours, an environment of ours, and nothing that a user set up."""

import json
import shutil
import stat
import sys

import anyio
import pytest
import semver

from infra_mcp.clients.helm.command import Command
from infra_mcp.clients.helm.failure import HelmError
from infra_mcp.clients.helm.folder import private_folder
from infra_mcp.errors import InfraError

pytestmark = [pytest.mark.anyio, pytest.mark.promise("helm.safe-args")]

# A program that says how it was started, where INFRA_SAYS would be its answer.
SAYS = """#!/bin/sh
exec {python} - "$@" <<'PY'
import json, os, sys
print(json.dumps({{"argv": sys.argv[1:], "environment": dict(os.environ), "info": {{}}}}))
print("level=INFO msg=progress", file=sys.stderr)
PY
"""


@pytest.fixture
def program(tmp_path):
    made = tmp_path / "a-helm"
    made.write_text(SAYS.format(python=sys.executable))
    made.chmod(0o755)
    return made


async def _started(program, monkeypatch, call, **folder):
    for name in ("HELM_PLUGINS", "HELM_NAMESPACE", "HELM_KUBETOKEN", "KUBECONFIG", "HTTPS_PROXY", "SECRET_OF_USER"):
        monkeypatch.setenv(name, "http://user-set")
    lines = []
    async with private_folder(program, **folder) as at:
        command = Command(at, semver.VersionInfo(4, 3, 1), say=lines.append)
        out = await call(command, at)
        assert lines == ["level=INFO msg=progress"]
        return json.loads(out) if isinstance(out, bytes) else out, at


async def test_nothing_of_the_users_environment_reaches_helm_but_proxies_and_certificates(program, monkeypatch):
    said, at = await _started(program, monkeypatch, lambda one, _: one.run(["version"]))
    environment = said["environment"]
    assert environment.pop("HTTPS_PROXY") == "http://user-set"
    assert "http://user-set" not in environment.values()
    assert environment["HELM_NO_PLUGINS"] == "1"
    assert environment["HELM_DRIVER"] == "secret"
    homes = {"HOME", "KUBECONFIG", "HELM_PLUGINS", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "TMPDIR"}
    assert all(environment[name].startswith(str(at.path)) for name in homes)


async def test_without_a_network_no_proxy_of_the_user_is_passed_on(program, monkeypatch):
    said, _ = await _started(program, monkeypatch, lambda one, _: one.run(["version"]), network=False)
    assert said["environment"]["HTTPS_PROXY"].startswith("http://127.0.0.1")


async def test_a_login_stands_in_a_file_for_its_owner_only_and_the_folder_is_removed(program, monkeypatch):
    login = {"users": [{"name": "a", "user": {"token": "canary-token"}}]}
    seen = {}

    async def look(command, at):
        file = at.path / "kubeconfig"
        seen["modes"] = stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(at.path.stat().st_mode)
        assert "canary-token" in file.read_text()
        return await command.run(["version"])

    said, at = await _started(program, monkeypatch, look, kubeconfig=login)
    assert seen["modes"] == (0o600, 0o700)
    assert "canary-token" not in json.dumps(said)
    assert not at.path.exists()


async def test_the_folder_is_removed_also_where_the_work_in_it_fails_or_is_cancelled(program):
    with pytest.raises(RuntimeError):
        async with private_folder(program) as at:
            raise RuntimeError
    with anyio.CancelScope() as scope:
        async with private_folder(program) as other:
            scope.cancel()
            await anyio.sleep(10)
    assert not at.path.exists()
    assert not other.path.exists()


@pytest.mark.parametrize("name", ["-x", "--post-renderer=evil", "a b", "a;b", "../a", "", "A", "a" * 64, "a\nb", "a\0"])
async def test_a_name_that_is_no_name_never_becomes_an_argument(program, name):
    async with private_folder(program) as at:
        command = Command(at, semver.VersionInfo(4, 3, 1))
        for call in (
            lambda: command.upgrade(name, at.chart, namespace="b"),
            lambda: command.upgrade("a", at.chart, namespace=name),
            lambda: command.preview(name, at.chart, namespace="b"),
            lambda: command.roll_back(name, 3, namespace="b"),
            lambda: command.render("a", at.chart, namespace=name),
        ):
            with pytest.raises(InfraError) as caught:
                await call()
            assert caught.value.code == "invalid-argument"


@pytest.mark.trap("H3")
@pytest.mark.parametrize(("version", "force"), [((4, 3, 1), True), ((4, 3, 1), False), ((3, 22, 0), True)])
async def test_conflicts_are_forced_only_where_they_were_judged_and_never_with_replacing_force(program, version, force):
    async with private_folder(program) as at:
        command = Command(at, semver.VersionInfo(*version))
        argv = (await command.upgrade("a", at.chart, namespace="b", force=force))["argv"]
    assert ("--force-conflicts" in argv) == (force and version[0] == 4)
    assert not {"--force", "--force-replace"} & set(argv)
    assert ("--server-side=true" in argv or "--server-side" in argv) == (version[0] == 4)


async def test_an_upgrade_installs_no_definitions_runs_no_renderer_and_changes_no_namespace(program):
    async with private_folder(program) as at:
        command = Command(at, semver.VersionInfo(4, 3, 1)).also("--values=/v.yaml")
        argv = (await command.upgrade("a", at.chart, namespace="b"))["argv"]
    assert argv[:2] == ["upgrade", "--values=/v.yaml"]
    assert "--skip-crds" in argv
    assert not [one for one in argv if one.startswith(("--post-renderer", "--create-namespace", "--set", "--atomic"))]


async def test_an_install_over_a_failed_one_keeps_what_is_there(program):
    async with private_folder(program) as at:
        command = Command(at, semver.VersionInfo(4, 3, 1))
        argv = (await command.upgrade("a", at.chart, namespace="b", replace=True))["argv"]
    assert argv[0] == "install"
    assert "--replace" in argv
    assert "uninstall" not in argv


async def test_a_command_that_cannot_be_started_fails_or_runs_too_long_is_told_as_what_it_is(tmp_path):
    async with private_folder(tmp_path / "missing") as at:
        with pytest.raises(InfraError, match="cannot be started"):
            await Command(at, semver.VersionInfo(4, 3, 1)).run(["version"])
    slow = tmp_path / "slow"
    slow.write_text(f'#!/bin/sh\n[ "$1" = fail ] && exit 3\nexec {shutil.which("sleep")} 60\n')  # it gets no PATH
    slow.chmod(0o755)
    async with private_folder(slow) as at:
        command = Command(at, semver.VersionInfo(4, 3, 1))
        with pytest.raises(HelmError) as failed:
            await command.run(["fail"])
        assert failed.value.code == 3
        with pytest.raises(HelmError, match="ended with") as stopped:
            await command.also(seconds=0.2).run(["upgrade"])
        assert "did not end within 0.2 s" in stopped.value.why


async def test_a_command_with_more_flags_keeps_its_time_and_the_descriptors_that_hold_its_locks(program):
    async with private_folder(program) as at:
        held = Command(at, semver.VersionInfo(4, 3, 1)).also(seconds=5, keep_open=[7])
        assert (held.also("--values=a").keep_open, held.also("--values=a").seconds) == ((7,), 5)


async def _is_free(folder):
    return (await anyio.run_process(["flock", "-n", folder, "true"], check=False)).returncode == 0


async def test_a_folder_that_a_killed_server_left_is_removed_by_the_next_one_but_not_while_its_helm_runs(
    program, tmp_path
):
    within = tmp_path / "runs"
    async with private_folder(program, within=within, kubeconfig={"users": []}) as at:
        left = within / "infra-mcp-helm-left"
        left.mkdir()
        (left / "kubeconfig").write_text("token")
        used = within / "infra-mcp-helm-used"
        used.mkdir()
        async with await anyio.open_process(["flock", "-E", "9", used, "sleep", "60"]) as helm:
            with anyio.fail_after(30):
                while await _is_free(used):  # noqa: ASYNC110 - another process's lock
                    await anyio.sleep(0.02)
            async with private_folder(program, within=within) as other:
                assert {path.name for path in within.iterdir()} == {at.path.name, other.path.name, used.name}
            helm.kill()
        async with private_folder(program, within=within) as other:
            assert not left.exists()
        assert at.program.exists()
