"""`infra-mcp connect`: what hosts run as a "stdio server". Their frames go to the server that runs for the repository.

Local it is a splice to the unix socket, and starts the server where none runs; with `--url` it is a bridge to a server
elsewhere. What is imported here is imported each time a host starts, so it is little: no argparse, no `errors`.
"""

from __future__ import annotations

import socket
import time

from infra_mcp.cli.failures import failure, raise_refusal, report
from infra_mcp.cli.place import Place, find, token_of, url_of

TYPE_CHECKING = False  # as type checkers know it; typing takes 5 ms to import
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from infra_mcp.cli.conversation import Conversation
    from infra_mcp.cli.splice import Link

_HELLO = "infra-mcp-connect"
_PATIENCE = 60.0  # seconds until a server must have taken the connection
_PAUSE = 0.02  # seconds before a server that is stopping is looked for again
_OPTIONS = {"--attend": "attend", "--token-file": "token_file", "--url": "url", "--repo": "repo"}


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    from infra_mcp.cli.options import verb  # noqa: PLC0415 - argparse, for help and mistyped options only

    summary = "speak MCP on standard input and output, as the server of the repository; starts one if none runs"
    examples = ("connect", "connect --attend infra", "connect --url https://infra.example/mcp")
    parser = verb(verbs, "connect", summary, *examples, run=_run)
    parser.add_argument(
        "--attend", metavar="NAME", help="attend as the infra peer of this name: claim asks and act for those who asked"
    )
    parser.add_argument(
        "--url", metavar="URL", help="the server elsewhere to connect to, by its token (https, or loopback)"
    )
    parser.add_argument(
        "--token-file", metavar="FILE", help="connect as the peer of this token (default: INFRA_MCP_TOKEN)"
    )
    parser.add_argument("--repo", metavar="DIR", help="the infra repository (default: INFRA_MCP_REPO, or the one here)")


def _run(options: argparse.Namespace) -> int:
    return _connect(**{name: getattr(options, name) for name in _OPTIONS.values()})


def quick(arguments: list[str]) -> int | None:
    """Run the command when its options are plain ones; None leaves them to argparse, with its help and its errors."""
    given: dict[str, str] = {}
    rest = iter(arguments)
    for word in rest:
        option, equals, value = word.partition("=")
        if option not in _OPTIONS or _OPTIONS[option] in given:
            return None
        if not equals:
            value = next(rest, "-")
            if value.startswith("-"):
                return None
        given[_OPTIONS[option]] = value
    return _connect(**given)


def _connect(
    attend: str | None = None, token_file: str | None = None, url: str | None = None, repo: str | None = None
) -> int:
    """Connect and speak until the host ends it, and return the exit code; a failure is reported on standard error."""
    import signal  # noqa: PLC0415 - not before an option was understood

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C of the host's terminal ends it, as SIGTERM does
    try:
        _speak(attend, token_file, url, repo)
    except Exception as error:  # noqa: BLE001 - `errors` is not imported before there is one
        return int(report(error).exit)
    return 0


def _speak(attend: str | None, token_file: str | None, url: str | None, repo: str | None) -> None:
    if attend is not None:
        if token_file is not None or url is not None:
            raise failure("invalid-argument", "--attend: only without a token, and on the server's own machine.")
        return _splice(find(repo), {"attend": attend})
    token = token_of(token_file)
    if (url := url_of(url, repo)) is None:
        return _splice(find(repo), {"token": token} if token else {"host": True})
    from infra_mcp.cli.bridge import Bridge  # noqa: PLC0415 - HTTP and TLS, which the socket does not need
    from infra_mcp.cli.endpoint import Endpoint  # noqa: PLC0415 - the same

    return Bridge(Endpoint(url, token)).run()


def _splice(place: Place, hello: dict[str, Any]) -> None:
    from infra_mcp.cli.splice import Splice  # noqa: PLC0415 - not for the bridge

    Splice(lambda conversation: _dial(place, hello, conversation)).run()


def _dial(place: Place, hello: dict[str, Any], conversation: Conversation) -> Link:
    """Connect to the server, starting one where none runs, and continue the conversation there.

    Raises:
        InfraError: what keeps a server from starting, `unauthenticated`, `not-found`, `server-unreachable`.
    """
    from infra_mcp.cli.splice import Link  # noqa: PLC0415 - see the module's docstring

    deadline = time.monotonic() + _PATIENCE
    greeting = {"jsonrpc": "2.0", "id": _HELLO, "method": "infra/hello", "params": hello}
    while time.monotonic() < deadline:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_PATIENCE)
        try:
            connection.connect(place.socket)
        except OSError:
            connection.close()
            from infra_mcp.cli.starting import start  # noqa: PLC0415 - only where no server runs

            start(place)
            continue
        link = Link(connection, _PATIENCE)
        if _opened(link, greeting, conversation):
            return link
        connection.close()  # it is stopping
        time.sleep(_PAUSE)
    raise failure("server-unreachable", f"The server behind {place.socket} ends every connection.")


def _opened(link: Link, greeting: dict[str, Any], conversation: Conversation) -> bool:
    """Say who this is, and reopen the host's session where it had one; false when the server ended the connection."""
    opening = conversation.opening()
    try:
        for frame in (greeting, opening) if opening else (greeting,):
            answer = link.exchange(frame)
            if answer is None:
                return False
            raise_refusal(answer)
    except TimeoutError:
        raise failure("server-unreachable", f"The server does not answer in {_PATIENCE:.0f} s.") from None
    ready = conversation.ready()
    if ready is not None:
        link.outgoing += ready + b"\n"
    return True
