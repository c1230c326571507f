"""`import` and `export` with options in place of a config file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from configs.load import ConfigError
from jobs.__main__ import _parser
from jobs.format_commands import config_given
from tests.actors.extract_world import MODEL, TOKENS


def test_command_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    shared = ["--format", "saelens", "--model", str(MODEL), "--tokens", str(TOKENS)]

    def config(*arguments: str) -> Any:
        return config_given(_parser().parse_args(list(arguments)))

    assert config("import", "--from", "run", *shared).source.path == str(tmp_path / "run")
    hub = config(
        "import",
        "--from",
        "google/gemma-scope-2b-pt-res@main/layer_20/width_16k",
        *shared[:1],
        "gemma_scope",
        *shared[2:],
    )
    assert (hub.source.repo, hub.source.revision, hub.part) == (
        "google/gemma-scope-2b-pt-res",
        "main",
        "layer_20/width_16k",
    )
    assert config("import", "--from", "run", *shared, "--set", "policy.sink_factor=5").policy.sink_factor == 5
    with pytest.raises(ConfigError, match="--tokens missing"):
        config("import", "--from", "run", *shared[:4])
    with pytest.raises(ConfigError, match="give --config or --format"):
        config("export", "--config", "x.yaml", "--format", "saelens")
    assert config("export", "--config", "x.yaml") is None
    with pytest.raises(SystemExit):
        config("export", "--sae", f"saes/{'1' * 16}", "--format", "saelens", "--to", "..")
    assert "is not an empty folder" in capsys.readouterr().err
