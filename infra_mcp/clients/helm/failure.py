"""Helm's failures as errors of ours, by its exit code and its text.

Helm has one exit code for all failures, so its text decides; a text that is not known here is told as it is, cut and
masked. A text may quote rendered values, so no fragment of it is longer than 600 characters and all of it is masked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from infra_mcp.errors import InfraError, Unavailable
from infra_mcp.text import one_line, quoted

_REASON: Final = 600  # characters of Helm's own text


@dataclass(frozen=True)
class _Kind:
    """One kind of failure."""

    pattern: re.Pattern[str]
    code: str
    next_step: str | None = None


def _kind(pattern: str, code: str, next_step: str | None = None) -> _Kind:
    return _Kind(re.compile(pattern, re.IGNORECASE), code, next_step)


# The first one that matches counts. Source: Helm 3.22 and 4.3, pkg/action, pkg/kube, pkg/cmd.
_KINDS: Final = (
    _kind(r"another operation \(install/upgrade/rollback\) is in progress", "release-stuck"),
    _kind(r"release: not found|has no deployed releases", "not-found"),
    _kind(r"invalid ownership metadata.*must equal", "owned-elsewhere"),
    _kind(
        r"invalid ownership metadata|cannot be imported into the current release",
        "exists",
        "Delete it, or let Helm take it: label and annotate it as of this release (docs/helm.md).",
    ),
    _kind(r"apply failed with \d+ conflict|conflict occurred while applying", "field-conflict"),
    _kind(r"cannot patch .*immutable|field is immutable|updates to .* spec for fields other than", "object-invalid"),
    _kind(r" is forbidden: User |cannot \w+ resource .* in API group", "cluster-denied"),
    _kind(
        r"cluster unreachable|cluster reachability check failed|connection refused|no such host|i/o timeout"
        r"|TLS handshake|x509:|Unauthorized|etcdserver|the server is currently unable",
        "cluster-unreachable",
    ),
    _kind(
        r"values don't meet the specifications of the schema|schema validation",
        "build-failed",
        "Correct the named value; the chart's values.schema.json says what it may be.",
    ),
    _kind(
        r"execution error at|template: |parse error|error converting YAML|failed to render|nil pointer",
        "build-failed",
        "Correct the chart or its values and commit them.",
    ),
    _kind(
        r"chart dependencies|found in Chart.yaml, but missing in charts|Chart.yaml file is missing|validation: chart",
        "build-failed",
        "Correct the chart and commit it.",
    ),
    _kind(
        r"not found in .* repository|failed to fetch|failed to (authorize|resolve|do request)|is not a valid chart"
        r"|no chart (version|name) found|improper constraint|invalid reference|could not (find|resolve)|no cached repo"
        r"|failed to perform|not a chart archive|404 Not Found|403 Forbidden|manifest unknown",
        "chart-unavailable",
    ),
    _kind(r"no matches for kind|unable to recognize", "object-invalid", "Install the definition of that kind first."),
    _kind(r"ValidatingAdmissionPolicy '|admission webhook .* denied|denied the request", "admission-denied"),
    _kind(r"admission webhook|is invalid:|violates PodSecurity|exceeded quota", "object-invalid"),
    _kind(r"hooks? .* failed|hooks failed|timed out waiting|context deadline exceeded|not ready", "not-landed"),
)


@dataclass(eq=False)
class HelmError(Exception):
    """A command of Helm that failed."""

    code: int  # Helm's exit code, or minus the signal that ended it
    text: str  # of its standard error, unmasked: only `translate` passes it on
    why: str = ""  # where we stopped it

    def __str__(self) -> str:
        return f"helm ended with {self.code}"

    @property
    def kind(self) -> str:
        """The code of the error that it is."""
        return next((one.code for one in _KINDS if one.pattern.search(self.text)), "not-landed")

    def says(self, mask: Callable[[str], str]) -> str:
        """Helm's reason as one line, without what it says before it."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        last = next((at for at in reversed(range(len(lines))) if lines[at].startswith("Error:")), 0)
        text = mask(" ".join(lines[last:])).removeprefix("Error:").strip()
        return one_line(text, _REASON) or f"it {self._ended} and gives no reason"

    @property
    def _ended(self) -> str:
        return f"was ended by signal {-self.code}" if self.code < 0 else f"ended with {self.code}"

    def translate(self, what: str, mask: Callable[[str], str]) -> InfraError:
        """The error for users.

        Args:
            what: the release or chart, as the sentence's subject.
            mask: hides secrets in Helm's text.
        """
        if self.why:
            return InfraError("not-landed", f"{what}: {self.why}.")
        if self.code < 0:
            return InfraError("not-landed", f"{what}: helm {self._ended}.", next_step="Send it again.")
        found = next((one for one in _KINDS if one.pattern.search(self.text)), _Kind(re.compile(""), "not-landed"))
        kind = Unavailable if found.code == "cluster-unreachable" else InfraError
        return kind(found.code, f"{what}: Helm says {quoted(self.says(mask), _REASON)}.", next_step=found.next_step)
