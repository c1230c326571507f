"""Artifact references and the hashes that name artifacts and jobs.

An artifact's id is the hash of stage, stage version, science config and the ids of its inputs. Resources, profile, names
and log settings never enter it.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, NamedTuple

from configs.stages import ARTIFACT_KINDS

KINDS = (*ARTIFACT_KINDS, "checkpoints")
_REF = re.compile(r"^([a-z]+)/([0-9a-f]{16})$")


class ArtifactRef(NamedTuple):
    """Names one artifact: its kind (a folder of the store) and its id (16 hexadecimal digits)."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.id}"


def parse_ref(text: str, kind: str | None = None) -> ArtifactRef:
    """Reads `kind/id`. Raises ValueError that says what would be right."""
    match = _REF.match(text)
    if match is None or match[1] not in KINDS or (kind is not None and match[1] != kind):
        raise ValueError(f"{text!r} is not an artifact id: expected {kind or 'KIND'}/ and 16 hexadecimal digits")
    return ArtifactRef(match[1], match[2])


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no white space, so that equal values have equal bytes. NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(stage: str, version: int, science: Any, inputs: dict[str, str]) -> str:
    """16 hexadecimal digits of SHA-256 over (stage, version, science config, input ids)."""
    body = canonical_json({"stage": stage, "version": version, "science": science, "inputs": inputs})
    return hashlib.sha256(body.encode()).hexdigest()[:16]
