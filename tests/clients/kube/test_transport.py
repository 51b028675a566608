"""Through the fault proxy of conftest: what the real API server cannot be made to do, with everything else real."""

from dataclasses import replace

import anyio
import pytest

from infra_mcp.clients.kube import KubeError

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.bad_input("22")]

MAP = "configmaps/it"


@pytest.mark.promise("auth.refresh")
async def test_a_refused_credential_is_read_again_and_the_request_sent_once_more(
    broken, proxy, fault, token_file, space, config_map
):
    proxy.faults = [fault(MAP, status=401)]
    token_file.write_text("second", encoding="utf-8")
    _, status = await broken.write(config_map(space), as_user=None)

    assert status == 201
    assert [headers["authorization"] for _, headers in proxy.seen] == ["Bearer first", "Bearer second"]


@pytest.mark.promise("auth.refresh")
async def test_a_credential_that_stays_refused_is_an_error_and_not_a_loop(broken, proxy, fault, space, ref):
    proxy.faults = [fault(MAP, status=401, times=99)]
    with pytest.raises(KubeError) as refused:
        await broken.get(ref("ConfigMap", "it", space), as_user=None)

    assert refused.value.status == 401
    assert proxy.count(MAP) == 2


@pytest.mark.promise("auth.refresh")
async def test_many_refused_at_once_read_the_credential_once(broken, proxy, fault, space, ref, monkeypatch):
    loads = []
    renew = broken._transport._renew

    async def counted():
        loads.append(1)
        return await renew()

    monkeypatch.setattr(broken._transport, "_renew", counted)
    proxy.faults = [fault("configmaps/", status=401, times=5)]
    async with anyio.create_task_group() as group:
        for n in range(5):
            group.start_soon(lambda n=n: broken.get(ref("ConfigMap", f"n{n}", space), as_user=None))

    assert len(loads) == 1


async def test_a_context_that_names_another_server_after_a_renewal_is_refused(
    broken, proxy, fault, space, ref, tmp_path
):
    proxy.faults = [fault(MAP, status=401)]
    config = tmp_path / "kubeconfig"
    config.write_text(config.read_text(encoding="utf-8").replace(proxy.url, "http://127.0.0.1:9"), encoding="utf-8")
    with pytest.raises(KubeError, match="names another server") as refused:
        await broken.get(ref("ConfigMap", "it", space), as_user=None)

    assert refused.value.status == 401


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_read_is_tried_again_after_server_errors(broken, proxy, fault, space, ref, status):
    proxy.faults = [fault(MAP, status=status, times=3)]

    assert await broken.get(ref("ConfigMap", "it", space), as_user=None) is None
    assert proxy.count(MAP) == 4


async def test_a_read_ends_with_an_error_when_the_server_does_not_recover(broken, proxy, fault, space, ref):
    proxy.faults = [fault(MAP, status=503, times=99)]
    with pytest.raises(KubeError) as failed:
        await broken.get(ref("ConfigMap", "it", space), as_user=None)

    assert failed.value.status == 503
    assert proxy.count(MAP) == 4


@pytest.mark.parametrize("do", ["reset-before", "reset-after", "hang"])
async def test_a_read_is_tried_again_after_a_lost_connection(broken, proxy, fault, space, ref, do):
    proxy.faults = [fault(MAP, do=do)]

    assert await broken.get(ref("ConfigMap", "it", space), as_user=None) is None
    assert proxy.count(MAP) == 2


@pytest.mark.parametrize("verb", ["get", "write"])
async def test_too_many_requests_waits_as_long_as_the_server_asks(
    broken, proxy, fault, space, ref, config_map, monkeypatch, verb
):
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    monkeypatch.setattr("infra_mcp.clients.kube.transport.anyio.sleep", sleep)
    proxy.faults = [fault(MAP, status=429, headers={"Retry-After": "7"}, times=2)]
    if verb == "get":
        await broken.get(ref("ConfigMap", "it", space), as_user=None)
    else:
        await broken.write(config_map(space), as_user=None)

    assert waited == [7.0, 7.0]
    assert proxy.count(MAP) == 3


async def test_too_many_requests_does_not_wait_for_minutes(broken, proxy, fault, space, config_map):
    proxy.faults = [fault(MAP, status=429, headers={"Retry-After": "600"}, times=99)]
    with pytest.raises(KubeError) as busy:
        await broken.write(config_map(space), as_user=None)

    assert (busy.value.status, busy.value.retry_after) == (429, 600.0)
    assert proxy.count(MAP) == 1


@pytest.mark.parametrize(
    ("do", "landed"), [("reset-before", False), ("reset-after", True), ("hang", False), ("answer", False)]
)
async def test_a_write_without_an_answer_has_an_unknown_outcome_and_is_sent_once(
    broken, cluster, proxy, fault, space, ref, config_map, do, landed
):
    proxy.faults = [fault(f"PATCH /api/v1/namespaces/{space}/{MAP}", do=do, status=503)]
    with pytest.raises(KubeError) as lost:
        await broken.write(config_map(space), as_user=None)
    live = await cluster.get(ref("ConfigMap", "it", space), as_user=None)

    assert lost.value.is_unknown
    assert proxy.count("PATCH") == 1
    assert (live is not None) == landed


async def test_a_dry_run_is_tried_again_since_it_changes_nothing(broken, proxy, fault, space, config_map):
    proxy.faults = [fault(MAP, do="reset-after"), fault(MAP, status=503)]

    assert (await broken.dry_run(config_map(space), as_user=None))["data"] == {"a": "1"}
    assert proxy.count("dryRun=All") == 3


async def test_an_object_the_schema_refuses_is_not_sent_again(broken, proxy, space, config_map):
    body = config_map(space) | {"dta": {}}
    for call in (broken.dry_run, broken.write):
        with pytest.raises(KubeError) as refused:
            await call(body, as_user=None)

        assert refused.value.status == 500
        assert refused.value.is_invalid
        assert not refused.value.is_unknown
    assert proxy.count("PATCH") == 2


async def test_a_connection_that_cannot_be_made_means_the_write_did_not_happen(broken, config_map, monkeypatch):
    nowhere = replace(broken._transport._login, host="http://127.0.0.1:9")
    monkeypatch.setattr(broken._transport, "_login", nowhere)
    with pytest.raises(KubeError) as refused:
        await broken.write(config_map("any"), as_user=None)

    assert (refused.value.status, refused.value.reason) == (0, "Unreachable")


async def test_a_server_that_is_not_an_api_server_is_named_so(broken, proxy, fault, space, ref):
    proxy.faults = [fault(MAP, status=200, body=b"<html>Log in to the wifi")]
    with pytest.raises(KubeError, match="not an API server"):
        await broken.get(ref("ConfigMap", "it", space), as_user=None)


async def test_the_server_gives_a_write_up_before_we_stop_waiting(broken, proxy, space, config_map):
    await broken.write(config_map(space), as_user=None)

    assert proxy.count("timeout=0.5s") == 1


async def test_impersonation_is_sent_and_never_left_empty(broken, proxy, space, ref):
    with pytest.raises(KubeError) as denied:
        await broken.get(ref("ConfigMap", "it", space), as_user=f"system:serviceaccount:{space}:nobody")

    assert denied.value.status == 403
    assert proxy.seen[-1][1]["impersonate-user"] == f"system:serviceaccount:{space}:nobody"
    for user in ("", "system:admin"):
        with pytest.raises(ValueError, match="service accounts"):
            await broken.get(ref("ConfigMap", "it", space), as_user=user)
    assert proxy.count(MAP) == 1


@pytest.mark.fault("d08")
@pytest.mark.parametrize(
    "body", [b'"maintenance"', b"[1]", b"null", b"[" * 200_000], ids=["text", "list", "null", "deep"]
)
async def test_an_answer_that_is_not_an_object_is_refused(broken, proxy, fault, space, ref, body):
    proxy.faults = [fault(MAP, status=200, body=body)]
    with pytest.raises(KubeError) as refused:
        await broken.get(ref("ConfigMap", "it", space), as_user=None)

    assert refused.value.status == 0


async def test_the_clock_of_the_api_server_is_known_after_an_answer(cluster):
    await cluster.check()
    assert abs(cluster.ahead) < 30  # both run on this machine
