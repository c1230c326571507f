"""Models are called what they are: by a GGUF file's metadata, or by config.json."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from configs.download import LocalSource
from sae.sources import resolve_source
from sae.sources.model_label import model_label


def gguf(path: Path, fields: dict[str, str | int | list[str]]) -> Path:
    """A GGUF header with metadata and no tensors."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def value(of: str | int | list[str]) -> bytes:
        if isinstance(of, int):
            return struct.pack("<II", 4, of)
        if isinstance(of, list):
            return struct.pack("<IIQ", 9, 8, len(of)) + b"".join(text(item) for item in of)
        return struct.pack("<I", 8) + text(of)

    body = b"".join(text(key) + value(of) for key, of in fields.items())
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, len(fields)) + body)
    return path


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"general.basename": "gemma-2", "general.size_label": "2B", "general.finetune": "it"}, "gemma-2-2B-it"),
        ({"general.languages": ["en"], "general.name": "Smol 135M"}, "Smol 135M"),
        ({"general.architecture": "llama", "llama.block_count": 3}, "llama"),
        ({"tokenizer.ggml.model": "gpt2", "general.name": "behind the tables"}, "x.gguf"),
    ],
)
def test_a_gguf_file(fields: dict[str, str | int | list[str]], label: str, tmp_path: Path) -> None:
    path = gguf(tmp_path / "x.gguf", fields)
    assert model_label(path, "x.gguf") == label
    assert resolve_source(LocalSource(path=str(path)), "model").label == label


@pytest.mark.parametrize(
    ("config", "label"),
    [
        ({"model_type": "gpt2", "n_layer": 3, "n_embd": 48}, "folder (gpt2, 3 layers, d_model 48)"),
        ({"model_type": "gemma3", "text_config": {"num_hidden_layers": 4}}, "folder (gemma3, 4 layers)"),
        ({"model_type": "llama", "_name_or_path": "HuggingFaceTB/SmolLM2-135M"}, "HuggingFaceTB/SmolLM2-135M"),
        ({"model_type": "llama", "_name_or_path": "/home/me/model"}, "folder (llama)"),
        ({}, "folder"),
        ([], "folder"),
    ],
)
def test_a_folder(config: object, label: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert model_label(tmp_path, "folder") == label


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\xff" * 60, b"GGUF" + bytes(60)])
def test_what_cannot_be_read_keeps_its_file_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "gemma.gguf").write_bytes(content)
    assert model_label(tmp_path / "gemma.gguf", "gemma.gguf") == "gemma.gguf"
