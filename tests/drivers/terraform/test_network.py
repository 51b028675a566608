"""A run has no network but by policy: neither a provider nor a provisioner reaches even this machine's loopback."""

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from drivers.terraform.estate import MAIN, Estate, with_provider
from drivers.terraform.own_provider import executable

from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("terraform.guard")]

RECORD = """
resource "own_record" "one" {{
  name  = "one"
  value = "1.0.0"
}}
"""
PROVISIONER = """
resource "terraform_data" "calls" {{
  provisioner "local-exec" {{
    interpreter = ["/bin/bash", "-c"]
    command     = "(echo > /dev/tcp/127.0.0.1/PORT) 2> /dev/null; echo $? > {state}.said"
  }}
}}
"""
needs_bubblewrap = pytest.mark.skipif(
    shutil.which("bwrap") is None and "INFRA_MCP_CI" not in os.environ, reason="bubblewrap is not installed"
)


class Listener:
    """A port of this machine, and how often somebody called."""

    port = 0
    calls = 0


@contextmanager
def listener() -> Iterator[Listener]:
    """Listen on loopback."""
    held = Listener()
    with socket.create_server(("127.0.0.1", 0)) as server:
        held.port = server.getsockname()[1]

        def accept() -> None:
            while True:
                try:
                    called, _ = server.accept()
                except OSError:
                    return
                held.calls += 1
                called.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield held
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def calling(home: Path, port: int, more: str) -> Estate:
    """A workspace whose provider must reach a port before it plans or applies, and whose provisioner tries to."""
    options = with_provider(MAIN + RECORD + PROVISIONER.replace("PORT", str(port)))
    options["main"] = options["main"].replace('path = "{world}"', f'path = "{{world}}"\n  calls = "127.0.0.1:{port}"')
    options["more"] += f'allow = ["provisioner:local-exec"]\n{more}'
    return Estate(home, **options)


def reached(estate: Estate) -> bool:
    """Whether the provisioner reached the port."""
    return Path(f"{estate.state}.said").read_text(encoding="utf-8") == "0\n"


def notes(request) -> str:
    return " ".join(request.receipt["plan"]["notes"])


@needs_bubblewrap
async def test_without_the_network_a_provider_reaches_nothing_and_nothing_is_changed(tmp_path):
    with listener() as here:
        estate = calling(tmp_path, here.port, "")
        async with estate.engine() as engine:
            done = await estate.ask(engine, variables={"instances": 3})

    assert (done.state, here.calls) == (State.FAILED, 0), done.receipt
    assert "The provider cannot reach its system" in done.receipt["message"]
    assert (estate.resources(), estate.git("log", "--format=%s")) == ({}, "Begin")


@needs_bubblewrap
async def test_without_the_network_a_provisioner_reaches_nothing_and_the_plan_says_so(tmp_path):
    with listener() as here:
        main = MAIN + PROVISIONER.replace("PORT", str(here.port))
        estate = Estate(tmp_path, main=main, more='allow = ["provisioner:local-exec"]\n')
        async with estate.engine() as engine:
            shown = await estate.ask(engine, dry_run=True)
            done = await estate.ask(engine)

    assert (done.state, here.calls) == (State.LANDED, 0), done.receipt
    assert not reached(estate)
    assert "are shut off by bubblewrap and have no network" in notes(shown)


async def test_with_the_network_they_reach_what_they_call_and_the_plan_says_so(tmp_path):
    with listener() as here:
        estate = calling(tmp_path, here.port, "network = true\n")
        async with estate.engine() as engine:
            shown = await estate.ask(engine, dry_run=True)
            done = await estate.ask(engine)

    assert done.state is State.LANDED, done.receipt
    assert here.calls > 0
    assert reached(estate)
    assert "may use the network" in notes(shown) or "are not shut off" in notes(shown)


@pytest.mark.parametrize(
    ("bwrap", "why"),
    [(None, "bubblewrap is not installed"), ("exit 1", "bubblewrap does not run")],
    ids=["none", "broken"],
)
async def test_where_bubblewrap_is_not_there_the_plan_says_that_runs_are_not_shut_off(
    tmp_path, monkeypatch, bwrap, why
):
    folder = tmp_path / "bin"
    folder.mkdir()
    for path in (executable(), shutil.which("git")):
        (folder / Path(path).name).symlink_to(path)
    if bwrap:
        (folder / "bwrap").write_text(f"#!/bin/sh\necho no namespaces here >&2\n{bwrap}\n", encoding="utf-8")
        (folder / "bwrap").chmod(0o755)
    with listener() as here:
        estate = Estate(
            tmp_path / "estate",
            main=MAIN + PROVISIONER.replace("PORT", str(here.port)),
            more='allow = ["provisioner:local-exec"]\n',
        )
        monkeypatch.setenv("PATH", str(folder))
        async with estate.engine() as engine:
            shown = await estate.ask(engine, dry_run=True)
            done = await estate.ask(engine)

    assert f"are not shut off from this user's files and from the network: {why}" in notes(shown)
    assert done.state is State.LANDED, done.receipt
    assert here.calls == 1  # as the plan says: nothing keeps them from it
