"""The words that people use for environments, in the names of files and folders. Pure."""

from __future__ import annotations

import re

# They are preferred where several words tell instances apart.
ENVIRONMENTS = re.compile(
    r"(?:.*[-_.])?(?:prod|production|live|staging|stage|stg|dev|development|test|testing|qa|uat|preprod|preview|"
    r"sandbox|demo|canary|integration|internal|eu|us)(?:[-_.\d].*)?",
    re.IGNORECASE,
)
# What stands where an environment would, and is none: what all of them share, or what people copy.
_NONE = re.compile(
    r"(?:default|defaults|common|base|shared|global|all|local|schema|example|sample|template|secret|secrets|override|"
    r"overrides|ci|test-values|values|image|images)(?:[-_.].*)?",
    re.IGNORECASE,
)


def is_environment(word: str) -> bool:
    """Whether a word that stands where an environment would may be one."""
    return bool(word) and not _NONE.fullmatch(word)
