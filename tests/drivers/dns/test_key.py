"""The TSIG key of a zone's updates: how its file is read, and why an update is not taken."""

import base64

import pytest
from drivers.dns.bind_zone import changing, landed, record, zone
from drivers.dns.zone_kit import PATH, ZONE
from name_servers import KEY, primary

from infra_mcp.clients.dns.key import read_key
from infra_mcp.errors import InfraError
from infra_mcp.masking import Masker

pytestmark = [pytest.mark.anyio, pytest.mark.promise("dns.record")]


@pytest.mark.trap("D8")
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("name", "does not know a key other-key"),
        ("secret", f"has another secret or algorithm for key {KEY}"),
        ("zone", f"is not authoritative for {ZONE}"),
        ("type", "refuses the update"),
    ],
)
async def test_why_an_update_is_not_taken_is_told_before_anything_is_committed(tmp_path_factory, tmp_path, wrong, said):
    zone_name = "other.example" if wrong == "zone" else ZONE
    allowed = f"grant {KEY} zonesub TXT;"
    with primary(tmp_path_factory.mktemp("p"), zone=zone_name, policy=allowed if wrong == "type" else None) as bind:
        text = bind.key_file.read_text()
        text = text.replace(KEY, "other-key") if wrong == "name" else text
        text = text.replace(bind.secret, "A" * 43 + "=") if wrong == "secret" else text
        (tmp_path / "key").touch(mode=0o600)
        (tmp_path / "key").write_text(text)
        async with zone(bind, key_file=tmp_path / "key") as (driver, context):
            share = changing(None, record("www", "A", "198.51.100.1"))
            if wrong == "type":  # whether a key may write a type is the one thing that only the update itself shows
                prepared = await driver.plan(context, share)
            with pytest.raises(InfraError) as caught:
                await (driver.apply(context, prepared) if wrong == "type" else driver.plan(context, share))

    assert caught.value.code == "zone-denied"
    assert said in caught.value.what
    assert bind.secret not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "holds no single TSIG key"),
        ('key "a" { algorithm hmac-md5; secret "c2VjcmV0LXRoYXQtaXMtbG9uZw=="; };', "an algorithm that is not taken"),
        ('key "a" { algorithm hmac-sha256; secret "no base64!"; };', "no single TSIG key"),
        (
            "hmac-sha256:a:c2VjcmV0LXRoYXQtaXMtbG9uZw==\nhmac-sha256:b:c2VjcmV0LXRoYXQtaXMtbG9uZw==",
            "no single TSIG key",
        ),
    ],
)
async def test_a_key_file_that_is_no_key_is_named_without_its_text(bind, tmp_path, text, why):
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text(text)
    async with zone(bind, key_file=tmp_path / "key") as (driver, context):
        with pytest.raises(InfraError) as caught:
            await driver.plan(context, changing(None, record("www", "A", "198.51.100.1")))

    assert (caught.value.code, why in caught.value.what) == ("setup-failed", True)
    assert "c2VjcmV0" not in str(caught.value)


def test_a_key_block_is_read_with_comments_and_with_signs_of_comments_in_its_secret(tmp_path):
    secret = base64.b64encode(b"\xff\xff\xff" * 12).decode()  # all slashes
    text = f'/* ours */ // old\nkey "a.b" {{ # name\n algorithm hmac-sha256;\n secret "{secret}"; }};'
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text(text)
    key = read_key(str(tmp_path / "key"), Masker(b"k" * 32))

    assert "//" in secret
    assert (key.name.to_text(), key.secret) == ("a.b.", b"\xff" * 36)


async def test_a_key_that_others_may_read_is_refused_and_both_forms_are_read(bind, tmp_path):
    (tmp_path / "key").touch(mode=0o640)
    (tmp_path / "key").write_text(f"hmac-sha256:{KEY}:{bind.secret}")
    async with zone(bind, key_file=tmp_path / "key") as (driver, context):
        with pytest.raises(InfraError, match="Others may read"):
            await driver.plan(context, changing(None, record("www", "A", "198.51.100.1")))
        (tmp_path / "key").chmod(0o600)
        await landed(driver, context, None, record("www", "A", "198.51.100.1"))

    assert bind.values("www", "A") == ["198.51.100.1"]
    assert PATH.endswith(f"{ZONE}.yaml")
