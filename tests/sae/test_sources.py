"""Where downloads come from: which files are taken, what names them, and a hub that misbehaves."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.download import DownloadConfig, HubSource, LocalSource, PackageSource
from sae.sources import ResolvedSource, SourceError, resolve_source
from sae.sources.dataset_card import card_configs
from sae.sources.file_selection import folders_with_splits, matches, select_files
from tests.hub import COMMIT, Hub, hub

__all__ = ["hub"]


def quiet(done: int) -> None:
    """Progress that nobody reads."""


def test_patterns() -> None:
    names = ["a.json", "data/b.json", "data/x/c.json", "data/x/d.txt", ".git/e.json", "__pycache__/f.json"]

    def taken(*patterns: str) -> list[str]:
        return select_files(names, patterns, "dataset", "here").names

    assert taken("*.json") == ["a.json", "data/b.json", "data/x/c.json"]
    assert taken("data/*.json") == ["data/b.json"]
    assert taken("data/**/*.json") == ["data/b.json", "data/x/c.json"]
    assert taken("data/**", "a.json") == ["a.json", "data/b.json", "data/x/c.json", "data/x/d.txt"]
    with pytest.raises(SourceError, match=r"no file of here matches \*\.csv; there are a\.json, data/b\.json"):
        taken("*.json", "*.csv")


@given(st.text("ab/", max_size=8), st.text("ab/*?", max_size=8))
def test_a_pattern_means_what_the_regular_expression_for_it_means(name: str, pattern: str) -> None:
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    expression = "".join(meaning.get(piece, re.escape(piece)) for piece in pieces)
    seen = name if "/" in pattern else name.rpartition("/")[2]
    assert matches(name, pattern) == (re.fullmatch(expression, seen) is not None)


def test_a_pattern_that_means_no_good_takes_no_time() -> None:
    assert not matches("a" * 200, "*" * 200 + "!")
    assert not matches("a/" * 100, "**/" * 50 + "!")
    with pytest.raises(ValueError, match="at most 64"):
        LocalSource(path="x", files=("*",) * 65)


def test_without_patterns_a_dataset_takes_the_first_format() -> None:
    names = ["README.md", "dataset_infos.json", "a.json", "b.jsonl", "c/d.jsonl.gz", "e.txt"]
    names_taken, notes = select_files(names, (), "dataset", "here")
    assert names_taken == ["b.jsonl", "c/d.jsonl.gz"]
    assert notes == (
        "only files of the format JSON Lines are taken; left out: a.json, e.txt (name them in source.files)",
    )
    with pytest.raises(SourceError, match=r"here has no data files .*; there are README\.md"):
        select_files(["README.md", "dataset_infos.json"], (), "dataset", "here")


def test_without_patterns_a_model_takes_what_it_needs() -> None:
    folder = [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "merges.txt",
        "pytorch_model.bin",
        "onnx/config.json",
    ]
    wanted = ["config.json", "merges.txt", "model.safetensors", "tokenizer.json"]
    assert select_files(folder, (), "model", "here").names == wanted
    assert select_files(["m.gguf", "README.md"], (), "model", "here").names == ["m.gguf"]
    with pytest.raises(SourceError, match=r"2 GGUF files: name one .* a\.gguf, b\.gguf"):
        select_files(["a.gguf", "b.gguf"], (), "model", "here")
    with pytest.raises(SourceError, match="no model"):
        select_files(["pytorch_model.bin"], (), "model", "here")


def test_local_files_are_named_by_their_content(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("same")
    one, two = (resolve_source(LocalSource(path=str(tmp_path / name)), "dataset") for name in ("one", "two"))
    assert one.identity == two.identity
    assert (one.label, one.names, one.size) == ("one", ["a.txt"], 4)
    assert one.fetch(one.names, quiet) == tmp_path / "one"
    (tmp_path / "two/a.txt").write_text("else")
    assert resolve_source(LocalSource(path=str(tmp_path / "two")), "dataset").identity != one.identity
    assert resolve_source(LocalSource(path=str(tmp_path / "one/a.txt")), "dataset").identity == one.identity
    with pytest.raises(SourceError, match="there is no file or folder"):
        resolve_source(LocalSource(path=str(tmp_path / "three")), "dataset")


def test_links_are_followed_and_broken_ones_are_said(tmp_path: Path) -> None:
    for name in ("here", "there/deep"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.txt").write_text(name)
    (tmp_path / "here/part").symlink_to("../there")
    (tmp_path / "there/back").symlink_to("../here")
    assert resolve_source(LocalSource(path=str(tmp_path / "here")), "dataset").names == ["a.txt", "part/deep/a.txt"]
    (tmp_path / "here/b.txt").symlink_to("nowhere")
    with pytest.raises(SourceError, match=r"b\.txt: it is a link to a file that is not there"):
        resolve_source(LocalSource(path=str(tmp_path / "here")), "dataset")


def test_names_that_are_not_utf8_can_be_stored(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / os.fsdecode(b"\xff.txt")).write_text("x")
    found = resolve_source(LocalSource(path=str(tmp_path)), "dataset")
    assert found.identity["files"][0][0] == "caf\\xe9/\\xff.txt"
    assert (found.fetch(found.names, quiet) / found.names[0]).read_text() == "x"
    (folder / os.fsdecode(b"\xff.txt")).rename(folder / os.fsdecode(b"\xff.xml"))
    with pytest.raises(SourceError, match=r"has no data files .*; there are caf\\xe9/\\xff\.xml"):
        resolve_source(LocalSource(path=str(tmp_path)), "dataset")


def test_folders_with_splits_of_their_own_are_several_datasets(tmp_path: Path) -> None:
    for name in ("two/train.txt", "two/test.txt", "three/train.txt", "three/test.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    with pytest.raises(SourceError, match=r"several datasets, each with splits of its own: three, two; give the path"):
        resolve_source(LocalSource(path=str(tmp_path)), "dataset")
    found = resolve_source(LocalSource(path=str(tmp_path), files=("**/train.txt",)), "dataset")
    assert found.names == ["three/train.txt", "two/train.txt"]
    assert folders_with_splits(["train/a.txt", "test/a.txt", "data/train.txt"]) == []


def test_packages_are_found_without_importing_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "made_up_texts"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "data/a.txt").write_text("x")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SourceError, match="not installed"):  # a folder on the path is no package yet
        resolve_source(PackageSource(package="made_up_texts", files=("data/*.txt",)), "dataset")
    information = tmp_path / "made_up_texts-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up-texts\nVersion: 1.0\n")
    (information / "top_level.txt").write_text("made_up_texts\njson_single\n")
    found = resolve_source(PackageSource(package="made_up_texts", files=("data/*.txt",)), "dataset")
    assert found.names == ["data/a.txt"]
    assert "made_up_texts" not in sys.modules
    with pytest.raises(SourceError, match="not installed: `pip install no-such-texts`"):
        resolve_source(PackageSource(package="no_such_texts", files=("*",)), "dataset")
    for module in ("__main__", "tests", "sys"):  # Python finds these, but they were not installed
        with pytest.raises(SourceError, match="not installed"):
            resolve_source(PackageSource(package=module, files=("*",)), "dataset")
    with pytest.raises(SourceError, match="not the import name"):
        resolve_source(PackageSource(package="os.path", files=("*",)), "dataset")
    with pytest.raises(SourceError, match="a single module"):
        resolve_source(PackageSource(package="json_single", files=("*",)), "dataset") if _module(tmp_path) else None


def _module(folder: Path) -> bool:
    (folder / "json_single.py").write_text("")
    return True


def test_hub_files_come_by_commit(hub: Hub) -> None:
    repo = hub.repo("dataset", "me/texts")
    (repo / "data").mkdir()
    (repo / "data/a[1].jsonl").write_text('{"text": "x"}\n')
    (repo / "notes.md").write_text("hello")
    found = resolve_source(HubSource(repo="me/texts"), "dataset")
    assert found.identity == {"repo": "me/texts", "commit": COMMIT, "patterns": [], "config": None}
    assert (found.label, found.names, found.size) == ("me/texts@aaaaaaa", ["data/a[1].jsonl"], 14)
    done: list[int] = []
    root = found.fetch(found.names, done.append)
    assert done[-1] == 14, "bytes"
    assert (root / "data/a[1].jsonl").read_text() == '{"text": "x"}\n'
    assert not (root / "notes.md").exists()


def put(repo: Path, *names: str, card: str = "") -> None:
    for name in names:
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(f'{{"text": "{name}"}}\n')
    if card:
        (repo / "README.md").write_text(f"---\n{card}---\n# A card\n")


CARD = """
license: cc0-1.0
configs:
- config_name: small
  data_files:
  - {split: train, path: "small/part-0*"}
  - {split: test, path: ["small/held.jsonl"]}
- config_name: large
  data_dir: large
- config_name: odd
  data_files: [{split: train_sft, path: a.jsonl}, {split: test_sft, path: b.jsonl}, {split: extra, path: small/**}]
"""


def test_a_dataset_of_several_configs(hub: Hub) -> None:
    names = ["small/part-00.jsonl", "small/part-01.jsonl", "small/held.jsonl", "large/x/train.jsonl", "large/notes.md"]
    put(hub.repo("dataset", "me/texts"), *names, "a.jsonl", "b.jsonl", card=CARD)

    def config(name: str | None) -> ResolvedSource:
        return resolve_source(HubSource(repo="me/texts", config=name), "dataset")

    with pytest.raises(SourceError, match=r"has 3 configs: set source\.config to one of small, large, odd"):
        config(None)
    with pytest.raises(SourceError, match=r"has no config 'big'; its card lists small, large, odd"):
        config("big")
    small = config("small")
    assert small.names == ["small/held.jsonl", "small/part-00.jsonl", "small/part-01.jsonl"]
    assert small.splits == dict(zip(small.names, ["test", "train", "train"], strict=True))
    assert small.identity["config"] == "small"
    large = config("large")
    assert (large.names, large.splits) == (["large/x/train.jsonl"], None)
    assert config("odd").splits == {
        "a.jsonl": "train", "b.jsonl": "test", **dict.fromkeys(small.names, "train"),
    }  # fmt: skip
    with pytest.raises(ValueError, match="not both"):
        DownloadConfig.model_validate(
            {"what": "dataset", "source": {"type": "hub", "repo": "me/texts", "config": "small", "files": ["*"]}}
        )


def test_the_default_config_of_a_card_and_a_card_that_is_wrong(hub: Hub) -> None:
    repo = hub.repo("dataset", "me/texts")
    put(
        repo,
        "a.jsonl",
        "b/c.jsonl",
        card='configs:\n- {config_name: x, data_files: "b/*"}\n- {config_name: default, data_files: "*.jsonl"}\n',
    )
    assert resolve_source(HubSource(repo="me/texts"), "dataset").names == ["a.jsonl"]
    put(hub.repo("dataset", "me/wrong"), "a.jsonl", card='configs: [{config_name: x, data_files: "none/*"}]\n')
    with pytest.raises(SourceError, match=r"no file matches 'none/\*' of config 'x' of its card"):
        resolve_source(HubSource(repo="me/wrong"), "dataset")


@pytest.mark.parametrize("text", ["", "no head", "---\n: [\n---\n", "---\nconfigs: 5\n---\n", "---\n- a\n---\n"])
def test_a_card_without_configs(text: str) -> None:
    assert card_configs(text) == []


def test_folders_of_a_hub_dataset_without_a_card_are_configs_too(hub: Hub) -> None:
    put(hub.repo("dataset", "me/wiki"), *(f"wiki-{n}/{split}.jsonl" for n in (2, 103) for split in ("train", "test")))
    with pytest.raises(SourceError, match=r"several datasets, .*: set source\.config to one of wiki-103, wiki-2"):
        resolve_source(HubSource(repo="me/wiki"), "dataset")
    found = resolve_source(HubSource(repo="me/wiki", config="wiki-2"), "dataset")
    assert found.names == ["wiki-2/test.jsonl", "wiki-2/train.jsonl"]
    with pytest.raises(SourceError, match=r"has no config 'x': set source\.config to one of wiki-103, wiki-2"):
        resolve_source(HubSource(repo="me/wiki", config="x"), "dataset")


def test_a_quantised_model_is_refused_before_its_weights_are_fetched(hub: Hub, tmp_path: Path) -> None:
    repo = hub.repo("model", "me/model")
    (repo / "model.safetensors").write_bytes(b"never fetched")
    for folder, source in (
        (repo, HubSource(repo="me/model")),
        (tmp_path / "local", LocalSource(path=str(tmp_path / "local"))),
    ):
        folder.mkdir(exist_ok=True)
        (folder / "model.safetensors").write_bytes(b"never fetched")
        (folder / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "gptq"}}))
        with pytest.raises(SourceError, match=r"is quantised with gptq .*: take the model in float"):
            resolve_source(source, "model")
    assert not any("safetensors" in request for request in hub.requests)
    (tmp_path / "local/config.json").write_text(json.dumps({"quantization_config": {"quant_method": "mxfp4"}}))
    assert resolve_source(LocalSource(path=str(tmp_path / "local")), "model").size > 0


def test_a_path_that_is_not_utf8_is_refused_by_its_key() -> None:
    with pytest.raises(ValueError, match=r"path\n.*the path is not UTF-8: give a folder above it"):
        LocalSource(path=os.fsdecode(b"/data/caf\xe9.txt"))


@pytest.mark.parametrize(
    "source",
    [
        LocalSource(path="/" + "x/" * 2000),
        PackageSource(package="x" * 5000, files=("*",)),
        PackageSource(package="x " * 5000, files=("*",)),
        HubSource(repo="x" * 5000),
        HubSource(repo="me/texts", revision="x" * 5000),
        HubSource(repo="me/texts", files=("x" * 300,) * 64),
        HubSource(repo="me/texts", config="x" * 200),
    ],
)
def test_messages_are_bounded(hub: Hub, source: HubSource | LocalSource | PackageSource) -> None:
    put(hub.repo("dataset", "me/texts"), *(f"{'y' * 200}{i}.jsonl" for i in range(20)))
    with pytest.raises(SourceError) as caught:
        resolve_source(source, "dataset")
    assert len(str(caught.value)) < 500
