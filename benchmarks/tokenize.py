"""Text to packed rows of tokens: the tokenize stage beside Hugging Face datasets, each as a process of its own.

    python -m benchmarks.tokenize [--text FOLDER] [--megabytes 50] [--rounds 3]

Documents of about 4,000 characters of the text files (*.txt) of a folder, none twice; else the demo's text, repeated with
a number before each document until it has so many bytes. The demo's tokenizer. RayLens: `python -m jobs tokenize` with two
workers of one CPU, from a dataset in the store to checked files in the store, the start of a Ray cluster included. datasets:
benchmarks/peers/datasets_map.py, from JSON Lines to `save_to_disk`. In turns; the tokens are those in the rows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import PRESETS, REPOSITORY, Figure, machine, median_ratio, run_stage, write_results
from benchmarks.versus import PEERS
from cluster.store import Store
from configs.artifact_ids import ArtifactRef, parse_ref
from sae.formats.artifact_files import LocalFiles
from sae.formats.dataset import iter_documents

ROW_TOKENS = 128
DOCUMENT_CHARACTERS = 4000
WORKERS = 2
TARGET = 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--text", type=Path, help="a folder with text files")
    given = parser.parse_args()
    place, store = machine(), Store.open()
    with tempfile.TemporaryDirectory(prefix="raylens-bench-") as scratch:
        folder = Path(scratch)
        text = folder / "text.jsonl"
        model, large, size = inputs(text, given.text, given.megabytes * 1_000_000)
        raw: dict[str, list[dict[str, Any]]] = {"ours": [], "datasets": []}
        for n in range(given.rounds):
            raw["ours"].append(_ours(folder / "tokenize.yaml", large, model, n))
            raw["datasets"].append(_datasets(text, store.files(model).directory(), folder / f"out-{n}"))
    texts = (
        "the demo's, repeated"
        if given.text is None
        else ", ".join(path.stem for path in sorted(given.text.glob("*.txt")))
    )
    settings = {
        "text_bytes": size,
        "texts": texts,
        "rounds": given.rounds,
        "row_tokens": ROW_TOKENS,
        "workers": WORKERS,
    }
    name = "tokenize" if given.text is None else "tokenize_texts"
    title = "Text to packed rows beside datasets"
    write_results(name, title, _figures(raw), settings, raw, place, module="tokenize")


def inputs(text: Path, files: Path | None, most: int) -> tuple[ArtifactRef, ArtifactRef, int]:
    """The demo's model, and the dataset of the file `text`, which is written; and the bytes of its texts."""
    model = parse_ref(run_stage("download", PRESETS / "download-model.yaml")[0], "models")
    dataset = parse_ref(run_stage("download", PRESETS / "download.yaml")[0], "datasets")
    documents = repeated(Store.open().files(dataset).directory()) if files is None else _of_files(files)
    size = write_text(documents, text, most)
    return model, _download(text, text.parent / "download.yaml"), size


def repeated(dataset: Path) -> Iterator[str]:
    """The texts of a dataset without end, with a number before each."""
    texts = [str(document.text) for _, document in iter_documents(LocalFiles(dataset))]
    return (f"{number}. {texts[number % len(texts)]}" for number in itertools.count())


def _of_files(folder: Path) -> Iterator[str]:
    """The files' lines, in documents, one of each file in turn."""
    files = [_documents(path) for path in sorted(folder.glob("*.txt"))]
    return (text for texts in itertools.zip_longest(*files) for text in texts if text is not None)


def _documents(path: Path) -> Iterator[str]:
    lines: list[str] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            lines.append(line)
            if sum(map(len, lines)) >= DOCUMENT_CHARACTERS:
                yield "".join(lines)
                lines = []


def write_text(documents: Iterable[str], path: Path, most: int) -> int:
    """Writes documents as JSON Lines, up to so many bytes; gives the bytes of their texts."""
    size = 0
    with path.open("w", encoding="utf-8") as file:
        for text in documents:
            if size >= most:
                break
            file.write(json.dumps({"text": text}) + "\n")
            size += len(text.encode())
    return size


def _download(text: Path, config: Path) -> ArtifactRef:
    source = {"type": "local", "path": str(text)}
    config.write_text(json.dumps({"stage": "download", "what": "dataset", "source": source}))
    return parse_ref(run_stage("download", config)[0], "datasets")


def _ours(config: Path, dataset: ArtifactRef, model: ArtifactRef, seed: int) -> dict[str, Any]:
    """A run with a seed of its own, so that its rows are not there already."""
    settings = {
        "stage": "tokenize", "dataset": str(dataset), "model": str(model), "context_length": ROW_TOKENS,
        "seed": int(time.time()) + seed, "resources": {"workers": WORKERS, "cpus": 1, "threads": 1},
    }  # fmt: skip
    config.write_text(json.dumps(settings))
    begin = time.perf_counter()
    ref = parse_ref(run_stage("tokenize", config)[0], "tokens")
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "tokens": Store.open().files(ref).manifest.summary["tokens"]}


def _datasets(text: Path, model: Path, out: Path) -> dict[str, Any]:
    command = [str(PEERS), "-m", "benchmarks.peers.datasets_map", str(text), str(model), str(out), str(ROW_TOKENS)]
    quiet = {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    begin = time.perf_counter()
    ran = subprocess.run(command, cwd=REPOSITORY, env={**os.environ, **quiet}, stdout=subprocess.PIPE, check=True)
    return {"seconds": time.perf_counter() - begin, **json.loads(ran.stdout)}


def _figures(raw: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    rates = {name: [one["tokens"] / one["seconds"] for one in runs] for name, runs in raw.items()}
    ratio = median_ratio(rates["ours"], rates["datasets"])
    return [
        Figure("RayLens, tokens/s, from start to end of the process", f"{median(rates['ours']):,.0f}"),
        Figure("datasets with two processes, tokens/s", f"{median(rates['datasets']):,.0f}"),
        Figure("RayLens over datasets, median of the rounds", f"{ratio:.2f}", f"{TARGET:g}", ratio >= TARGET),
    ]


if __name__ == "__main__":
    main()
