"""On the real API server; what it cannot be made to do (lose a connection, forget a version) by the fault proxy."""

import json
from contextlib import aclosing, suppress
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.lowlevel
import pytest
import yaml

from infra_mcp.clients.kube import Cluster, KubeError

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


def summary(event: dict) -> tuple[str, str, str]:
    return event["type"], event["object"]["metadata"]["name"], event["object"].get("data", {}).get("a", "")


async def delete(cluster, namespace: str, name: str) -> None:
    await cluster._transport.request("DELETE", f"/api/v1/namespaces/{namespace}/configmaps/{name}")


@pytest.fixture
async def events(broken, space):
    """Starts watches of ConfigMaps of this test and hands out what they yield."""
    opened = []

    def start(**options):
        watching = broken.watch("v1", "ConfigMap", space, as_user=None, label_selector="mine=yes", **options)
        opened.append(watching)

        async def following():
            with anyio.fail_after(30):
                return summary(await anext(watching))

        return following

    yield start
    for watching in opened:
        await watching.aclose()


@pytest.fixture
def put(cluster, space, config_map):
    async def write(name: str, value: str) -> dict:
        body = config_map(space, name, a=value)
        body["metadata"]["labels"] = {"mine": "yes"}
        return (await cluster.write(body, as_user=None, force=True))[0]

    return write


async def test_existing_objects_come_first_and_then_each_change(cluster, space, events, put):
    await put("a", "1")
    following = events()

    assert await following() == ("ADDED", "a", "1")
    await put("a", "2")
    await put("b", "1")
    await delete(cluster, space, "a")
    assert [await following() for _ in range(3)] == [("MODIFIED", "a", "2"), ("ADDED", "b", "1"), ("DELETED", "a", "2")]


async def test_one_object_is_watched_by_name(events, put):
    await put("a", "1")
    following = events(name="b")
    await put("b", "1")

    assert await following() == ("ADDED", "b", "1")


async def test_it_continues_from_a_version_without_listing(events, put, proxy):
    version = (await put("a", "1"))["metadata"]["resourceVersion"]
    await put("a", "2")
    following = events(resource_version=version)

    assert await following() == ("MODIFIED", "a", "2")
    assert all("watch=1" in line for line, _ in proxy.seen)


@pytest.mark.parametrize("do", ["reset-before", "answer", "hang"])
async def test_a_watch_that_cannot_be_opened_is_opened_again(events, put, proxy, fault, do, monkeypatch, broken):
    if do == "hang":
        limits = broken._transport._timeouts.__class__(quiet=0.3)
        monkeypatch.setattr(broken._transport, "_timeouts", limits)
    proxy.faults = [fault("watch=1", do=do, status=503, times=2)]
    following = events()
    await put("a", "1")
    first = await following()
    await put("a", "2")

    assert first[:2] == ("ADDED", "a")
    assert await following() == ("MODIFIED", "a", "2")
    assert proxy.count("watch=1") == 3


async def test_nothing_is_lost_over_a_dropped_connection(events, put, proxy, fault):
    version = (await put("a", "1"))["metadata"]["resourceVersion"]
    await put("a", "2")
    proxy.faults = [fault("watch=1", do="cut")]
    following = events(resource_version=version)

    assert await following() == ("MODIFIED", "a", "2")
    await put("a", "3")
    assert await following() == ("MODIFIED", "a", "3")
    assert proxy.count("watch=1") >= 2
    assert proxy.count("GET") == proxy.count("watch=1")


@pytest.mark.parametrize("how", ["status", "event"])
async def test_an_expired_version_lists_again_and_reports_the_changes(cluster, space, events, put, proxy, fault, how):
    await put("a", "1")
    await put("b", "1")
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    event = {"type": "ERROR", "object": gone}
    following = events()
    assert {await following(), await following()} == {("ADDED", "a", "1"), ("ADDED", "b", "1")}
    await put("a", "2")
    await put("c", "1")
    await delete(cluster, space, "b")
    proxy.faults = [
        fault("watch=1", status=410, body=gone)
        if how == "status"
        else fault("watch=1", status=200, body=(json.dumps(event) + "\n").encode())
    ]

    assert {await following() for _ in range(3)} == {("MODIFIED", "a", "2"), ("ADDED", "c", "1"), ("DELETED", "b", "")}
    await put("c", "2")
    assert await following() == ("MODIFIED", "c", "2")


async def test_an_object_deleted_while_its_version_expired_is_reported_as_deleted(
    cluster, space, events, put, proxy, fault
):
    version = (await put("a", "1"))["metadata"]["resourceVersion"]
    await delete(cluster, space, "a")
    proxy.faults = [fault("watch=1", status=410, body={"code": 410})]
    following = events(name="a", resource_version=version)

    assert await following() == ("DELETED", "a", "")


async def test_a_denied_watch_is_an_error(cluster, space):
    with pytest.raises(KubeError) as denied:
        async for _ in cluster.watch("v1", "ConfigMap", space, as_user=f"system:serviceaccount:{space}:nobody"):
            pass

    assert denied.value.status == 403


@pytest.mark.promise("auth.refresh")
async def test_a_refused_credential_is_read_again(events, put, proxy, fault, token_file):
    await put("a", "1")
    token_file.write_text("second", encoding="utf-8")
    proxy.faults = [fault("watch=1", status=401)]
    following = events(resource_version="0")

    assert await following() == ("ADDED", "a", "1")
    assert proxy.seen[-1][1]["authorization"] == "Bearer second"


async def test_cancelling_ends_it_while_nothing_happens(broken, space, proxy):
    async def follow(scope: anyio.CancelScope, done: anyio.Event) -> None:
        with scope:
            async with aclosing(broken.watch("v1", "ConfigMap", space, as_user=None, name="none")) as watching:
                async for _ in watching:
                    pass
        done.set()

    scope, done = anyio.CancelScope(), anyio.Event()
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(follow, scope, done)
            await proxy.until("watch=1")
            scope.cancel()
            await done.wait()


async def test_a_selector_cannot_be_widened_by_a_name(broken, space, proxy):
    watching = broken.watch("v1", "ConfigMap", space, as_user=None, name="a,metadata.name!=b")
    async with anyio.create_task_group() as group:
        group.start_soon(anext, watching)
        await proxy.until("watch=1")
        group.cancel_scope.cancel()
    sent = [parse_qs(urlsplit(line).query)["fieldSelector"] for line, _ in proxy.seen]

    assert sent == [[r"metadata.name=a\,metadata.name!\=b"]] * 2


NO_EVENTS = {
    "a proxy's page": b"<html>bad gateway</html>\n",
    "a text": b'"maintenance"\n',
    "a list": b"[1]\n",
    "no event": b'{"kind": "Status"}\n',
    "an object without a name": b'{"type": "ADDED", "object": {}}\n',
    "an error without a status": b'{"type": "ERROR", "object": null}\n',
    "no text": b"\xff\xfe\n",
    "nested too deeply": b"[" * 200_000 + b"\n",
}


@pytest.mark.fault("d08")
@pytest.mark.parametrize("body", NO_EVENTS.values(), ids=NO_EVENTS)
async def test_a_malformed_line_is_a_server_error_and_the_watch_continues(events, put, proxy, fault, body):
    proxy.faults = [fault("watch=1", status=200, body=body)]
    following = events()
    await put("a", "1")

    assert await following() == ("ADDED", "a", "1")
    await put("a", "2")
    assert await following() == ("MODIFIED", "a", "2")


async def test_a_cancelled_watch_leaves_no_connection_behind_though_the_server_never_says_goodbye(
    control_plane, tmp_path
):
    config = yaml.safe_load(control_plane.kubeconfig.read_text(encoding="utf-8"))
    upstream = next(one["cluster"] for one in config["clusters"])
    address, opened, ended = urlsplit(upstream["server"]), [], []

    async def pump(source, sink):
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for data in source:
                if not ended:  # from then on no TLS goodbye reaches the server
                    await sink.send(data)

    async def accept(client):
        opened.append(anyio.Event())
        closed = opened[-1]
        server = await anyio.connect_tcp(address.hostname, address.port)
        async with client, server, anyio.create_task_group() as group:
            group.start_soon(pump, server, client)
            await pump(client, server)
            closed.set()
            group.cancel_scope.cancel()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, accept)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        upstream |= {"server": f"https://127.0.0.1:{port}", "tls-server-name": address.hostname}
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        async with Cluster.connect("test", path, control_plane.context) as cluster:
            with anyio.CancelScope() as scope:
                watching = cluster.watch("v1", "Namespace", None, as_user=None, resource_version="0")
                async with aclosing(watching) as events:
                    async for event in events:
                        ended.append(event)
                        scope.cancel()
        with anyio.fail_after(30):
            for closed in opened:
                await closed.wait()
        group.cancel_scope.cancel()
    assert ended
