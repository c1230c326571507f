"""Foreign SAEs that cannot be read: each says what is wrong, and runs nothing that a file brings along."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sae.calibration import Calibration
from sae.formats.sae_folder import load_sae, write_sae
from sae.importers import ForeignSae, ImportOptions, read_foreign
from sae.importers.tensors import SaeFormatError

D, F, K = 6, 12, 3
Tensors = dict[str, torch.Tensor]


def _random(shapes: dict[str, tuple[int, ...]]) -> Tensors:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


SAELENS: dict[str, Any] = {
    "architecture": "topk", "k": K, "d_in": D, "d_sae": F, "apply_b_dec_to_input": True, "normalize_activations": "none",
    "reshape_activations": "none", "metadata": {"sae_lens_version": "6.1.0", "hook_name": "blocks.1.hook_resid_post"},
}  # fmt: skip
PURSUIT = {"architecture": "matching_pursuit", "max_iterations": 3}
SHALLOW = {"W_enc": (D, F), "b_enc": (F,), "W_dec": (F, D), "b_dec": (D,)}
SPARSIFY = {"encoder.weight": (F, D), "encoder.bias": (F,), "W_dec": (F, D), "b_dec": (D,)}


def saelens(
    folder: Path, config: dict[str, Any] | None = None, tensors: Tensors | None = None, norm: float | None = None
) -> ForeignSae:
    (folder / "cfg.json").write_text(json.dumps(SAELENS | (config or {})))
    save_file(_random(SHALLOW) if tensors is None else tensors, folder / "sae_weights.safetensors")
    return _read("saelens", folder, "cfg.json", "sae_weights.safetensors", options=ImportOptions(activation_norm=norm))


def sparsify(folder: Path, config: dict[str, Any] | None = None, tensors: Tensors | None = None) -> ForeignSae:
    (folder / "cfg.json").write_text(
        json.dumps({"k": K, "d_in": D, "num_latents": F, "activation": "topk"} | (config or {}))
    )
    save_file(_random(SPARSIFY) if tensors is None else tensors, folder / "sae.safetensors")
    return _read("sparsify", folder, "cfg.json", "sae.safetensors")


def dictionary(folder: Path, trainer: dict[str, Any] | None = None, state: Any = None) -> ForeignSae:
    found = {"dict_class": "AutoEncoderTopK", "k": K, "layer": 1, "submodule_name": "resid_post_layer_1"} | (
        trainer or {}
    )
    (folder / "config.json").write_text(json.dumps({"trainer": found}))
    shapes = {"encoder.weight": (F, D), "encoder.bias": (F,), "decoder.weight": (D, F), "b_dec": (D,)}
    torch.save(
        _random(shapes) | {"k": torch.tensor(K), "threshold": torch.tensor(-1.0)} if state is None else state,
        folder / "ae.pt",
    )
    return _read("dictionary_learning", folder, "config.json", "ae.pt")


def gemma(folder: Path, where: str, **more: Any) -> ForeignSae:
    arrays = {name: tensor.numpy() for name, tensor in _random(SHALLOW | {"threshold": (F,)}).items()}
    np.savez(folder / "params.npz", **(arrays | more))
    return read_foreign("gemma_scope", {"params.npz": folder / "params.npz"}, where, ImportOptions())


def qwen(folder: Path, where: str, name: str = "layer3.sae.pt", k: int | None = None, **more: Any) -> ForeignSae:
    tensors = _random({"W_enc": (F, D), "b_enc": (F,), "W_dec": (D, F), "b_dec": (D,)})
    torch.save(tensors | more, folder / name)
    return read_foreign("qwen_scope", {name: folder / name}, where, ImportOptions(k=k))


def _read(format: str, folder: Path, *names: str, options: ImportOptions | None = None) -> ForeignSae:
    return read_foreign(format, {name: folder / name for name in names}, str(folder), options or ImportOptions())


class Code:
    """What a pickle with code in it does when it is run."""

    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


def _without(name: str) -> Tensors:
    return {key: value for key, value in _random(SHALLOW).items() if key != name}


def _nan() -> Tensors:
    tensors = _random(SHALLOW)
    tensors["W_dec"][3, 2] = torch.nan
    return tensors


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing tensor": (lambda p: saelens(p, tensors=_without("b_enc")), "has no tensor b_enc; it has W_dec"),
    "no decoder": (lambda p: saelens(p, tensors=_without("W_dec")), "has no tensor W_dec"),
    "extra tensor": (lambda p: saelens(p, tensors=_random(SHALLOW | {"W_extra": (D,)})), "does not have: W_extra"),
    "wrong shape": (lambda p: saelens(p, tensors=_random(SHALLOW | {"b_enc": (F + 1,)})), r"b_enc .* has shape \[13\]"),
    "no matrix": (lambda p: saelens(p, tensors=_random(SHALLOW | {"W_dec": (F,)})), "W_dec .* must be a matrix"),
    "NaN": (lambda p: saelens(p, tensors=_nan()), "W_dec .* has 1 of 72 values that are NaN or infinite"),
    "unknown architecture": (lambda p: saelens(p, {"architecture": "temporal"}), "'temporal', which RayLens does not have"),
    "k": (lambda p: saelens(p, {"k": None}), "k of cfg.json must be a whole number above 0, not None"),
    "width": (lambda p: saelens(p, {"d_sae": 13}), "cfg.json says d_sae = 13, but the weights have 12"),
    "head": (lambda p: saelens(p, {"reshape_activations": "hook_z"}), "reads single attention heads"),
    "scale": (lambda p: saelens(p, {"normalize_activations": "expected_average_only_in"}), "give `activation_norm`"),
    "norm without use": (lambda p: saelens(p, norm=3.0), "activation_norm has no effect on this SAE"),
    "whitening": (lambda p: saelens(p, {"normalize_activations": "covariance_whitening"}), "RayLens has none, layer_norm"),
    "old activation": (lambda p: saelens(p, {"metadata": None, "activation_fn_str": "tanh-relu"}), "function 'tanh-relu'"),
    "pursuit": (lambda p: saelens(p, PURSUIT, _random({"W_dec": (F, D), "b_dec": (D,)})), "stop_on_duplicate_support"),
    "groupmax": (lambda p: sparsify(p, {"activation": "groupmax"}), "the activation 'groupmax'"),
    "TopK transcoder": (lambda p: sparsify(p, {"transcode": True}), "of a TopK transcoder"),
    "sparsify width": (lambda p: sparsify(p, {"num_latents": 0, "expansion_factor": 4}), "num_latents = 24, but"),
    "class": (lambda p: dictionary(p, {"dict_class": "CrossCoder"}), "'CrossCoder'; RayLens reads AutoEncoder"),
    "dictionary k": (lambda p: dictionary(p, {"k": 4}), "config.json says k = 4, but the weights have 3"),
    "code": (lambda p: dictionary(p, state={"encoder.weight": Code()}), "a pickle with code, which RayLens does not run"),
    "object": (lambda p: dictionary(p, state={"encoder.weight": [1.0]}), "must hold tensors alone, but encoder.weight is none"),
    "fine-tuned": (lambda p: gemma(p, "x/layer_3", scaling_factor=np.float32(2)), "scaling_factor other than 1"),
    "attention": (lambda p: gemma(p, "google/gemma-scope-2b-pt-att/layer_3/w"), "read single attention heads"),
    "objects": (lambda p: gemma(p, "x", threshold=np.array([{}])), "no whole NumPy archive of numbers"),
    "unknown k": (lambda p: qwen(p, "somebody/saes"), "give `k`"),
    "large k": (lambda p: qwen(p, "somebody/saes", k=13), "k = 13 is larger than the 12 latents"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    read, message = REFUSED[name]
    with pytest.raises(SaeFormatError, match=message) as caught:
        read(tmp_path)
    assert len(str(caught.value)) < 500
    assert not (tmp_path / "ran").exists()


def test_broken_files_are_refused(tmp_path: Path) -> None:
    saelens(tmp_path)
    (tmp_path / "sae_weights.safetensors").write_bytes(b"\x10")
    with pytest.raises(SaeFormatError, match="no whole safetensors"):
        _read("saelens", tmp_path, "cfg.json", "sae_weights.safetensors")
    (tmp_path / "cfg.json").write_text("[1]")
    with pytest.raises(SaeFormatError, match="must hold an object, not list"):
        _read("saelens", tmp_path, "cfg.json", "sae_weights.safetensors")
    dictionary(tmp_path)
    (tmp_path / "ae.pt").write_bytes((tmp_path / "ae.pt").read_bytes()[:100])
    with pytest.raises(SaeFormatError, match=r"no whole file of torch\.save"):
        _read("dictionary_learning", tmp_path, "config.json", "ae.pt")


def test_where_the_hook_is_known_from(tmp_path: Path) -> None:
    assert saelens(tmp_path).hooks == ("blocks.1.hook_resid_post",)
    assert dictionary(tmp_path, {"submodule_name": "mlp_out_layer_5"}).hooks == ("blocks.5.hook_mlp_out",)
    assert dictionary(tmp_path, {"submodule_name": None}).hooks == ()
    folder = tmp_path / "layers.7.mlp"
    folder.mkdir()
    assert sparsify(folder).hooks[:2] == ("layers.7.mlp", "model.layers.7.mlp")
    assert gemma(tmp_path, "google/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71").hooks == (
        "blocks.20.hook_resid_post",
    )
    assert gemma(tmp_path, "google/gemma-scope-2b-pt-mlp/layer_3/width_16k/average_l0_7").hooks == (
        "blocks.3.hook_mlp_out",
    )
    assert gemma(tmp_path, "/data/saes").hooks == ()
    found = qwen(tmp_path, "Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_3")
    assert (found.hooks, found.export.config["k"]) == (("blocks.3.hook_resid_post",), 3)


def test_conventions_of_each_format(tmp_path: Path) -> None:
    """b_dec at the input, transposes and thresholds are as each library has them."""
    w, x = _random(SHALLOW | {"threshold": (F,)}), torch.randn(9, D)
    for foreign, pre in (
        (gemma(tmp_path, "google/gemma-scope-2b-pt-res/layer_3/w"), x @ w["W_enc"] + w["b_enc"]),
        (saelens(tmp_path, {"apply_b_dec_to_input": False}), x @ w["W_enc"] + w["b_enc"]),
        (saelens(tmp_path), (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]),
    ):
        t, config = foreign.export.tensors, foreign.export.config
        given = x - t["b_dec"] if config["apply_b_dec_to_input"] else x
        torch.testing.assert_close(given @ t["W_enc"] + t["b_enc"], pre)
    found = qwen(tmp_path, "a/b-L0_3").export
    assert found.tensors["W_enc"].shape == (D, F) and found.config["apply_b_dec_to_input"] is False


def test_a_known_scale_is_folded_in(tmp_path: Path) -> None:
    """The SAE on raw x is the trained one on x * sqrt(d) / norm, in the units of x."""
    config = {"architecture": "standard", "normalize_activations": "expected_average_only_in"}
    found = saelens(tmp_path, config, norm=7.0).export
    w, t, x = _random(SHALLOW), found.tensors, torch.randn(9, D)
    scale = D**0.5 / 7.0
    latents = ((x * scale - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
    ours = ((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]).relu()
    torch.testing.assert_close(ours, latents)
    torch.testing.assert_close(ours @ t["W_dec"] + t["b_dec"], (latents @ w["W_dec"] + w["b_dec"]) / scale)
    assert found.config["normalize_activations"] == "none"


def test_half_precision_becomes_fp32_and_our_own_name_is_kept(tmp_path: Path) -> None:
    tensors = {name: tensor.bfloat16() for name, tensor in _random(SHALLOW | {"threshold": (F,)}).items()}
    metadata = SAELENS["metadata"] | {"raylens": {"architecture": "batchtopk"}}
    found = saelens(tmp_path, {"architecture": "jumprelu", "metadata": metadata}, tensors)
    assert found.architecture == "batchtopk"
    assert all(one.dtype == torch.float32 for one in found.export.tensors.values())
    wrong = saelens(tmp_path, {"metadata": SAELENS["metadata"] | {"raylens": {"architecture": "gated"}}})
    assert wrong.architecture == "topk"


def test_old_saelens_config_is_read_as_version_6_reads_it(tmp_path: Path) -> None:
    old = {"metadata": None, "architecture": "standard", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 2},
           "hook_point": "blocks.0.hook_resid_pre", "model_name": "gpt2-small", "normalize_activations": False}  # fmt: skip
    found = saelens(tmp_path, old)
    assert (found.architecture, found.export.config["k"], found.hooks) == ("topk", 2, ("blocks.0.hook_resid_pre",))


def test_an_sae_of_a_centred_residual_stream_reads_and_makes_centred_activations(tmp_path: Path) -> None:
    """TransformerLens' `center_writing_weights`: the mean over dimensions is neither encoded nor lost."""
    kwargs = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}
    plain = saelens(tmp_path, {"architecture": "standard"})
    calibration = Calibration("x", 1.0, 3.0, 1.0, torch.zeros(D), 1, 1, 0)
    for name, metadata in (("plain", {}), ("centred", kwargs)):
        write_sae(tmp_path / name, plain.architecture, plain.export, {"hook_name": "x", **metadata}, calibration, {})
    one, other = load_sae(tmp_path / "plain"), load_sae(tmp_path / "centred")
    x = torch.randn(9, D) + 3
    mean = x.mean(1, keepdim=True)
    assert torch.equal(other.encode(x), one.encode(x - mean))
    torch.testing.assert_close(other.reconstruct(x), one.reconstruct(x - mean) + mean)
    with pytest.raises(ValueError, match="give the activations too"):
        other.decode(other.encode(x))
