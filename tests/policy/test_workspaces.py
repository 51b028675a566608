"""Workspaces of policy: which variables of the environment their runs may get, and which files are whose."""

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.policy.kinds import WorkspaceRules, workspace_of
from infra_mcp.policy.policy import load
from infra_mcp.policy.terraform import nested

WORKSPACES = {
    "outer": WorkspaceRules(path="terraform/net", var_files=("terraform/vars/live.tfvars",)),
    "inner": WorkspaceRules(path="terraform/net/inner", reads=("terraform/modules/site",)),
    "beside": WorkspaceRules(path="terraform/network"),
}


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("AWS_PROFILE", True),
        ("TF_VAR_password", True),
        ("TF_HTTP_PASSWORD", True),
        ("TF_HTTP_USERNAME", True),
        ("TF_TOKEN_registry_example", True),
        ("TF_HTTP_ADDRESS", False),
        ("TF_CLI_ARGS_apply", False),
        ("TF_DATA_DIR", False),
        ("TF_REATTACH_PROVIDERS", False),
        ("tf_log", False),
        ("LD_PRELOAD", False),
        ("KUBECONFIG", False),
        ("INFRA_MCP_TOKEN", False),
        ("PATH", False),
    ],
)
def test_runs_get_variables_and_credentials_and_nothing_that_steers_their_program(name, passes):
    text = f'[workspaces.network]\npath = "terraform/network"\nenvironment = ["{name}"]\n'
    if passes:
        assert load(text).workspaces["network"].environment == (name,)
    else:
        with pytest.raises(InfraError) as caught:
            load(text)
        assert caught.value.code == "policy-invalid"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("terraform/net/main.tf", "outer"),
        ("terraform/net/inner/main.tf", "inner"),
        ("terraform/network/main.tf", "beside"),
        ("terraform/vars/live.tfvars", "outer"),
        ("terraform/modules/site/main.tf", "inner"),
        ("terraform/modules/sites/main.tf", None),
        ("terraform/vars/test.tfvars", None),
    ],
)
def test_a_file_is_of_the_workspace_whose_folder_it_is_in_or_else_of_one_that_reads_it(path, name):
    assert workspace_of(path, WORKSPACES) == name


def test_a_workspace_below_another_is_apart_from_it():
    assert [nested(WORKSPACES, name) for name in WORKSPACES] == [("terraform/net/inner",), (), ()]
