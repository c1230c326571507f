"""The tokenize stage: documents to shuffled rows of tokens.

    python -m jobs tokenize --config configs/presets/tokenize.yaml

Two passes over fixed pieces of work (chunks of documents, then output shards), so the bytes do not depend on workers.
Between them the layout is known from counts alone. A piece that an earlier attempt finished is not done again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.artifact_ids import ArtifactRef
from configs.base import StageConfig
from configs.tokenize import TokenizeConfig
from jobs.life.stage_context import JobContext, Output, Stopped
from jobs.stages import Stage

if TYPE_CHECKING:
    from actors.tokenize_tasks import PartsTarget
    from cluster.store import ArtifactFiles, Store, StoredFile
    from sae.formats.dataset import DatasetReader
    from sae.formats.tokens import TokensInfo
    from sae.text.chat_tokens import ChatRendering
    from sae.text.flat_tokens import ChunkCounts
    from sae.text.packing import ShardCounts
    from sae.text.shard_layout import SplitLayout
    from sae.text.tokenizer_spec import TokenizerSpec

VERSION = 4
_BYTES_PER_TEXT_BYTE = 4  # 5 bytes a token in flat files, and less than that in shards; English takes 2 in all
_WEIGHTS = (".safetensors", ".gguf")


def inputs(config: TokenizeConfig) -> dict[str, StageConfig | str]:
    """The text, and the model whose tokenizer is used."""
    return {
        "dataset": config.dataset,
        **dict(zip(_other_roles(config), config.other_datasets, strict=True)),
        "model": config.model,
    }


def _other_roles(config: TokenizeConfig) -> list[str]:
    """Roles of the datasets of a mixture behind the first."""
    return [f"dataset_{number}" for number in range(2, len(config.other_datasets) + 2)]


def outputs(config: TokenizeConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    """One tokens artifact."""
    return [Output(ArtifactRef("tokens", fp), f"rows of {config.context_length} tokens")]


def store_bytes(config: TokenizeConfig, inputs: dict[str, list[ArtifactRef]], store: Store) -> int:
    """Flat files and shards together, for text of at most one token in two bytes; shards hold repeated tokens too."""
    manifests = [store.manifest(inputs[role][0]) for role in ("dataset", *_other_roles(config))]
    text = sum(manifest.summary.get("text_bytes", 0) for manifest in manifests if manifest is not None)
    payload = config.context_length - 1
    return _BYTES_PER_TEXT_BYTE * int(text) * payload // (payload - config.stride)


def run(job: JobContext) -> None:
    """Raises TokenizeError (tokenizer, model and config do not go together), DatasetError, Stopped."""
    if not job.missing():
        return
    from actors.tokenize_tasks import PartsTarget
    from sae.formats.dataset import DatasetReader
    from sae.text.chat_tokens import chat_rendering
    from sae.text.chosen_documents import check_columns
    from sae.text.shard_layout import split_layouts
    from sae.text.statistics import tokens_info

    config: TokenizeConfig = job.config
    spec, tokenizer = _checked_spec(job)
    flat = PartsTarget(job.store, ArtifactRef("checkpoints", job.fingerprint), job.attempt)
    tokens = PartsTarget(job.store, job.outputs[0].ref, job.attempt)
    roles = ["dataset", *_other_roles(config)]
    readers = [DatasetReader(job.files(role)) for role in roles]
    for role, reader in zip(roles, readers, strict=True):
        check_columns(reader.info, config, str(job.one(role)))
    where = str(job.one("dataset")) if len(readers) == 1 else "none of the datasets"
    chats = chat_rendering(tokenizer, config, [reader.info for reader in readers], where)
    counts = _tokenize(job, readers, spec, chats, flat)
    every = [chunk for chunks in counts for chunk in chunks]
    _check_counts(job, spec, every)
    layouts = split_layouts(every, spec, config, [len(chunks) for chunks in counts])
    shards, positions = _pack(job, spec, flat, tokens, layouts)
    _publish(job, tokens_info(config, spec, every, layouts, positions, _mixture(job, readers)), shards)
    job.store.delete(flat.ref)


def _first_documents(readers: list[DatasetReader]) -> list[int]:
    """The number of each dataset's first document: they are numbered over all datasets of a mixture."""
    documents = [reader.info.documents for reader in readers]
    return [sum(documents[:i]) for i in range(len(documents))]


def _mixture(job: JobContext, readers: list[DatasetReader]) -> list[dict[str, Any]]:
    """The datasets of a mixture as tokens.json has them; empty if there is one alone."""
    columns = zip(job.config.weights, ["dataset", *_other_roles(job.config)], _first_documents(readers), strict=False)
    return [
        {"dataset": str(job.one(role)), "weight": weight, "first_document": first} for weight, role, first in columns
    ]


def _checked_spec(job: JobContext) -> tuple[TokenizerSpec, Any]:
    """What rows are made with, after the checks that need no text, and the tokenizer."""
    from sae.language_model import ModelError, load_tokenizer
    from sae.language_model.loading import max_positions, read_config
    from sae.text.tokenizer_spec import check_context, read_tokenizer_spec

    config: TokenizeConfig = job.config
    model = job.files("model")
    folder = _without_weights(model, job.scratch / "tokenizer")
    check_context(config.context_length, max_positions(read_config(folder)), str(model.ref))
    try:
        tokenizer = load_tokenizer(folder)
    except ModelError as error:
        raise ModelError(f"{model.ref}: {error}") from None
    return read_tokenizer_spec(tokenizer, config, _embeddings(folder)), tokenizer


def _embeddings(folder: Path) -> int | None:
    """How many token ids the model knows."""
    from sae.language_model.loading import read_config

    return getattr(read_config(folder).get_text_config(), "vocab_size", None)


def _without_weights(model: ArtifactFiles, folder: Path) -> Path:
    """A folder with the model's files but its weights, which are large and not needed here."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in model.names:
        if not name.endswith(_WEIGHTS):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)  # additional_chat_templates/NAME.jinja
            shutil.copyfile(model.path(name), folder / name)
    return folder


def _tokenize(
    job: JobContext,
    readers: list[DatasetReader],
    spec: TokenizerSpec,
    chats: ChatRendering | None,
    flat: PartsTarget,
) -> list[list[ChunkCounts]]:
    """First pass: a flat token file for each chunk of documents. Gives the chunks' counts, in order, by dataset."""
    from actors.tokenize_tasks import chunk_name, store_chunk
    from sae.text.flat_tokens import ChunkCounts

    items: list[list[dict[str, Any]]] = []
    for number, (reader, first) in enumerate(zip(readers, _first_documents(readers), strict=True)):
        before = sum(map(len, items))
        chunks = reader.chunks(job.config.chunk_bytes)
        items.append(
            [
                {
                    "name": chunk_name(i), "dataset": number, "file": file, "start": start, "stop": stop,
                    "weight": stop - start, "first_document": first,
                }
                for i, (file, start, stop) in enumerate(chunks, before)
            ]
        )  # fmt: skip
    datasets = [job.files(role) for role in ("dataset", *_other_roles(job.config))]
    _run(
        job, "tokenize", "documents", [item for chunks in items for item in chunks], store_chunk, flat,
        datasets=datasets, spec=spec, config=job.config, threads=job.requirement.threads,
        chats=chats,
    )  # fmt: skip
    parts = job.store.parts(flat.ref)
    return [[ChunkCounts.from_json(parts[item["name"]][1]) for item in chunks] for chunks in items]


def _check_counts(job: JobContext, spec: TokenizerSpec, counts: list[ChunkCounts]) -> None:
    """Raises TokenizeError if there are no tokens, or tokens that the model does not know."""
    from sae.text.statistics import seen_ids
    from sae.text.tokenizer_spec import TokenizeError, check_vocabulary

    if not any(chunk.splits for chunk in counts):
        wanted = ", ".join(job.config.splits)
        raise TokenizeError(f"{job.one('dataset')} gives no tokens: none of its documents of {wanted} has any")
    embeddings = _embeddings(job.scratch / "tokenizer")
    check_vocabulary(max(seen_ids(counts, spec.id_limit)), embeddings, str(job.one("model")))


def _pack(
    job: JobContext, spec: TokenizerSpec, flat: PartsTarget, tokens: PartsTarget, layouts: list[SplitLayout]
) -> tuple[list[StoredFile], dict[str, ShardCounts]]:
    """Second pass: the output shards, in order of split and number, and what those of each split hold."""
    from actors.tokenize_tasks import store_shard
    from sae.formats.tokens import shard_name
    from sae.text.packing import ShardCounts
    from sae.text.shard_layout import row_length, split_shards

    shards = [shard for layout in layouts for shard in split_shards(layout, job.config.rows_per_shard)]
    items = [{"name": shard_name(s.split, s.number), **s._asdict(), "weight": s.stop - s.start} for s in shards]
    sent = {layout.split: _store_rows(job, layout, flat) for layout in layouts}
    _run(
        job, "pack", "rows", items, store_shard, tokens,
        flats=_flat_files(job, flat), layouts=sent, spec=spec, length=row_length(layouts, job.config),
        config=job.config,
    )  # fmt: skip
    parts = job.store.parts(tokens.ref)
    positions: dict[str, ShardCounts] = {}
    for shard, item in zip(shards, items, strict=True):
        extra = parts[item["name"]][1]
        own = ShardCounts(extra["roles"], extra["speakers"])
        positions[shard.split] = own.add(positions[shard.split]) if shard.split in positions else own
    return [parts[item["name"]][0] for item in items], positions


def _store_rows(job: JobContext, layout: SplitLayout, flat: PartsTarget) -> SplitLayout:
    """The layout as tasks are sent it: a list of rows, as long as the documents are many, goes through the store."""
    from actors.tokenize_tasks import rows_name
    from sae.text.row_pieces import NO_ROWS, ListedRows

    if not isinstance(layout.pieces, ListedRows):
        return layout
    name = rows_name(layout.split)
    if name not in job.store.parts(flat.ref):
        layout.pieces.save(job.scratch / name)
        job.store.put(flat.ref, job.attempt, name, job.scratch / name, part=True)
    return layout._replace(pieces=NO_ROWS)


def _run(
    job: JobContext,
    phase: str,
    unit: str,
    items: list[dict[str, Any]],
    task: Callable[..., dict[str, Any]],
    target: PartsTarget,
    **arguments: Any,
) -> None:
    """Runs a pass over the items that no earlier attempt finished. Raises Stopped if the job was asked to stop."""
    from actors.tokenize_tasks import run_tasks

    finished = job.store.parts(target.ref)
    waiting = [item for item in items if item["name"] not in finished]
    total = sum(item["weight"] for item in items)
    done = total - sum(item["weight"] for item in waiting)
    job.progress.start(phase, total, unit, done)

    def add(weight: int) -> None:
        nonlocal done
        done += weight
        job.progress.update(done)

    if job.stop_requested() or not run_tasks(
        task, waiting, job.requirement, add, job.stop_requested, target=target, **arguments
    ):
        raise Stopped(f"stopped after {done:,} of {total:,} {unit}; the next attempt goes on from there")


def _flat_files(job: JobContext, flat: PartsTarget) -> ArtifactFiles:
    """The flat token files as an artifact of their own, so that workers on any node find and check them."""
    from cluster.store import Manifest

    files = tuple(file for file, _ in job.store.parts(flat.ref).values())
    job.store.commit(
        Manifest(
            kind=flat.ref.kind, id=flat.ref.id, stage="tokenize", stage_version=VERSION, attempt=job.attempt,
            label="flat tokens, between the two passes of tokenizing", files=files,
        )
    )  # fmt: skip
    return job.store.files(flat.ref)


def _publish(job: JobContext, info: TokensInfo, shards: list[StoredFile]) -> None:
    from sae.formats.tokens import TOKENS_JSON

    path = job.scratch / TOKENS_JSON
    info.save(path)
    output = job.outputs[0]
    described = job.store.put(output.ref, job.attempt, TOKENS_JSON, path)
    job.publish(output, [*shards, described], {**info.statistics, "splits": info.splits})


# transformers.activations: what every model's config imports, and the longest part of it.
_IMPORTS = ("actors.tokenize_tasks", "sae.language_model", "transformers.activations", "transformers.models.auto")
STAGE = Stage(VERSION, inputs, outputs, run, store_bytes=store_bytes, imports=_IMPORTS)
