"""The `probes` artifact: `probes.json`, all figures of an SAE on labelled documents (docs/probing.md says what each is)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sae.formats.artifact_files import ArtifactFilesLike

PROBES_JSON = "probes.json"


def write_probes(folder: Path, body: dict[str, Any]) -> list[str]:
    """Writes the figures and returns the file's name. A figure that is not finite is an error."""
    text = json.dumps(body, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    (folder / PROBES_JSON).write_text(text + "\n", encoding="utf-8")
    return [PROBES_JSON]


def read_probes(files: ArtifactFilesLike) -> dict[str, Any]:
    """The figures."""
    body: dict[str, Any] = json.loads(files.path(PROBES_JSON).read_text(encoding="utf-8"))
    return body
