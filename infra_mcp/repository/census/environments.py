"""The words that people use for environments, in the names of files and folders. Pure."""

from __future__ import annotations

import re

_STAGES = r"prod|production|live|staging|stage|stg|dev|development|test|testing|qa|uat|preprod|canary|integration"
# What ends an app's name and is no part of it.
STAGES = re.compile(_STAGES, re.IGNORECASE)
# They are preferred where several words tell instances apart.
ENVIRONMENTS = re.compile(
    rf"(?:.*[-_.])?(?:{_STAGES}|preview|sandbox|demo|internal|eu|us)(?:[-_.\d].*)?", re.IGNORECASE
)
_SHARED = r"values|secrets|config|settings|common|default|defaults|base|global|shared|all"
# What all environments share.
SHARED = re.compile(_SHARED, re.IGNORECASE)
# What stands where an environment would, and is none: what all of them share, or what people copy.
_NONE = re.compile(
    rf"(?:{_SHARED}|local|schema|example|sample|template|secret|overrides?|ci|test-values|images?)(?:[-_.].*)?",
    re.IGNORECASE,
)


def is_environment(word: str) -> bool:
    """Whether a word that stands where an environment would may be one."""
    return bool(word) and not _NONE.fullmatch(word)
