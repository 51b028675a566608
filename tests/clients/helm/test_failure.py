"""What Helm says when it fails becomes an error of ours: by its text, masked, cut, with what to do where we know it."""

import pytest

from infra_mcp.clients.helm.failure import HelmError
from infra_mcp.errors import Unavailable

# Texts of Helm 3.22 and 4.3.
TEXTS = {
    "UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress": "release-stuck",
    "release: not found": "not-found",
    'UPGRADE FAILED: "docs" has no deployed releases': "not-found",
    'Unable to continue with update: ConfigMap "a" in namespace "b" exists and cannot be imported into the current '
    'release: invalid ownership metadata; annotation validation error: key "meta.helm.sh/release-name" must equal "x": '
    'current value is "y"': "owned-elsewhere",
    'Unable to continue with install: ConfigMap "a" in namespace "b" exists and cannot be imported into the current '
    "release: invalid ownership metadata; label validation error: missing key": "exists",
    "conflict occurred while applying object b/a apps/v1, Kind=Deployment: Apply failed with 1 conflict": (
        "field-conflict"
    ),
    'secrets is forbidden: User "x" cannot list resource "secrets" in API group "" in the namespace "b"': (
        "cluster-denied"
    ),
    'kubernetes cluster unreachable: Get "https://h:6443/version": dial tcp: connect: connection refused': (
        "cluster-unreachable"
    ),
    "values don't meet the specifications of the schema(s) in the following chart(s)": "build-failed",
    "execution error at (docs/templates/a.yaml:1:3): no": "build-failed",
    'template: docs/templates/a.yaml:1:9: executing "x" at <.Values.a.b>: nil pointer evaluating': "build-failed",
    'chart "docs" version "1.2.3" not found in h repository': "chart-unavailable",
    'failed to perform "FetchReference" on source: h/docs:1.2.3: not found': "chart-unavailable",
    'unable to build kubernetes objects: no matches for kind "Widget" in version "w/v1"': "object-invalid",
    'admission webhook "w" denied the request': "admission-denied",
    "d is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no": "admission-denied",
    "post-upgrade hooks failed: 1 error occurred": "not-landed",
    "resource Deployment/b/a not ready. status: InProgress\ncontext deadline exceeded": "not-landed",
    "an unknown failure": "not-landed",
}


@pytest.mark.parametrize(("text", "code"), TEXTS.items())
def test_a_text_of_helm_has_one_code_of_ours_whatever_stands_before_it(text, code):
    error = HelmError(1, f"level=INFO msg=progress\nI0101 noise\nError: {text}\n")
    assert error.kind == code
    said = error.translate("release b/a", lambda one: one)
    assert said.code == code
    assert said.what.startswith("release b/a: Helm says")
    assert "noise" not in said.what


def test_an_api_server_that_does_not_answer_is_one_to_try_again():
    said = HelmError(1, "Error: kubernetes cluster unreachable: x").translate("release b/a", lambda one: one)
    assert isinstance(said, Unavailable)


@pytest.mark.promise("helm.safe-args")
def test_a_text_is_masked_cut_and_one_line_before_anyone_reads_it():
    text = f"Error: UPGRADE FAILED: bad value hunter2\nmore hunter2 {'x' * 5000}\x1b[31m"
    said = HelmError(1, text).translate("release b/a", lambda one: one.replace("hunter2", "[hidden]"))
    assert "hunter2" not in said.what
    assert "\n" not in said.what
    assert "\x1b" not in said.what
    assert len(said.what) < 800
    assert "hunter2" not in str(HelmError(1, text))


def test_a_command_that_was_stopped_says_that_and_one_without_a_text_its_code():
    assert HelmError(-9, "", "helm upgrade did not end within 5 s").translate("r", str).what == (
        "r: helm upgrade did not end within 5 s."
    )
    assert "ended with 7" in HelmError(7, "").translate("r", str).what


def test_a_helm_that_somebody_ends_is_told_as_such_and_not_as_what_helm_says():
    error = HelmError(-9, "level=INFO msg=progress\n").translate("release b/a", str)
    assert error.what == "release b/a: helm was ended by signal 9."
