"""Search by meaning: what it finds on the demo's features, how long a query takes over 100,000 features, and the map.

    python -m benchmarks.feature_search [--features 100000] [--queries 400] [--labels labels/ID]

Judged on the demo's labels by 24 queries. A feature is relevant if most of its ten strongest positions in documents that no label
or example of the index was taken from have one of the query's words (JUDGED) within eight tokens. The queries are in other words
where English has them. Beside the index stand the filter by text in the best label, and features at random.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.common import PRESETS, Figure, machine, run_stage, write_results
from cluster.store import Store
from configs.artifact_ids import ArtifactRef, parse_ref
from configs.sae_origin import sae_origin
from sae.features.map import feature_map, principal_components
from sae.features.similar import decoder_directions
from sae.formats.activations import ActivationsReader
from sae.formats.feature_map import read_map
from sae.formats.features import FeaturesReader
from sae.formats.labels import LabelsReader, write_labels
from sae.formats.sae_folder import load_sae
from sae.formats.search_index import read_index, write_index
from sae.formats.tokens import TokensReader
from sae.labels.search_index import make_index, nearest_features
from sae.labels.search_text import SearchTexts
from sae.labels.text import documents_in_test
from sae.report.token_text import TokenText
from sae.text.word_vectors import unit, word_vectors
from serve_app.routes.feature_relations import SearchQuery, find_features
from serve_app.search_tables import SearchTable

JUDGED = {
    "population growth": r"population|birth rate|death rate|fertility|migration rate|growth rate",
    "crude oil and gas": r"petrol|crude|oil\b|natural gas|\bgas\b|refined",
    "illness and epidemics": r"disease|hiv|aids|malaria|dengue|fever|hepatitis|virus|infect|covid|health",
    "armies and soldiers": r"militar|army|armed|troop|soldier|navy|force personnel|defen[cs]e|naval",
    "voting in elections": r"elect|vote|ballot|suffrage|referendum",
    "school and education": r"school|educat|literacy|universit|college|student|pupil",
    "trains and railways": r"rail|train\b|gauge|locomotive",
    "planes and airports": r"airport|runway|aircraft|airline|heliport|air transport",
    "rivers and lakes": r"river|lake|stream|delta|dam\b",
    "mountains": r"mountain|volcan|peak|highland|elevation|hill|plateau",
    "rainfall and temperature": r"climate|tropical|temperate|rain|arid|humid|monsoon|hot|cold|winter|summer|dry",
    "ships and harbours": r"\bport|ship|harbou?r|vessel|maritime|tanker|container|canal",
    "internet and telephones": r"internet|telephone|mobile|broadband|cellular|broadcast|subscri|telecom",
    "electric power": r"electric|kwh|power plant|hydro|nuclear|megawatt|kw\b",
    "money and currency": r"currenc|dollar|euro|exchange rate|money|bank|\bper us",
    "borders with other countries": r"border|boundar|neighbou?r|frontier",
    "religious groups": r"relig|muslim|christian|catholic|islam|protestant|hindu|buddh|orthodox|church|sunni|shia",
    "languages people speak": r"language|spoken|speak|english|french|arabic|dialect|creole",
    "illegal drugs": r"drug|cocaine|heroin|cannabis|opium|narcotic|trafficking|illicit",
    "pollution of the environment": r"pollut|deforest|erosion|waste|environment|emission|desertif|contaminat",
    "king and royal family": r"king\b|queen|monarch|royal|prince|emperor|sultan|throne|emir",
    "farming and crops": r"agricult|crop|wheat|rice|maize|sugar|coffee|cattle|livestock|farm|irrigat|cotton|fruit",
    "refugees": r"refugee|displaced|asylum|stateless|idps",
    "courts and judges": r"court|judge|judicia|justice|legal system|law\b",
}
_BEST, _SHARE, _BEFORE, _SHOWN = 10, 0.6, 8, 10
Bool = npt.NDArray[np.bool_]


class Demo(NamedTuple):
    """The demo's labels and what they were made from."""

    store: Store
    labels: ArtifactRef
    inputs: dict[str, ArtifactRef]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--labels", help="labels/ID to judge, in place of those of the demo's presets")
    given = parser.parse_args()
    demo = _demo(given.labels)
    environment = machine()
    judged, raw = _judged(demo)
    figures = [*judged, *_speed(demo, given.features, given.queries), *_map(demo, given.features)]
    settings = {"features": given.features, "queries": given.queries}
    write_results("feature_search", "Search by meaning, and the map", figures, settings, raw, environment)


def _demo(labels_id: str | None) -> Demo:
    labels = parse_ref(labels_id or run_stage("label", PRESETS / "label.yaml")[0])
    store = Store.open()
    info = LabelsReader(store.files(labels)).info
    return Demo(store, labels, {role: parse_ref(ref) for role, ref in info.inputs.items()})


def _judged(demo: Demo) -> tuple[list[Figure], dict[str, Any]]:
    files, words = demo.store.files(demo.labels), word_vectors()
    vectors = read_index(files).vectors.astype(np.float32)
    best = [str(row or "").casefold() for row in LabelsReader(files).features()["label"].to_pylist()]
    near = _texts_of_strongest(demo)
    everything = np.ones(len(vectors), np.bool_)
    precisions: dict[str, list[float]] = {"index": [], "filter": [], "random": []}
    raw = {}
    for query, pattern in JUDGED.items():
        relevant = np.array([_mostly(pattern, texts) for texts in near])
        if relevant.sum() < _SHOWN // 2:
            continue
        found = nearest_features(vectors, words.of([query])[0], everything, _SHOWN).features
        # The filter takes one text, so each word of the query is one, and the best is what counts.
        filtered = [_precision(relevant, np.flatnonzero([word in one for one in best])) for word in query.split()]
        precisions["index"].append(_precision(relevant, found))
        precisions["filter"].append(max(filtered))
        precisions["random"].append(float(relevant.mean()))
        raw[query] = {"relevant": int(relevant.sum()), **{name: values[-1] for name, values in precisions.items()}}
    names = {
        "index": "search by meaning",
        "filter": "filter by the query's best single word in the label",
        "random": "features at random",
    }
    count = len(precisions["index"])
    figures = [
        Figure(f"relevant among the first {_SHOWN}, mean of {count} queries: {names[name]}", f"{np.mean(values):.3f}")
        for name, values in precisions.items()
    ]
    return figures, {"judged": raw}


def _precision(relevant: Bool, found: npt.NDArray[np.int64]) -> float:
    return float(relevant[found[:_SHOWN]].sum()) / _SHOWN


def _mostly(pattern: str, texts: list[str]) -> bool:
    return len(texts) >= 3 and sum(bool(re.search(pattern, text)) for text in texts) >= _SHARE * len(texts)


def _texts_of_strongest(demo: Demo) -> list[list[str]]:
    """For each feature the text before its strongest positions in the test part of the documents, in small letters."""
    store, inputs = demo.store, demo.inputs
    info = LabelsReader(store.files(demo.labels)).info
    split = FeaturesReader(store.files(inputs["features"])).info.split
    sae = load_sae(store.files(inputs["sae"]).directory())
    origin = sae_origin(store.files(inputs["sae"]).manifest.config)
    tokens = TokensReader(store.files(inputs["tokens"]), split, origin.policy.speakers)
    activations = parse_ref(store.files(inputs["sae"]).manifest.inputs["activations"], "activations")
    cache = ActivationsReader(store.files(activations), sae.metadata["hook_name"])
    pieces = TokenText(store.files(inputs["model"]).path("tokenizer.json").read_text(encoding="utf-8"))
    rows = tokens.read(0, info.rows)
    test = documents_in_test(rows.document.reshape(-1), int(info.settings["seed"])).reshape(rows.document.shape)
    best: list[list[tuple[float, str]]] = [[] for _ in range(info.n_features)]
    for start in range(0, info.rows, 16):
        part = cache.read(start, min(start + 16, info.rows))
        codes = sae.encode_sparse(part.acts)
        row, position = part.row[codes.position].numpy(), part.position[codes.position].numpy()
        for latent, at, place, value in zip(codes.latent.tolist(), row, position, codes.value.tolist(), strict=True):
            if not test[at, place] or (len(best[latent]) == _BEST and value <= best[latent][-1][0]):
                continue
            ids = rows.input_ids[at, max(0, place - _BEFORE) : place + 1]
            same = rows.document[at, max(0, place - _BEFORE) : place + 1] == rows.document[at, place]
            text = "".join(pieces.strings(ids[same].tolist())).casefold()
            best[latent] = sorted([*best[latent], (value, text)], reverse=True)[:_BEST]
    return [[text for _, text in found] for found in best]


class _Files(NamedTuple):
    """A labels artifact in a folder."""

    folder: Path

    @property
    def names(self) -> list[str]:
        """Its files."""
        return sorted(path.name for path in self.folder.iterdir())

    def path(self, name: str) -> Path:
        """One of them."""
        return self.folder / name

    def directory(self) -> Path:
        """The folder."""
        return self.folder


def _speed(demo: Demo, features: int, queries: int) -> list[Figure]:
    """Queries over the demo's labels and index, repeated with noise until there are enough features, to the answer in JSON."""
    with tempfile.TemporaryDirectory() as folder:
        table = SearchTable(_many(demo, features, Path(folder)))
    texts = [f"{one} {two}" for one in JUDGED for two in JUDGED][:queries]
    seconds = []
    for number, text in enumerate(texts):
        filters: dict[str, Any] = {"max_density": 0.01, "type": "tokens"} if number % 2 else {}
        start = time.perf_counter()
        find_features(table, SearchQuery(q=text, **filters)).model_dump_json()
        seconds.append(time.perf_counter() - start)
    p95 = float(np.quantile(seconds, 0.95)) * 1000
    examples = "exports of crude oil to other countries and back again ; " * 5
    sentences = SearchTexts(["crude, oil, barrels, exports"] * 16_384, [examples] * 16_384)
    start = time.perf_counter()
    make_index(sentences, word_vectors(), 0)
    taken = time.perf_counter() - start
    what = f"one query over {features:,} features to its answer in JSON, every other with filters"
    return [
        Figure(f"{what}, p95", f"{p95:.1f} ms", "<= 100 ms", p95 <= 100),
        Figure("the same, median", f"{np.median(seconds) * 1000:.1f} ms"),
        Figure("index of 16,384 features", f"{taken:.1f} s", "<= 60 s", taken <= 60),
    ]


def _many(demo: Demo, features: int, folder: Path) -> _Files:
    files = demo.store.files(demo.labels)
    reader, index = LabelsReader(files), read_index(files)
    vectors = np.resize(index.vectors.astype(np.float32), (features, index.vectors.shape[1]))
    vectors = unit(vectors + 0.02 * np.random.default_rng(0).normal(size=vectors.shape).astype(np.float32))
    write_index(folder, index._replace(vectors=vectors.astype(np.float16)))
    rows = reader.features().take(pa.array(np.arange(features) % reader.info.n_features)).to_pylist()
    write_labels(folder, [row | {"feature": f} for f, row in enumerate(rows)], [], reader.info)
    return _Files(folder)


def _map(demo: Demo, features: int) -> list[Figure]:
    """Neighbours that the map keeps, and the time for many features: directions around random centres, neighbours among 40."""
    decoder = decoder_directions(demo.store.files(demo.inputs["sae"]).directory())
    placed = read_map(demo.store.files(demo.labels))
    kept = {"map": _kept(decoder, placed), "two principal components": _kept(decoder, principal_components(decoder))}
    random = np.random.default_rng(0)
    centres = random.normal(size=(features // 40, 64))
    owner = np.sort(random.integers(0, len(centres), features))
    directions = unit((centres[owner] + random.normal(size=(features, 64))).astype(np.float32))
    near = (np.arange(features)[:, None] + np.arange(1, 11)) % features
    cosines = np.einsum("fd,fnd->fn", directions, directions[near])
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "map"), feature_map(directions, near, cosines, 0))
    taken = time.perf_counter() - start
    return [
        *(
            Figure(f"10 nearest directions that are among the 10 nearest points: {name}", f"{one:.1%}")
            for name, one in kept.items()
        ),
        Figure(f"map of {features:,} features, from their known neighbours", f"{taken:.0f} s"),
    ]


def _kept(decoder: npt.NDArray[np.float32], placed: npt.NDArray[Any]) -> float:
    kept = 0
    for first in range(0, len(decoder), 512):
        cosines = decoder[first : first + 512] @ decoder.T
        distances = ((placed[first : first + 512, None] - placed[None]) ** 2).sum(-1)
        own = np.arange(len(cosines))
        cosines[own, first + own], distances[own, first + own] = -np.inf, np.inf
        near, points = np.argpartition(-cosines, 10, 1)[:, :10], np.argpartition(distances, 10, 1)[:, :10]
        kept += sum(len(set(a) & set(b)) for a, b in zip(near.tolist(), points.tolist(), strict=True))
    return kept / (10 * len(decoder))


if __name__ == "__main__":
    main()
