"""Small artifacts in the real formats, for the tests of the report. No model is run: the codes are drawn by a seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from sae.features.histogram import BINS, LOWEST, PER_OCTAVE
from sae.features.logit_lens import Ranked
from sae.features.sampling import Quota
from sae.features.sketch import Sketch, Space, sketch
from sae.features.sketch_file import SketchFile, save_sketch
from sae.features.tables import PROBABILITIES, Directions, write_tables
from sae.features.write_features import merged_blocks
from sae.formats.artifact_files import LocalFiles
from sae.formats.features import FeaturesInfo, write_info
from sae.formats.labels import LabelsInfo, write_labels
from sae.formats.tokens import Role, Segments, TokensInfo, write_shard
from sae.report.sources import Artifacts

END = "<|endoftext|>"
XSS = "</script><script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"
TEXTS = (
    "The river runs past the old mill and the white bridge.\nThe mill grinds rye.",
    f"Do not run this: {XSS} and <!-- this & that -->.",
    "Smiles 😀 and 日本語 and naïve é are written in several bytes each 🏴‍☠️.\tA tab, a \x1b control and a \u202e turn.",
    "Numbers: 1, 2, 3 and 4; the seven bridges of the river are old.",
)
LENGTH, ROWS, FEATURES, DEAD = 32, 24, 60, 7
HOOK, OTHER_HOOK = "blocks.1.hook_resid_post", "blocks.1.ln2.hook_normalized"
INPUTS = {"sae": "saes/00000000000000aa", "tokens": "tokens/00000000000000bb", "model": "models/00000000000000cc"}


def _write_labels(folder: Path, d_sae: int) -> None:
    """Every feature but two has two labels, one of them hostile; an example of steering whose text is hostile."""
    folder.mkdir()
    scores = {"permuted_score": 0.5, "difference": 0.4, "difference_low": 0.3, "difference_high": 0.5, "beats": True}
    features: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    for feature in range(d_sae):
        row = {"feature": feature, "type": "tokens", "active_explain": 9, "active_test": 9}
        if feature in (3, DEAD):
            features.append(row | {"type": "obscure"})
            continue
        texts = [f"tokens: 'river {feature}'", f"tokens: {XSS}"]
        features.append(row | scores | {"label": texts[0], "method": "tokens", "label_score": 0.9})
        for rank, (text, method) in enumerate(zip(texts, ("tokens", "context"), strict=True)):
            one = {"feature": feature, "rank": rank, "method": method, "label": text, "phrases": [["river"]]}
            one |= {"context": [], "follows": False, "evidence_rows": [0], "evidence_positions": [1]}
            one |= {"score": 0.9, "score_low": 0.8, "score_high": 0.95, "precision": 0.7, "recall": None}
            labels.append(one | scores | {"permuted_feature": 1, "test_active": 5, "test_near": 5, "test_random": 5})
    said = {"text": f"Once {XSS}", "strength": 3.0, "kl": 1.0, "change": 0.2, "perplexity": 9.5, "repetition": 0.0}
    steering = {"prompt": "The river", "kl_budget": 1.0, "unsteered": {**said, "positions": 0}, "problem": None}
    steering["answers"] = [{"feature": f, "control": f == 2, "label": None, **said, "positions": 30} for f in (1, 2)]
    info = LabelsInfo(
        rows=ROWS, explain_positions=300, test_positions=310, n_features=d_sae, labelled=d_sae - 2, beats=d_sae - 2,
        types={"tokens": d_sae - 2, "obscure": 2}, effects={"measured": 0}, steering=steering, settings={}, inputs=INPUTS,
    )  # fmt: skip
    write_labels(folder, features, labels, info)


def tokenizer() -> Tokenizer:
    """A byte-level BPE of 330 tokens, so that most characters outside ASCII are split over tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=[END], initial_alphabet=alphabet, show_progress=False, min_frequency=1
    )
    made.train_from_iterator([TEXTS[0], TEXTS[3]], trainer)
    return made


def write_artifacts(
    root: Path,
    attention: str = "row",
    d_sae: int = FEATURES,
    lens: bool = True,
    architecture: str = "topk",
    labels: bool = False,
) -> Artifacts:
    """All artifacts of one report below `root`; without a logit lens at another hook."""
    for name in ("features", "evaluation", "sae", "tokens", "model"):
        (root / name).mkdir(parents=True)
    made = tokenizer()
    made.save(str(root / "model/tokenizer.json"))
    write_json(root / "model/config.json", {"architectures": ["GPT2LMHeadModel"]})
    ids, roles = _write_tokens(root / "tokens", made, attention)
    _write_features(root / "features", made, ids, roles, lens)
    metadata = {
        "hook_name": HOOK if lens else OTHER_HOOK,
        "hf_hook_name": "transformer.h.1",
        "model_name": "tiny <model>",
        "raylens": {"architecture": architecture, "target_l0": 3},
    }
    # As training writes it: SAELens runs a BatchTopK SAE as a JumpReLU one.
    exported = {"architecture": "topk", "k": 3} if architecture == "topk" else {"architecture": "jumprelu"}
    write_json(root / "sae/cfg.json", {**exported, "d_in": 8, "d_sae": d_sae, "metadata": metadata})
    steps = np.arange(1200)
    curves = {"step": steps, "rows": 8.0 * (steps + 1), "tokens": np.full(1200, 250.0), "mse": 1 / (1 + steps / 99)}
    curves |= {
        "l0": np.full(1200, 3.0),
        "dead": np.zeros(1200),
        "aux": np.full(1200, np.nan),
        "lr": np.full(1200, 1e-3),
    }
    pq.write_table(pa.table(curves), root / "sae/curves.parquet")
    metrics = {"sae": INPUTS["sae"], "split": "test", "rows": 4, "tokens": 118, "ev": 0.81, "l0": 3.0, "excluded": {}}
    metrics |= {"alive_share": 0.9, "ce_clean": 2.0, "ce_sae": 2.5, "ce_zero": 9.0, "ce_mean": 8.0, "kl_sae": 0.1}
    metrics |= {"ce_score_zero": 0.93, "ce_score_mean": 0.92, "kl_score_zero": 0.97, "kl_score_mean": None}
    ev = {"value": 0.81, "low": 0.8, "high": 0.82}
    control = {"control": "frozen decoder", "value": 0.5, "low": 0.4, "high": 0.6}
    control["difference"] = {"value": 0.31, "low": None, "high": None}
    metrics["card"] = {
        "unit": "documents", "units": 9, "method": "By <hand>.", "seeds": [],
        "controls": [{"control": "frozen decoder", "sae": "saes/00000000000000dd"}],
        "figures": [
            {"figure": "ev", "over": "documents", "sae": ev, "controls": [control]},
            {"figure": "dead_share", "over": "latents", "sae": ev, "controls": []},
        ],
    }  # fmt: skip
    write_json(root / "evaluation/metrics.json", metrics)
    if labels:
        _write_labels(root / "labels", d_sae)
    return Artifacts(**{name: LocalFiles(root / name) for name in Artifacts._fields if (root / name).exists()})


def write_json(path: Path, body: Any) -> None:
    path.write_text(json.dumps(body), encoding="utf-8")


def _write_tokens(folder: Path, made: Tokenizer, attention: str) -> tuple[np.ndarray, np.ndarray]:
    end = made.token_to_id(END)
    documents = [[*made.encode(TEXTS[i % len(TEXTS)]).ids, end] for i in range(40)]
    flat = np.array([token for document in documents for token in document][: ROWS * LENGTH], np.int32)
    document = np.repeat(np.arange(len(documents)), [len(d) for d in documents])[: ROWS * LENGTH].reshape(ROWS, LENGTH)
    ids = flat.reshape(ROWS, LENGTH)
    roles = np.where(ids == end, Role.SEPARATOR, Role.DATA).astype(np.uint8)
    ids[-1, -5:], roles[-1, -5:] = end, Role.PAD
    new = np.ones((ROWS, LENGTH), bool)
    new[:, 1:] = document[:, 1:] != document[:, :-1]
    row, start = np.nonzero(new)
    splits = np.searchsorted(row, np.arange(ROWS + 1))
    segments = Segments(splits, document[new], start.astype(np.int32), np.zeros(len(row), np.int64))
    write_shard(folder / "train-00000.parquet", "train", ids, roles, segments)
    counts = {"rows": ROWS, "tokens": ROWS * LENGTH, "roles": {}, "documents": 40, "shards": 1}
    info = TokensInfo(LENGTH, attention, "eos", False, 64, made.get_vocab_size(), None, end, end, {"train": counts})
    info.save(folder / "tokens.json")
    return ids, roles


def _write_features(folder: Path, made: Tokenizer, ids: np.ndarray, roles: np.ndarray, lens: bool) -> None:
    space, quota = Space(FEATURES, ROWS, LENGTH), Quota(6, 2, 4, 0)
    save_sketch(_codes(ids, roles, space), space, folder / "sketch")
    file = SketchFile(folder / "sketch")
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, made.get_vocab_size(), (FEATURES, 8), generator=generator)
    near = torch.stack([torch.arange(FEATURES).roll(-1 - i) for i in range(3)], 1)
    falling = torch.linspace(2, 1, 8).expand(FEATURES, 8)
    sides = (Ranked(tokens, falling), Ranked(tokens.flip(1), -falling)) if lens else (None, None)
    directions = Directions(Ranked(near, falling[:, :3] / 4), *sides, lambda t: str(t))
    totals = file.totals
    write_tables(folder, totals, merged_blocks([file], space, quota), directions, space, quota, 4)
    info = FeaturesInfo(
        hook=HOOK if lens else OTHER_HOOK, split="train", rows=ROWS, context_length=LENGTH, tokens=ROWS * LENGTH,
        data_positions=totals.positions, excluded=totals.excluded, n_features=FEATURES,
        alive=int((totals.counts > 0).sum()), l0=float(totals.counts.sum() / totals.positions),
        quantile_probabilities=PROBABILITIES, histogram={"per_octave": PER_OCTAVE, "lowest": LOWEST, "bins": BINS},
        window={"before": 32, "after": 16}, settings={}, inputs=INPUTS,
        no_logit_lens=None if lens else f"{OTHER_HOOK} is neither the residual stream nor added to it",
    )  # fmt: skip
    write_info(folder / "features.json", info)


def _codes(ids: np.ndarray, roles: np.ndarray, space: Space) -> Sketch:
    """Three features a data position; feature 7 never fires, and higher features fire less often."""
    rng = np.random.default_rng(0)
    row, position = np.nonzero(roles == Role.DATA)
    chosen = np.sort((FEATURES * rng.random((len(row), 3)) ** 2).astype(np.int64), axis=1)
    keep = np.ones(chosen.shape, bool)
    keep[:, 1:] = chosen[:, 1:] != chosen[:, :-1]
    keep &= chosen != DEAD
    at, _ = np.nonzero(keep)
    value = rng.lognormal(size=len(at)).astype(np.float32)
    excluded = {"separator": int((roles == Role.SEPARATOR).sum()), "pad": int((roles == Role.PAD).sum()), "sink": 0}
    return sketch(chosen[keep], row[at], position[at], value, len(row), excluded, space)
