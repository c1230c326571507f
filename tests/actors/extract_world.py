"""A store with everything that extraction reads: a tiny model, tokens, SAEs on two hooks, and a cache."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actors.evaluator import Evaluator
from actors.extractor import Extractor, Merger
from actors.harvester import Harvester
from actors.prober import Prober
from actors.synthesizer import Synthesizer
from cluster.store import Manifest, Store
from configs.artifact_ids import ArtifactRef, fingerprint
from configs.data_positions import DataPolicy
from configs.extract import ExtractConfig
from configs.requirements import Requirement
from configs.train import TrainConfig
from jobs.life.stage_context import JobContext, Output
from jobs.stages import extract, harvest
from sae.architectures import Export
from sae.calibration import calibrate
from sae.formats.sae_folder import write_sae
from sae.formats.tokens import Role, Segments, TokensInfo, TokensReader, shard_name, write_shard
from sae.language_model import LanguageModel, load_tokenizer
from sae.row_activations import calibration_batches
from tests.tiny_model import documents

HOOKS = ("blocks.1.hook_resid_post", "blocks.2.hook_resid_post")
ROWS, LENGTH, WIDTH, K = 26, 48, 96, 6
POLICY = DataPolicy(calibration_rows=8)
MODEL, TOKENS = ArtifactRef("models", "0" * 16), ArtifactRef("tokens", "1" * 16)
REQUIREMENT = Requirement(workers=1, cpus=1, threads=1)


def make_world(root: Path, gpt2: Path) -> Store:
    """Makes the store with model and tokens."""
    store = Store.open(str(root / "store"), str(root / "cache"))
    model = root / "model"
    shutil.copytree(gpt2, model)
    put_artifact(store, MODEL, model)
    put_artifact(store, TOKENS, write_tokens(root / "tokens", load_tokenizer(gpt2)))
    return store


def put_artifact(store: Store, ref: ArtifactRef, folder: Path, **fields: Any) -> None:
    """Publishes a folder as an artifact."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files = tuple(store.put(ref, 1, name, folder / name) for name in names)
    store.commit(Manifest(kind=ref.kind, id=ref.id, stage="test", stage_version=1, attempt=1, files=files, **fields))


def write_tokens(folder: Path, tokenizer: Any) -> Path:
    """Rows with BOS, separators and padding, one document after another."""
    folder.mkdir()
    ids, roles = np.zeros((ROWS, LENGTH), np.int32), np.full((ROWS, LENGTH), Role.PAD, np.uint8)
    stream = [t for text in documents(60, seed=3) for t in [*tokenizer(text)["input_ids"], -1]]
    for row in range(ROWS):
        taken = np.array(stream[row * (LENGTH - 1) : (row + 1) * (LENGTH - 1)])
        n = LENGTH - (5 if row % 4 == 0 else 0)
        ids[row, 0], roles[row, 0] = 0, Role.BOS
        ids[row, 1:n] = np.maximum(taken, 0)[: n - 1]
        roles[row, 1:n] = np.where(taken < 0, Role.SEPARATOR, Role.DATA)[: n - 1]
    splits = np.arange(ROWS + 1)
    start, zeros = np.ones(ROWS, np.int32), np.zeros(ROWS, np.int64)
    write_shard(folder / shard_name("train", 0), "train", ids, roles, Segments(splits, splits[:-1], start, zeros))
    counts = {"rows": ROWS, "tokens": ROWS * LENGTH, "roles": {}, "documents": ROWS, "shards": 1}
    TokensInfo(LENGTH, "row", "eos", True, 64, 640, 0, 0, 0, {"train": counts}).save(folder / "tokens.json")
    return folder


def train_config(cache: str | None, hooks: tuple[str, ...] = HOOKS[:1]) -> TrainConfig:
    """The config of a training that read a cache of dtype `cache`, or streamed."""
    return TrainConfig.model_validate(
        {
            "model": str(MODEL),
            "tokens": str(TOKENS),
            "saes": [{"hook": hook, "d_sae": WIDTH, "k": K} for hook in hooks],
            "batch_rows": 4,
            "lanes": 2,
            "lm_dtype": "fp32",
            "autocast": "off",
            "policy": POLICY.model_dump(),
            "cache": None if cache is None else {"dtype": cache, "rows_per_chunk": 8},
        }
    )


def make_cache(store: Store, config: TrainConfig, scratch: Path) -> ArtifactRef:
    """Harvests what `config` reads, with the real stage."""
    wanted = config.harvest()
    assert wanted is not None
    fp = fingerprint("harvest", 1, wanted.science(), {})
    given = {"model": [MODEL], "tokens": [TOKENS]}
    outputs = harvest.outputs(wanted, given, fp)
    scratch.mkdir()
    harvest.run(JobContext(wanted, outputs, store, scratch, given, fp, requirement=REQUIREMENT))
    return outputs[0].ref


def make_saes(store: Store, config: TrainConfig, cache: ArtifactRef | None, root: Path) -> list[ArtifactRef]:
    """Random SAEs with the calibration that training would give them."""
    lm = LanguageModel.load(store.files(MODEL).directory())
    reader = TokensReader(store.files(TOKENS), "train")
    refs = []
    for number, sae in enumerate(config.saes):
        generator = torch.Generator().manual_seed(number)
        directions = torch.nn.functional.normalize(torch.randn(WIDTH, lm.d_model, generator=generator), dim=1)
        batches = calibration_batches(lm, reader, lm.hook(sae.hook), POLICY.calibration_rows, config.lane_rows)
        calibration = calibrate(sae.hook, batches, POLICY)
        bias = torch.zeros(WIDTH)
        bias[7] = -1e9  # a feature that never fires
        tensors = {"W_enc": directions.T, "b_enc": bias, "W_dec": directions, "b_dec": calibration.mean}
        export = Export(tensors, {"architecture": "topk", "k": K, "apply_b_dec_to_input": True})
        ref = ArtifactRef("saes", fingerprint("train", 1, config.science(), {"n": f"{number}"}))
        folder = root / ref.id
        metadata = {"hook_name": sae.hook, "hf_hook_name": ""}
        write_sae(folder, "topk", export, metadata, calibration, {})
        inputs = {"model": str(MODEL), "tokens": str(TOKENS)}
        if cache is not None:
            inputs["activations"] = str(cache)
        put_artifact(store, ref, folder, config=config.science(), inputs=inputs)
        refs.append(ref)
    return refs


class LocalChannel:
    """A progress channel within one process."""

    def __init__(self) -> None:
        self.figures: dict[str, int] = {}
        self.curves: dict[str, str] = {}
        self.stop = False

    @classmethod
    def open(cls, run: str) -> LocalChannel:
        return cls()

    def report(self, figure: str, value: int) -> None:
        self.figures[figure] = value

    def report_curve(self, sae: str, text: str, length: int) -> None:
        self.curves[sae] = text

    def latest(self) -> dict[str, int]:
        return self.figures

    def request_stop(self) -> None:
        self.stop = True

    def stop_requested(self) -> bool:
        return self.stop

    def clear(self) -> None:
        self.figures = {}


def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets stages run their workers in this process, one chunk after another: the same code without Ray."""

    def run_chunks(make_actor, chunks, n_actors, method, on_done, should_stop) -> bool:
        actor = make_actor() if chunks else None
        for chunk in chunks:
            if should_stop():
                return False
            on_done(chunk, getattr(actor, method)(chunk))
        return True

    monkeypatch.setattr("actors.pool.run_chunks", run_chunks)
    monkeypatch.setattr("actors.harvester.make_harvester", Harvester)
    monkeypatch.setattr("actors.synthesizer.make_synthesizer", Synthesizer)
    monkeypatch.setattr("actors.evaluator.make_evaluator", Evaluator)
    monkeypatch.setattr("actors.prober.make_prober", Prober)
    monkeypatch.setattr("actors.extractor.make_extractor", Extractor)
    monkeypatch.setattr("actors.extractor.make_merger", Merger)
    monkeypatch.setattr("actors.progress_channel.ProgressChannel", LocalChannel)


def extract_job(
    store: Store, config: ExtractConfig, saes: list[ArtifactRef], scratch: Path, **fields: Any
) -> JobContext:
    """A job that extracts `saes`."""
    scratch.mkdir()
    outputs: list[Output] = extract.outputs(config, {"sae": saes}, "")
    return JobContext(config, outputs, store, scratch, {"sae": saes}, **{"requirement": REQUIREMENT, **fields})


def bytes_written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the files that are put into a store from now on."""
    sizes: list[int] = []
    put = Store.put

    def counting(self: Store, *args: Any, **kwargs: Any) -> Any:
        file = put(self, *args, **kwargs)
        sizes.append(file.size)
        return file

    monkeypatch.setattr(Store, "put", counting)
    return sizes


def files_of(store: Store, ref: ArtifactRef) -> dict[str, bytes]:
    """The bytes of an artifact by name."""
    files = store.files(ref)
    return {name: files.path(name).read_bytes() for name in files.names}
