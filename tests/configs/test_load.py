"""Reading configs: nested files, overrides, and one clear line for each fault."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import yaml

from configs.base import Config, StageConfig
from configs.download import DownloadConfig
from configs.load import ConfigError, load_config, parse_config
from configs.stages import STAGES
from configs.tokenize import TokenizeConfig

PRESETS = Path(__file__).resolve().parents[2] / "configs" / "presets"


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_preset_is_a_config_of_the_stage_it_is_named_by(path: Path) -> None:
    stage = path.stem.split("-")[0]
    config = load_config(stage, path)
    assert config.stage == stage
    assert parse_config(stage, config.model_dump(mode="json")) == config


def _all_models(kind: type[Config] = Config) -> list[type[Config]]:
    return [kind, *(model for child in kind.__subclasses__() for model in _all_models(child))]


def test_every_field_is_documented_and_every_config_refuses_unknown_keys() -> None:
    models = _all_models()
    assert {entry.config for entry in STAGES.values()} <= set(models)
    for model in models:
        assert model.model_config["extra"] == "forbid"
        assert model.model_config["frozen"]
        for name, field in model.model_fields.items():
            assert field.description or name == "stage", f"{model.__name__}.{name} has no description"


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_a_config_is_read_from_standard_input_with_paths_that_start_in_this_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.yaml").write_text((PRESETS / "download-model.yaml").read_text())
    config = "stage: tokenize\ncontext_length: 16\ndataset: datasets/0123456789abcdef\nmodel: model.yaml\n"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(config))
    read = load_config("tokenize", name, ["seed=3"])
    assert isinstance(read, TokenizeConfig)
    assert (read.context_length, read.seed) == (16, 3)
    assert isinstance(read.model, DownloadConfig)
    monkeypatch.setattr("sys.stdin", io.StringIO("- a list"))
    with pytest.raises(ConfigError, match="standard input must hold a mapping"):
        load_config("tokenize", name)


def test_a_list_of_inputs_is_read_in_place(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "text.yaml").write_text(
        "stage: download\nwhat: dataset\nsource: {type: local, path: text.txt}\n"
    )
    (tmp_path / "tokens.yaml").write_text(
        "stage: tokenize\ndataset: datasets/0123456789abcdef\nmodel: models/0123456789abcdef\nweights: [2, 1]\n"
        "other_datasets: [more/text.yaml]\n"
    )
    read = load_config("tokenize", tmp_path / "tokens.yaml", ["other_datasets.0.source.files=[text.*]"])
    assert isinstance(read, TokenizeConfig)
    other = read.other_datasets[0]
    assert isinstance(other, DownloadConfig)
    assert other.source.path == str(tmp_path / "more" / "text.txt")
    assert other.source.files == ("text.*",)


def test_a_config_is_read_from_a_pipe(tmp_path: Path) -> None:
    """As `--config <(...)` gives one."""
    reader, writer = os.pipe()
    os.write(writer, b"stage: maintain")
    os.close(writer)
    assert load_config("maintain", f"/dev/fd/{reader}").stage == "maintain"
    os.close(reader)


def test_overrides_reach_into_nested_files_and_lists() -> None:
    config = load_config("train", PRESETS / "train.yaml", ["tokens.context_length=64", "saes.0.k=16", "rows=null"])
    assert (config.tokens.context_length, config.saes[0].k, config.rows) == (64, 16, None)


def test_off_and_no_are_words_where_an_option_is_not_true_or_false(tmp_path: Path) -> None:
    config = load_config("tokenize", PRESETS / "tokenize.yaml", ["packing=off", "return_attention_mask=off"])
    assert (config.packing, config.return_attention_mask) == ("off", False)
    assert load_config("train", PRESETS / "train.yaml", ["autocast=off"]).autocast == "off"
    text = "sae: saes/0000000000000000\ntokens: tokens/0000000000000000\nclass_column: spam\nclasses: [yes, no]\n"
    (tmp_path / "probe.yaml").write_text(text)
    assert load_config("probe", tmp_path / "probe.yaml", []).classes == ("yes", "no")


def test_an_override_reaches_all_configs_of_a_stage() -> None:
    config = load_config("pipeline", PRESETS / "pipeline.yaml", ["train:rows=320", "tokenize:context_length=64"])
    trains = [
        stage if stage.stage == "train" else stage.sae for stage in config.stages if stage.stage in ("train", "extract")
    ]
    assert len(trains) == 2
    assert {(train.rows, train.tokens.context_length) for train in trains} == {(320, 64)}
    with pytest.raises(ConfigError, match="no config of stage 'trian' here"):
        load_config("pipeline", PRESETS / "pipeline.yaml", ["trian:rows=320"])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["saes.0.k=9999"], r"saes\.0: k = 9999 is larger than d_sae = 4608: at most 4608 latents can be active"),
        (
            ["foo=1"],
            r"train\.yaml: unknown key foo: the keys there are activations, autocast, batch_rows, .*, saes, seed",
        ),
        (["saes.0.foo=1"], r"unknown key saes\.0\.foo: the keys there are .*d_sae, .*hook, hooks, k, "),
        (["tokens.foo=1"], r"unknown key tokens\.foo: the keys there are .*context_length"),
        (["tokens.context_length=x"], r"tokens\.context_length: Input should be a valid integer"),
        (["saes.3.k=1"], r"--set saes\.3: expected a number from 0 to 0, got '3'"),
        (["rows"], r"expected key\.path=value"),
        (["model=models/123"], r"model: .*expected models/ and 16 hexadecimal digits"),
        (["lanes=3"], r"batch_rows = \d+ is not a multiple of lanes = 3"),
        (["cache.dtype=int8"], r"cache\.dtype: Input should be 'fp32', 'bf16' or 'fp16'"),
        (["seed=-1"], r": seed: Input should be greater than or equal to 0 \(got -1\)"),
        (["rows=1e30"], r": rows: Input should be"),
        (["rows=9223372036854775808"], r": rows: Input should be less than 2\^63"),
        (["saes.0.lr=.inf"], r": saes\.0\.lr: Input should be a finite number \(got inf\)"),
        (["resources.cpus=.inf"], r": resources\.cpus: Input should be a finite number \(got inf\)"),
        (["model=[1]"], r": model: expected an artifact's id, or a mapping that is the config of the stage that makes"),
        (
            ["model.source.type=web"],
            r": model\.source: Input tag 'web' found using 'type' does not match any of .*'hub'",
        ),
        (
            ["tokens.dataset.source={type: hub, rebo: a/b, repo: a/b}"],
            r"unknown key tokens\.dataset\.source\.rebo: .* repo",
        ),
        (["tokens.dataset.what=text"], r": tokens\.dataset\.what: Input should be 'model' or 'dataset'"),
    ],
)
def test_each_fault_is_one_line_that_names_key_and_cure(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load_config("train", PRESETS / "train.yaml", overrides)
    assert len(str(caught.value).splitlines()) == 1, str(caught.value)


def test_messages_are_bounded_whatever_was_given() -> None:
    with pytest.raises(ConfigError, match=r"\.\.\. and \d+ more$") as caught:
        parse_config("train", {"saes": [{"hook": "b" * 9000, "d_sae": "x" * 9000}] * 100, "y" * 9000: 1})
    assert len(str(caught.value)) < 500
    with pytest.raises(ConfigError, match=r"unknown key yyy") as caught:
        parse_config("maintain", {"y" * 9000: "z" * 9000})
    assert len(str(caught.value)) < 500


def test_a_config_of_another_stage_is_named_with_the_right_command() -> None:
    with pytest.raises(
        ConfigError, match=r"is a config of stage 'tokenize', not of 'train': run `python -m jobs tokenize"
    ):
        load_config("train", PRESETS / "tokenize.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1", "must hold a mapping"),
        ("a: [", "not valid YAML: .* in line 1, column 5"),
        ("rows: 8\nseed: 1\nrows: 9", "not valid YAML: key 'rows' is given twice, in lines 1 and 3"),
        ("policy: {sink_factor: 2, sink_factor: 3}", "key 'sink_factor' is given twice"),
        ("a: " + "[" * 1000, "nested too deep"),
        ("stage: train\nmodel: me.yaml", "refers to itself|no config"),
    ],
)
def test_files_that_are_no_configs(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "me.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_config("train", path)
    with pytest.raises(ConfigError, match="there is no config file"):
        load_config("train", tmp_path / "absent.yaml")


def test_local_paths_are_relative_to_their_file(tmp_path: Path) -> None:
    body = {"stage": "download", "what": "dataset", "source": {"type": "local", "path": "texts"}}
    (tmp_path / "d.yaml").write_text(yaml.safe_dump(body))
    assert load_config("download", tmp_path / "d.yaml").source.path == str(tmp_path / "texts")


def test_resources_and_runtime_are_no_part_of_the_science() -> None:
    plain = load_config("train", PRESETS / "train.yaml")
    tuned = load_config("train", PRESETS / "train.yaml", ["resources.workers=2", "runtime.checkpoint_blocks=1"])
    nested = load_config("train", PRESETS / "train.yaml", ["tokens.resources.workers=4"])
    assert plain.science() == tuned.science() == nested.science()
    assert isinstance(plain, StageConfig)


def test_the_derived_harvest_is_the_preset_harvest() -> None:
    assert load_config("train", PRESETS / "train.yaml").harvest() == load_config("harvest", PRESETS / "harvest.yaml")


def test_the_input_of_a_block_is_stored_as_the_output_of_the_one_before() -> None:
    config = load_config("train", PRESETS / "train.yaml", ["saes.0.hook=blocks.8.hook_resid_pre"])
    assert config.saes[0].hook == "blocks.7.hook_resid_post"
    assert load_config("train", PRESETS / "train.yaml", ["saes.0.hook=blocks.0.hook_resid_pre"]).hooks() == (
        "blocks.0.hook_resid_pre",
    )
