"""Models that are to be read in 8 or 4 bits: recorded in their folder, and refused where they cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from configs.download import DownloadConfig, Quantization
from jobs.stages.download import STAGE
from sae.language_model import LanguageModel, ModelError, quantization
from sae.language_model.quantization import loading_options, read_quantization, write_quantization
from sae.language_model.unembedding_files import unembedding_of_folder


@pytest.fixture
def folder(tiny_gpt2: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_gpt2, tmp_path / "model"))


@pytest.mark.parametrize("wanted", ["8bit", "4bit"])
def test_a_cpu_refuses_a_model_that_is_to_be_quantized(folder: Path, wanted: Quantization) -> None:
    assert read_quantization(folder) is None
    write_quantization(folder, wanted)
    assert read_quantization(folder) == wanted
    with pytest.raises(ModelError, match=rf"read in {wanted[0]} bits, which needs a GPU.*device cpu"):
        LanguageModel.load(folder)


def test_what_directions_promote_needs_no_gpu(folder: Path) -> None:
    write_quantization(folder, "8bit")
    assert not isinstance(unembedding_of_folder(folder, "blocks.1.hook_resid_post"), str)


def test_a_file_of_another_kind_is_refused(folder: Path) -> None:
    for content in ("{", '{"method": "gptq", "bits": 4}', '{"method": "bitsandbytes", "bits": 3}', "[]"):
        (folder / "quantization.json").write_text(content)
        with pytest.raises(ModelError, match="does not say 8 or 4 bits"):
            LanguageModel.load(folder)


def test_a_gpu_without_the_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="package bitsandbytes on every node"):
        loading_options("4bit", torch.bfloat16, torch.device("cuda"))


def test_transformers_is_told_the_bits_and_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "find_spec", lambda name: object())
    options = loading_options("8bit", torch.bfloat16, torch.device("cuda:0"))
    assert options["quantization_config"].load_in_8bit
    assert options["device_map"] == {"": torch.device("cuda:0")}


def test_it_is_another_model(tiny_gpt2: Path) -> None:
    source = {"type": "local", "path": str(tiny_gpt2)}
    refs = {
        wanted: STAGE.outputs(DownloadConfig.model_validate({"what": "model", "source": source, **wanted_field}), {}, "")[0].ref
        for wanted, wanted_field in (
            ("stored", {}), ("8bit", {"quantization": "8bit"}), ("4bit", {"quantization": "4bit"})
        )
    }  # fmt: skip
    assert len(set(refs.values())) == 3
    with pytest.raises(ValueError, match="`quantization` belongs to `what: model`"):
        DownloadConfig.model_validate({"what": "dataset", "source": source, "quantization": "8bit"})
