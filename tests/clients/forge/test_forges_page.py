"""What docs/forges.md says: each example is run, at a real Gitea where it is about one."""

import inspect
import json
import re
import tomllib
from pathlib import Path

import pytest
from gitea import GiteaRefusedError

from infra_mcp.clients.forge import Place, Rights, gitea_rights, github_rights, http, place_of
from infra_mcp.model.forge_text import inert_line
from infra_mcp.policy.policy import load
from infra_mcp.policy.sections import ForgeRules

PAGE = (Path(__file__).parents[3] / "docs" / "forges.md").read_text(encoding="utf-8")
SECTIONS = {one.partition("\n")[0]: one for one in re.split(r"^## ", PAGE, flags=re.MULTILINE)}


def blocks(language, text=PAGE):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def rows(title):
    """The cells of a section's tables."""
    found = [line for line in SECTIONS[title].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found]


@pytest.mark.parametrize(
    ("at", "remote", "place"),
    [
        (0, "git@git.example.org:team/infra.git", Place("gitea", "https://git.example.org", "team/infra")),
        (1, "git@github.com:team/infra.git", Place("github", "https://api.github.com", "team/infra")),
        (2, "git@github.example.org:x/y.git", Place("github", "https://github.example.org/api/v3", "team/infra")),
    ],
)
def test_the_settings_of_each_kind_are_policy_and_name_a_place(at, remote, place):
    rules = ForgeRules.model_validate(tomllib.loads(blocks("toml")[at])["forge"])

    assert place_of(remote, rules.kind, rules.url, rules.repository) == place
    assert rules.token_file == "/run/secrets/forge-token"


def test_the_example_of_reviews_is_a_policy():
    (rule,) = load(blocks("toml")[3]).rules

    assert (rule.require.by, rule.require.approvals) == ("review", 2)


@pytest.mark.anyio
async def test_the_account_scopes_and_protection_of_the_page_are_neither_too_little_nor_too_much(scene):
    (protection,) = blocks("json")
    scene.repository.call(
        "POST",
        "/branch_protections",
        json.loads(protection.replace("alice", scene.person.name).replace("bob", scene.owner.name)),
    )
    scopes = [cells[0].strip("` ") for cells in rows("Gitea and Forgejo") if ":" in cells[0]]
    scene.token_file = scene.server.token_file(scene.bot, *scopes)
    client = scene.client()
    try:
        assert await client.rights("main", merges=False) == Rights()
        scene.branch()
        made = await client.propose("infra-mcp/1", "main", "Deploy docs", "", ("infra-mcp",))
        await client.comment(made.number, "a comment")
        with pytest.raises(GiteaRefusedError):
            scene.repository.review(made.number, by=scene.bot)
        with pytest.raises(GiteaRefusedError):
            scene.repository.merge(made.number, by=scene.person)
        scene.repository.review(made.number, by=scene.person)
        with pytest.raises(GiteaRefusedError):
            scene.repository.merge(made.number, by=scene.bot)
        head = scene.repository.merge(made.number, by=scene.person)
        assert (await client.proposal(made.number)).merged == head
    finally:
        await client.aclose()


def test_the_sentences_of_the_page_are_the_servers():
    code = "".join(inspect.getsource(one) for one in (gitea_rights, github_rights))
    joined = re.sub(r'"\s+f?"', "", code).replace("{named(branch)}", "main").replace("{branch}", "main")
    said = [cells[1] for cells in rows("Rights that are missing, and rights too many")[1:]]

    assert len(said) == 8
    assert [sentence for sentence in said if sentence not in joined] == []


def test_the_words_of_the_page_are_made_inert_as_it_says():
    shown = [[cell.strip("` ") for cell in cells] for cells in rows("Peers' words")[1:]]

    assert len(shown) == 6
    assert {said: inert_line(said) for said, _ in shown} == dict(shown)


def test_the_numbers_of_the_page_are_those_of_the_code():
    text = SECTIONS["Limits and outages"]

    assert f"{http.MAX_BYTES >> 20} MiB" in text
    assert f"{http.MAX_PAGES} pages" in text
    assert f"{http._TOTAL:.0f} seconds" in text
    assert (len(http.PAUSES) + 1, http.MAX_WAIT) == (3, 10.0)
