"""What is no app is named with its delivery: roots of Terraform, zones, compose files, encrypted files."""

import pytest

MX = "'':\n  - type: MX\n    value: {exchange: mail.example.org., preference: 10}\n"
OCTO = f"---\n{MX}'44.74': {{type: PTR, value: x.}}\n"


def named(census, files, kind):
    return [one.path for one in census(files).others if one.kind == kind]


def test_folders_that_terraform_is_run_in(census):
    files = {
        "terraform/modules/cluster/main.tf": "resource x y {}\n",
        "terraform/network/main.tf": "resource x y {}\n",
        "terraform/live/main.tf": 'module "network" {\n  source = "../network"\n}\n',
        "terraform/live/dns.tf": "",
        "terraform/prod/terraform.tfvars": 'name = "prod"\n',
        "terragrunt.hcl": "",
        "grunt/prod/app/terragrunt.hcl": "",
        "examples/x/main.tf": "",
    }

    assert named(census, files, "terraform") == ["terraform/live", "terraform/prod"]
    assert named(census, files, "terragrunt") == ["grunt/prod/app"]
    assert {one.delivery for one in census(files).others} == {"terraform"}
    assert [one.count for one in census(files).others if one.path == "terraform/live"] == [2]


@pytest.mark.parametrize(
    ("path", "text", "is_zone"),
    [
        ("dns/example.org.yaml", OCTO, True),
        ("dns/example.org.yaml", "null:\n  type: A\n  value: 192.0.2.1\n", True),
        ("dns/example.org.yaml", "a: {type: Opaque}\n", False),
        ("dns/example.org.yaml", "{}\n", False),
        ("dns/config.yaml", OCTO, False),
        ("dns/db.example.org", "$ORIGIN example.org.\n@ IN SOA ns1 root ( 1 2 3 4 5 )\n", True),
        ("dns/example.org.zone", "@ 3600 IN SOA ns1.example.org. root.example.org. 1 2 3 4 5\n", True),
        ("dns/example.org", "$ORIGIN example.org.\n", True),
        ("dns/data.db", "SQLite format 3", False),
    ],
)
def test_zones(census, path, text, is_zone):
    assert named(census, {path: text}, "zone") == ([path] if is_zone else [])


def test_compose_files_helmfiles_that_are_not_read_and_the_number_of_encrypted_files(census):
    files = {
        "web/compose.yaml": "services: {web: {image: 'r.example/web:1'}}\n",
        "web/docker-compose.prod.yml": "services: {web: {}}\n",
        "web/compose-notes.yaml": "services: none\n",
        "helmfile.yaml.gotmpl": "{{ range .x }}\nreleases: []\n{{ end }}\n",
        **{f"secrets/{n}.yaml": "a: ENC[x]\nsops:\n  mac: x\n" for n in range(3)},
    }
    found = census(files)

    assert [(one.kind, one.path, one.count) for one in found.others] == [
        ("compose", "web/compose.yaml", 1),
        ("compose", "web/docker-compose.prod.yml", 1),
        ("encrypted", "secrets", 3),
        ("helmfile", "helmfile.yaml.gotmpl", 1),
    ]
    assert found.apps == {}
