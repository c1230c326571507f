"""Run by the peers' python: makes SAEs with each library, and loads with it what RayLens exported.

    .venv-peers/bin/python tests/interop/peers.py JOBS.json

JOBS.json is a list of {"do": "make" or "load", "library", "kind" (of make), "folder", "x": a file with "x" [n, d], "out"}.
`make` saves a random SAE with the library's own code; both write {"encode", "forward"} of x, by the library's own code, to `out`.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

D, F, K = 48, 192, 8


class _Missing(types.ModuleType):
    """Stands in for a library that is imported but not used here: anything may be imported from it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return object


def _import_without(module: str, *unused: str) -> None:
    """Imports a module although libraries that it imports, but does not use to load SAEs and caches, are not installed."""
    import datasets  # noqa: F401 - it looks for some of them, and must not find what stands in

    stubs = [name for name in unused if name not in sys.modules]
    for name in stubs:
        sys.modules[name] = _Missing(name)
    importlib.import_module(module)
    for name in stubs:
        del sys.modules[name]


def _import_dictionary_learning() -> None:
    _import_without("dictionary_learning.utils", "nnsight", "zstandard")


def _randomise(parameters: dict[str, torch.Tensor], seed: int, skip: tuple[str, ...] = ()) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in sorted(parameters.items()):
        if name not in skip and tensor.is_floating_point():
            scale = 0.15 if tensor.ndim == 2 else 0.1
            tensor.data.copy_(scale * torch.randn(tensor.shape, generator=generator))
            if "threshold" in name:
                tensor.data.abs_()


def _saelens(kind: str, folder: Path) -> None:
    import sae_lens as lens
    from sae_lens.saes.sae import SAEMetadata

    metadata = SAEMetadata(model_name="gpt2", hook_name="blocks.1.hook_resid_post", context_size=64, prepend_bos=True)
    shared: dict[str, Any] = {"d_in": D, "d_sae": F, "metadata": metadata}
    name, _, option = kind.partition("+")
    if option == "no_b_dec":
        shared["apply_b_dec_to_input"] = False
    elif option in ("layer_norm", "constant_norm_rescale"):
        shared["normalize_activations"] = option
    elif option == "free":
        shared["rescale_acts_by_decoder_norm"] = True
    if name == "topk":
        shared["k"] = K
    if "transcoder" in name:
        shared |= {"d_out": D, "apply_b_dec_to_input": False}
        metadata.hook_name = "blocks.1.ln2.hook_normalized"
        metadata.hook_name_out = "blocks.1.hook_mlp_out"
    if name == "matching_pursuit":
        shared |= {"max_iterations": K, "residual_threshold": 0.01, "stop_on_duplicate_support": False}
    sae_class, config_class = lens.registry.get_sae_class(name)
    sae = sae_class(config_class(**shared))
    _randomise(dict(sae.named_parameters()), len(kind))
    if name == "matching_pursuit":
        sae.W_dec.data /= sae.W_dec.data.norm(dim=1, keepdim=True)
    sae.save_model(folder)


def _sparsify(kind: str, folder: Path) -> None:
    from sparsify import SparseCoder, SparseCoderConfig

    coder = SparseCoder(D, SparseCoderConfig(num_latents=F, k=K))
    _randomise(dict(coder.named_parameters()), 3)
    coder.save_to_disk(folder / "h.1")


def _dictionaries() -> dict[str, Callable[[], Any]]:
    _import_dictionary_learning()
    from dictionary_learning import dictionary as d
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    return {
        "AutoEncoder": lambda: d.AutoEncoder(D, F),
        "AutoEncoderNew": lambda: d.AutoEncoderNew(D, F),
        "GatedAutoEncoder": lambda: d.GatedAutoEncoder(D, F),
        "JumpReluAutoEncoder": lambda: d.JumpReluAutoEncoder(D, F),
        "AutoEncoderTopK": lambda: AutoEncoderTopK(D, F, K),
        "BatchTopKSAE": lambda: BatchTopKSAE(D, F, K),
        "MatryoshkaBatchTopKSAE": lambda: MatryoshkaBatchTopKSAE(D, F, K, [F // 4, F // 4, F // 2]),
    }


def _dictionary_learning(kind: str, folder: Path) -> None:
    sae = _dictionaries()[kind]()
    _randomise(dict(sae.named_parameters()), len(kind))
    if hasattr(sae, "threshold") and sae.threshold.ndim == 0 and kind != "AutoEncoderTopK":
        sae.threshold.fill_(0.4)
    torch.save(sae.state_dict(), folder / "ae.pt")
    trainer = {"dict_class": kind, "activation_dim": D, "dict_size": F, "layer": 1, "lm_name": "gpt2",
               "submodule_name": "resid_post_layer_1"}  # fmt: skip
    if hasattr(sae, "k"):
        trainer["k"] = K
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {}}))


def _run_saelens(folder: Path, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    from sae_lens import SAE

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sae = SAE.load_from_disk(folder)
    return sae.encode(x), sae(x)


def _run_sparsify(folder: Path, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    from sparsify import SparseCoder

    coder = SparseCoder.load_from_disk(next(iter(folder.glob("*/cfg.json"))).parent)
    found = coder.encode(x)
    dense = torch.zeros(len(x), F).scatter_(1, found.top_indices.long(), found.top_acts)
    return dense, coder(x).sae_out


def _run_dictionary_learning(folder: Path, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    _import_dictionary_learning()
    from dictionary_learning.utils import load_dictionary

    path = next(iter(folder.rglob("ae.pt"))).parent
    sae, _ = load_dictionary(str(path), "cpu")
    return sae.encode(x), sae(x)


class _Rows:
    """All rows as one batch: what evaluations read of an activation store."""

    def __init__(self, rows: torch.Tensor) -> None:
        self._rows = rows

    def get_batch_tokens(self, size: int) -> torch.Tensor:
        return self._rows


def _evaluate(job: dict[str, Any]) -> None:
    """The library's own evaluation of the SAE of `folder` at a module of the Hugging Face model `model`, on `tokens` [n, L]."""
    from sae_lens import SAE
    from sae_lens.load_model import load_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sae = SAE.load_from_disk(job["folder"])
    model = load_model("AutoModelForCausalLM", job["model"], "cpu")
    rows = load_file(job["tokens"])["tokens"]
    store, options = (
        _Rows(rows),
        {"compute_l2_norms": True, "compute_sparsity_metrics": True, "compute_variance_metrics": True},
    )
    options |= {
        "compute_featurewise_density_statistics": False,
        "model_kwargs": {},
        "n_batches": 1,
        "eval_batch_size_prompts": len(rows),
    }
    losses = {"compute_kl": True, "compute_ce_loss": True}
    sae.cfg.metadata.hook_name = job["hook"]
    with torch.no_grad():
        if job["library"] == "saelens":
            from sae_lens import evals
            from sae_lens.training.activation_scaler import ActivationScaler

            figures, _ = evals.get_sparsity_and_variance_metrics(sae, model, store, ActivationScaler(), **options)
            found = evals.get_recons_loss(sae, model, ActivationScaler(), rows, **losses)
        else:
            from sae_bench.evals.core import main as core

            for name, value in (("hook_name", job["hook"]), ("hook_head_index", None), ("hook_layer", 0)):
                setattr(sae.cfg, name, value)  # it expects the config of an earlier SAELens
            figures, _ = core.get_sparsity_and_variance_metrics(sae, model, store, **options)
            found = core.get_recons_loss(sae, model, rows, store, **losses)
    # The last position predicts nothing: its divergence is left out, as RayLens does.
    figures |= {name: float(value[:, : rows.shape[1] - 1].double().mean()) for name, value in found.items()}
    Path(job["out"]).write_text(json.dumps(figures))


MAKE = {"saelens": _saelens, "sparsify": _sparsify, "dictionary_learning": _dictionary_learning}
RUN = {"saelens": _run_saelens, "sparsify": _run_sparsify, "dictionary_learning": _run_dictionary_learning}


def _delphi(job: dict[str, Any]) -> None:
    """What delphi's own loader makes of a cache: its activations as (row, position, latent, value)."""
    _import_without("delphi.latents.loader", "faiss", "sentence_transformers", "orjson", "blobfile")
    from delphi.latents.loader import TensorBuffer

    parts = []
    for path in sorted(Path(job["folder"]).glob("*/*.safetensors")):
        locations, activations, tokens = TensorBuffer(str(path), path.parent.name).load()
        parts.append((locations, activations.float(), tokens))
    save_file(
        {
            "locations": torch.cat([p[0] for p in parts]).contiguous(),
            "activations": torch.cat([p[1] for p in parts]).contiguous(),
            "tokens": parts[0][2].contiguous(),
        },
        job["out"],
    )


def main(path: str) -> None:
    for job in json.loads(Path(path).read_text()):
        if job["library"] == "delphi":
            _delphi(job)
            continue
        if job["do"] == "evaluate":
            _evaluate(job)
            continue
        folder = Path(job["folder"])
        if job["do"] == "make":
            folder.mkdir(parents=True, exist_ok=True)
            MAKE[job["library"]](job["kind"], folder)
        x = load_file(job["x"])["x"]
        with torch.no_grad():
            encode, forward = RUN[job["library"]](folder, x)
        save_file({"encode": encode.contiguous(), "forward": forward.contiguous()}, job["out"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
