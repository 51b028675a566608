"""The examples of the documentation come out as the pages say."""

import re
from pathlib import Path

import pytest
from examples import DOCS, PAGES, examples, printed

ROWS = [(name, one) for name in PAGES for one in examples((DOCS / name).read_text(encoding="utf-8"))]
README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def renderer(kubectl, monkeypatch):
    """What builds kustomizations; and nothing of the machine's own server."""
    monkeypatch.setenv("INFRA_MCP_KUSTOMIZE", kubectl)
    for name in ("INFRA_MCP_TOKEN", "INFRA_MCP_URL", "INFRA_MCP_STATE", "INFRA_MCP_REPO"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("renderer")
@pytest.mark.parametrize(("page", "example"), ROWS, ids=[f"{page}-{one.title}" for page, one in ROWS])
def test_an_example_prints_what_the_page_says(page, example):
    assert printed(example) == example.consoles, (
        f"see the difference; if it is meant, run: python tests/examples.py ({page})"
    )


def test_the_readme_shows_commands_and_output_of_these_examples():
    shown = re.findall(r"^```console\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    known = "".join(body for _, one in ROWS for body in one.consoles)

    first, _ = shown  # the second one is run by tests/e2e/test_first_value.py
    for command in re.split(r"^(?=\$ infra-mcp)", first, flags=re.MULTILINE):
        assert command in known or not command.startswith("$ infra-mcp"), "copy it from the page"


def test_files_and_commands_belong_to_their_section():
    page = (
        "## A\n```yaml\n# a/b.yaml\nx: 1\n# not a path\n# c.toml\ny = 2\n```\n```console\n$ infra-mcp apps\n```\n## B\n"
    )

    (one,) = examples(page)

    assert one.files == {"a/b.yaml": "x: 1\n# not a path\n", "c.toml": "y = 2\n"}
    assert one.consoles == ["$ infra-mcp apps\n"]
