"""A ledger in a fresh state directory, and what comes in to it."""

import shutil
import sqlite3

import pytest
from ledger_template import open_new

from infra_mcp.ledger import AskIn
from infra_mcp.ledger.ids import request_id
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.peer import Address, Caller
from infra_mcp.model.request import State, Submission

NOW = "2026-11-22T10:00:00Z"
DOCS = Caller(name="docs", circle="docs", strength="token")
SHOP = Caller(name="shop", circle="shop", strength="token")
INFRA = Address(name="infra")


@pytest.fixture
def docs():
    return DOCS


@pytest.fixture
def shop():
    return SHOP


@pytest.fixture
def infra():
    """Where the infra peer is written to."""
    return INFRA


@pytest.fixture
def at():
    """The address of a caller."""
    return lambda caller: Address(name=caller.name, circle=caller.circle)


@pytest.fixture
def attendant():
    """Makes an attending session."""
    return lambda session: Caller(name="infra", circle=None, strength="same-user", attendant=True, session=session)


@pytest.fixture
def submission():
    """Makes a submission: of `docs`, for a namespace, unless told otherwise."""

    def make(action="docs-staging", caller=DOCS, **given):
        if isinstance(action, str):
            action = ProvisionNamespace(namespace=action, pull_secrets=("X",))
        return Submission(caller=caller, action=action, channel=given.pop("channel", "tool"), **given)

    return make


@pytest.fixture
def deploy():
    return Deploy(app="docs", version="0.13.4")


@pytest.fixture
def accept(submission):
    """Takes a submission in, by an ask when `ask` has words."""

    async def run(ledger, action="docs-staging", *, ask=None, now=NOW, **given):
        if ask is not None:
            given = {"channel": "ask", "words": ask} | given
        sent = AskIn(text=ask) if ask is not None else None
        return await ledger.accept(submission(action, **given), request_id=request_id(), ask=sent, now=now)

    return run


@pytest.fixture
def receipt():
    def make(request, state=State.LANDED, message="namespace docs-staging up", **given):
        return Receipt(request=request.id, state=state, message=message, action=request.action.action, **given)

    return make


@pytest.fixture
def undelivered():
    """Looks up the ids of the asks whose ack waits in the outbox."""

    async def look(ledger):
        wanted = "SELECT ask FROM outbox WHERE delivered IS NULL"
        return set(await ledger._database.read(lambda one: one.exec_driver_sql(wanted).scalars().all()))

    return look


@pytest.fixture
def place(tmp_path):
    return tmp_path / "state"


@pytest.fixture
async def ledger(place, anyio_backend):  # noqa: ARG001 - the loop the fixture runs on
    opened = await open_new(place)
    yield opened
    await opened.aclose()


@pytest.fixture
def raw(place):
    """The ledger's file opened past the ledger, as someone would who wants to change it."""
    opened = []

    def connect(path=None):
        opened.append(sqlite3.connect(path or place / "ledger.sqlite3", isolation_level=None))
        opened[-1].row_factory = sqlite3.Row
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def copy(place, tmp_path):
    """Copies the state directory as it is now, journal included, and returns the copy's directory."""
    count = iter(range(1_000_000))

    def make():
        target = tmp_path / f"copy{next(count)}"
        shutil.copytree(place, target)
        return target

    return make
