"""`python -m jobs steer` on a store: what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.catalog import open_catalog
from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from jobs.__main__ import main
from tests.actors.extract_world import make_saes, make_world, train_config


@pytest.fixture(scope="module")
def sae(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, ArtifactRef]:
    store = make_world(tmp_path_factory.mktemp("world"), tiny_gpt2)
    return store, make_saes(store, train_config(None), None, tmp_path_factory.mktemp("sae"))[0]


@pytest.fixture
def home(sae: tuple[Store, ArtifactRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path))
    monkeypatch.setenv("RAYLENS_STORE", sae[0].url)
    return str(sae[1])


def _steer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, Any], str]:
    assert main(["steer", *arguments]) == 0, capsys.readouterr().err
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def test_a_curve_on_the_command_line_is_that_of_a_request(
    home: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = ("--text", "the boat", "--max-tokens", "4")
    found, said = _steer(
        capsys, home, "--latent", "3", "--value", "0.5", "--unit", "norm", *text, "--dose", "0", "--dose", "1"
    )
    assert found["steered"][0]["ids"] == found["unsteered"]["ids"]
    assert found["steered"][1]["positions"] > 0
    assert found["steered"][1]["change"] == pytest.approx(0.5, rel=1e-4)
    assert "without a change" in said
    assert "KL 0 nats" in said
    change = {"sae": home, "latent": 3, "op": "add", "value": 0.5, "unit": "norm"}
    body = {"text": "the boat", "max_tokens": 4, "doses": [0, 1], "interventions": [change]}
    (tmp_path / "request.json").write_text(json.dumps(body))
    assert _steer(capsys, "--request", str(tmp_path / "request.json"))[0] == found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["SAE", "--latent", "3", "--text", "x"], "add needs a value"),
        (["SAE", "--latent", "3", "--value", "1"], "give an SAE with --latent and --text"),
        (["SAE", "--latent", "3", "--value", "1", "--text", "x", "--unit", "max"], "--unit max needs the features of"),
        (["SAE", "--latent", "999", "--value", "1", "--text", "x"], "there is no latent 999"),
        (["saes/" + "9" * 16, "--latent", "3", "--value", "1", "--text", "x"], "saes/9999999999999999"),
        (["--request", "nothing.json"], "nothing.json"),
    ],
)
def test_what_cannot_be_done_is_said(
    home: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    open_catalog().close()
    assert main(["steer", *(home if one == "SAE" else one for one in arguments)]) != 0
    assert message in capsys.readouterr().err
