"""Reading others' text takes time in proportion to its length, whatever it is made of.

Each reader runs in a child with a limit of computing time, so that one that backtracks fails instead of hanging.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import permutations
from typing import Any

import policy_texts
import pytest

from infra_mcp import text as texts_of_others
from infra_mcp.clients.kube.errors import KubeError
from infra_mcp.ledger import search
from infra_mcp.masking import Masker
from infra_mcp.mesh import blocks, grammar, intent, limits
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.peer import Caller
from infra_mcp.policy import releases
from infra_mcp.policy.policy import load
from infra_mcp.repository import commit
from infra_mcp.server import answers, arguments
from infra_mcp.server.tools import TOOLS

POLICY = policy_texts.DOCS + 'deploy_on = "docs {version} is out"\n'
SMALL, LARGE = 16_384, 65_536
MOST = 8.0  # times the computing for four times the text: 4 is linear, 16 is quadratic; the rest is the machine's
LEAST = 0.1  # seconds of computing below which a ratio says nothing
FOUND = 3  # such texts, and it is clear
SECONDS = 120  # of computing that one reader may take for all texts

CLASSES = [*"aA0 \t\n\r`~'\"{}[]()<>-_=+:;.,/\\@|#*!?$%&^", "é", "\u202e", "\u00a0", "\U0001f989"]
PAIRS = ["".join(pair) for pair in permutations('a \n`{"-=:', 2)]
WORDS = [
    "password=",
    "token: ",
    "secret ",
    "eyJa.",
    "://a:",
    "```infra\n",
    "> ",
    '{"a":',
    "a, and ",
    "--password ",
    "kind: Secret\ndata:\n a",
]
OPENINGS = [
    "",
    "```infra ",
    "   ~~~",
    "```infra {",
    "I need a namespace ",
    "password='",
    "kind: Secret\ndata:\n",
    '{"auth":"',
    "name: TOKEN\n",
]
ENDINGS = ["", "{}", "\n```"]


def texts(size: int) -> Iterator[tuple[str, str]]:
    """Texts of that size, each with a name."""
    for opening in OPENINGS:
        for piece in CLASSES + WORDS + ([] if opening else PAIRS):
            for ending in ENDINGS if "`" in opening else ENDINGS[:1]:
                yield repr((opening, piece, ending)), opening + piece * (size // len(piece)) + ending


def readers() -> dict[str, Callable[[str], Any]]:
    """Whatever reads texts of peers, clusters, git and pushers before a bound is set on them."""
    masker = Masker(b"k" * 32)
    docs = Caller(name="docs", circle="docs", strength="token")
    policy = load(POLICY)
    return {
        "blocks": blocks.blocks,
        "block": lambda text: blocks.read('{"action": "deploy", "app": ' + json.dumps(text) + ', "x": 1}'),
        "intent": intent.parse,
        "visible text": lambda text: (texts_of_others.visible(text), texts_of_others.quoted(text, len(text))),
        "grammar": lambda text: grammar.match(grammar.tokens(text)),
        "words": lambda text: limits.check_text(text, "query"),
        "quoting": lambda text: (
            texts_of_others.quoted_lines(text, len(text)),
            texts_of_others.cell(text),
            texts_of_others.harmless_json({text: text}),
        ),
        "masking": masker.mask,
        "masking of JSON": lambda text: masker.mask_json({text: [text], "password": text}),
        "search": search.match,
        "policy": load,
        "names": lambda text: Deploy(app=text, version=text),
        "release": lambda text: releases.match(policy, docs, text),
        "arguments": lambda text: arguments.parse(
            TOOLS["deploy"].arguments, {"app": text, "version": text, text: text}
        ),
        "answers": lambda text: answers.bounded(answers.Answer(answers.clean(text), answers.cleaned({text: text}))),
        "terminal": texts_of_others.escaped,
        "cluster": lambda text: KubeError.parse(409, {}, status(text)).translate("x"),
        "commit": lambda text: commit.message(text, text, {"Requested-By": text}),
    }


def status(text: str) -> bytes:
    """An API server's refusal of that text."""
    cause = {"reason": "FieldManagerConflict", "message": text}
    return json.dumps({"message": text, "details": {"causes": [cause]}}).encode()


def measure(name: str) -> None:
    """In the child: print the texts whose computing grows faster than they do."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
    read = readers()[name]
    gc.disable()  # what it collects is not what is measured
    found = []
    for (shown, small), (_, large) in zip(texts(SMALL), texts(LARGE), strict=True):
        quick: list[float] = []
        slow: list[float] = []
        for _ in range(3):  # the best of three: other work on the machine shows in a single one
            slow.append(_computing(read, large))
            if min(slow) < LEAST:
                break
            quick.append(_computing(read, small))
            if min(slow) <= MOST * max(min(quick), LEAST / MOST):
                break
        else:
            ratio, long = min(slow) / min(quick), min(slow)
            found.append(f"{shown}: {ratio:.0f} times, {long:.2f} s")
            if len(found) == FOUND:
                break
    sys.stdout.write(json.dumps(found))


def _computing(read: Callable[[str], Any], text: str) -> float:
    began = time.process_time()
    with suppress(Exception):  # to refuse is an answer, too
        read(text)
    return time.process_time() - began


NAMES = [
    "blocks",
    "block",
    "intent",
    "visible text",
    "grammar",
    "words",
    "quoting",
    "masking",
    "masking of JSON",
    "search",
]
NAMES += ["policy", "names", "release", "arguments", "answers", "terminal", "cluster", "commit"]


@pytest.mark.fault("f24")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_four_times_the_text_takes_about_four_times_the_computing(name):
    done = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == []


def test_every_reader_is_measured():
    assert list(readers()) == NAMES


if __name__ == "__main__":
    measure(sys.argv[1])
