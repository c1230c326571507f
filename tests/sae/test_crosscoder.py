"""Crosscoders: their loss hook by hook, what is written of them, how they are measured at their hooks, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from configs.architectures import BatchTopKConfig, StandardConfig, TopKConfig
from configs.data_positions import DataPolicy
from configs.steering import Intervention
from configs.train import TrainConfig
from sae.architectures import Step, make_architecture
from sae.calibration import Calibration
from sae.exporters import ExportSource, NotExportable, write_export
from sae.features.row_sketcher import HookRows, rows_from_model, side_by_side
from sae.features.similar import decoder_directions
from sae.features.text_activations import activations_on_text
from sae.features.write_features import describe_directions
from sae.formats.artifact_files import LocalFiles
from sae.formats.sae_folder import Sae, load_sae, write_sae
from sae.formats.tokens import TokenRows, TokensReader
from sae.joint_hooks import joint_calibration
from sae.language_model import LanguageModel
from sae.metrics.batch_evaluation import Batch, RowResults, join
from sae.metrics.chunk_results import load_results, save_results
from sae.metrics.crosscoder_evaluation import evaluate_crosscoders
from sae.metrics.summary import summarise
from sae.metrics.weights import measure_weights
from sae.steering.errors import SteeringError
from sae.steering.plan import make_plan
from sae.training.build import build_run
from sae.training.collectives import LocalCollective
from sae.training.initial_weights import initial_tensors
from sae.training.loop import AfterBlock, train
from sae.training.sae_trainer import SaeTrainer
from tests.artifacts import write_tokens

HOOKS = ["blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out", "blocks.1.hook_resid_post"]
IDS = {"model": "models/" + "0" * 16, "tokens": "tokens/" + "0" * 16}
WIDTHS, SCALES, STEPS = (6, 9, 5), (0.7, 1.6, 0.05), 60
POLICY = DataPolicy(calibration_rows=8)
KINDS: dict[str, dict[str, Any]] = {
    **{name: {"k": 4} for name in ("topk", "batchtopk", "hierarchicaltopk", "matryoshka")},
    "standard": {"l1": 0.5, "decoder_norm": "free"}, "gated": {"l1": 0.5}, "jumprelu": {"target": 4.0},
}  # fmt: skip


def trainer(name: str, **more: Any) -> SaeTrainer:
    """A crosscoder of three hooks with other widths, scales and means."""
    sae = {"hooks": HOOKS, "d_sae": 48, "lr": 0.01, "lr_warmup": 0, "architecture": name, **KINDS[name], **more}
    (config,) = TrainConfig.model_validate({**IDS, "saes": [sae]}).saes
    parts = zip(HOOKS, SCALES, WIDTHS, strict=True)
    first, *others = (Calibration(hook, 1.0, 9.0, s, torch.full((d,), 0.3 / s), 1, 1, 0) for hook, s, d in parts)
    return SaeTrainer(config, first, STEPS, others=others)


def batch(seed: int, n: int = 128) -> Tensor:
    """Sums of a few of 24 directions through all hooks; the activations of each hook have a length of their own."""
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.randn(24, sum(WIDTHS), generator=torch.Generator().manual_seed(99))
    sums = (torch.rand(n, 24, generator=generator) * (torch.rand(n, 24, generator=generator) < 0.1)) @ atoms + 0.3
    return torch.cat([part / scale for part, scale in zip(sums.split(WIDTHS, 1), SCALES, strict=True)], dim=1)


def written(one: SaeTrainer, folder: Path) -> Sae:
    """Its folder, as the training worker writes it, and read again."""
    metadata = {"hook_name": one.config.place, "hook_names": list(one.config.all_hooks())}
    files = write_sae(folder, one.config.architecture, one.export(), metadata, one.calibration, {}, *one.others)
    assert set(files) == {path.name for path in folder.iterdir()}
    return load_sae(folder)


@pytest.mark.parametrize(
    ("cls", "own"),
    [
        (TopKConfig, {}),
        (BatchTopKConfig, {}),
        (StandardConfig, {"l1": 0.7}),
        (StandardConfig, {"l1": 0.7, "decoder_norm": "free"}),
        (StandardConfig, {"l1": 0.7, "hook_norms": "joint"}),
    ],
)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 20),
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    k=st.integers(1, 5),
)
@settings(max_examples=20, deadline=None)
def test_gradients_are_those_of_the_loss_summed_over_hooks(
    cls: type[Any], own: dict[str, Any], seed: int, n: int, widths: list[int], k: int
) -> None:
    """The formula as papers write it: an encoder, a decoder and a bias for each hook, and one set of latents."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    (name,) = cls.model_fields["architecture"].annotation.__args__
    hooks = [f"blocks.{number}.hook_mlp_out" for number in range(len(widths))]
    more = {"k": k} if "k" in cls.model_fields else own
    config = cls.model_validate({"architecture": name, "hooks": hooks, "d_sae": 12, **more})
    parts = [
        Calibration(hook, 1.0, 9.0, 2.0, normal(d).float(), 1, 1, 0) for hook, d in zip(hooks, widths, strict=True)
    ]
    sae: Any = make_architecture(config, [joint_calibration(parts), *parts], "cpu", False)
    sae.parameters = {
        key: value.detach().double() + 0.2 * normal(*value.shape) for key, value in sae.parameters.items()
    }
    sae.after_step()
    x = 2 * normal(n, sum(widths))
    with torch.no_grad():
        done = sae.gradients(x, Step(99, 100, torch.empty(0, dtype=torch.int64)))

    p = {key: value.clone().requires_grad_() for key, value in sae.parameters.items()}
    enc, dec, bias = p["W_enc_t"].split(widths, 1), p["W_dec"].split(widths, 1), p["b_dec"].split(widths)
    xs = x.split(widths, 1)
    pre = sum((one - b) @ w.T for one, b, w in zip(xs, bias, enc, strict=True)) + p["b_enc"]
    z, penalty = pre.relu(), x.new_zeros(())
    if cls is StandardConfig:
        norms = p["W_dec"].norm(dim=1) if "hook_norms" in own else sum(w.norm(dim=1) for w in dec)
        penalty = own["l1"] * (z * norms).sum()
    else:
        flat = pre if name == "topk" else pre.reshape(1, -1)
        index = flat.topk(k if name == "topk" else k * n, dim=1).indices
        z = z * torch.zeros_like(flat).scatter_(1, index, 1.0).view_as(pre)
    errors = [(z @ w + b - one).square().sum() for one, b, w in zip(xs, bias, dec, strict=True)]
    ((sum(errors) + penalty) / x.numel()).backward()
    expected = {key: value.grad for key, value in p.items()}
    if not config.free_decoder:
        along = (expected["W_dec"] * sae.parameters["W_dec"]).sum(1, keepdim=True)
        expected["W_dec"] = expected["W_dec"] - along * sae.parameters["W_dec"]
    for key, gradient in expected.items():
        error = (done.gradients[key] - gradient).norm()
        assert error <= 1e-5 * max(float(gradient.norm()), 1e-6), (key, float(error))
    assert float(done.squared_error) == pytest.approx(sum(float(one.detach()) for one in errors), rel=1e-9)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_written_computes_what_was_trained(name: str, tmp_path: Path) -> None:
    one = trainer(name)
    for number in range(STEPS):
        one.step(batch(number))
    one.measure(batch(STEPS, 512))
    curve = one.curve()
    assert curve[-1].mse < 0.7 * curve[0].mse
    sae = written(one, tmp_path)
    assert (sae.is_crosscoder, sae.is_transcoder, sae.hooks) == (True, False, tuple(HOOKS))
    assert (sae.widths, sae.config["d_in"]) == (list(WIDTHS), sum(WIDTHS))
    assert [round(own.scale, 6) for own in sae.calibrations] == list(SCALES)
    torch.testing.assert_close(sae.directions.norm(dim=1), torch.ones(48))
    found = measure_weights(sae)
    assert len(found.encoder_decoder) == len(found.decoder_overlap) == 48

    x, scales = batch(STEPS, 512), torch.cat([torch.full((d,), s) for d, s in zip(WIDTHS, SCALES, strict=True)])
    error = float(((sae.reconstruct(x) - x) * scales).double().square().sum())
    with torch.no_grad():
        last = one.architecture.gradients(x * scales, Step(STEPS, STEPS, torch.empty(0, dtype=torch.int64)))
    assert error == pytest.approx(float(last.squared_error), rel=0.15 if name in ("batchtopk", "matryoshka") else 1e-4)


def test_one_starts_from_another_of_the_same_hooks(tmp_path: Path) -> None:
    first = trainer("topk")
    for number in range(STEPS):
        first.step(batch(number))
    written(first, tmp_path)
    ref = "saes/" + "1" * 16
    again = trainer("topk", start_from=ref)
    tensors = initial_tensors(LocalFiles(tmp_path), again.config)
    again = SaeTrainer(again.config, again.calibration, STEPS, others=again.others, initial=tensors)
    for name, parameter in first.architecture.parameters.items():
        torch.testing.assert_close(again.architecture.parameters[name], parameter, atol=1e-5, rtol=1e-4)
    for place in ({"hooks": HOOKS[:2]}, {"hook": HOOKS[0]}):
        other = TopKConfig.model_validate({**place, "d_sae": 48, "start_from": ref})
        with pytest.raises(ValueError, match=r"reads blocks.0.hook_mlp_out, .* cannot start from it"):
            initial_tensors(LocalFiles(tmp_path), other)


class World:
    """A crosscoder that was trained on the tiny model beside an SAE, on one pass, and what both were trained on."""

    def __init__(self, gpt2: Path, folder: Path) -> None:
        self.model = gpt2
        (folder / "tokens").mkdir()
        write_tokens(folder / "tokens", gpt2, {"train": 24})
        self.files = LocalFiles(folder / "tokens")
        run = build_run(self.config(), [0, 1], LocalFiles(gpt2), self.files, None, LocalCollective(), "cpu")
        assert run.hooks == (tuple(HOOKS), (HOOKS[2],))
        train(run, LocalCollective(), 0, lambda _: None, lambda _: AfterBlock(False, False), lambda _: None)
        self.sae = written(run.trainers[0], folder / "sae")
        self.alone = written_alone(run.trainers[1], folder / "alone")
        self.lm, self.tokens = LanguageModel.load(gpt2), TokensReader(self.files, "train")

    def config(self, **first: Any) -> TrainConfig:
        both = {"d_sae": 96, "k": 8, "lr": 0.01}
        return TrainConfig.model_validate(
            {
                **IDS, "saes": [{"hooks": HOOKS, **both, **first}, {"hook": HOOKS[2], **both}], "lm_dtype": "fp32",
                "autocast": "off", "epochs": 8, "batch_rows": 4, "block_steps": 6, "policy": POLICY.model_dump(),
            }
        )  # fmt: skip

    def activations(self, rows: TokenRows) -> list[Tensor]:
        found = self.lm.run_to(torch.from_numpy(rows.input_ids).long(), [self.lm.hook(hook) for hook in HOOKS])
        return [found[hook] for hook in HOOKS]


def written_alone(one: SaeTrainer, folder: Path) -> Sae:
    write_sae(folder, "topk", one.export(), {"hook_name": one.config.hook}, one.calibration, {})
    return load_sae(folder)


@pytest.fixture(scope="module")
def world(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tiny_gpt2, tmp_path_factory.mktemp("crosscoder"))


def measure(world: World, start: int, stop: int, loss_rows: int) -> RowResults:
    batch = Batch(start, world.tokens.read(start, stop), loss_rows)
    return evaluate_crosscoders(world.lm, [world.sae], batch, POLICY, "row")[0]


def test_its_figures_are_those_of_all_hooks_and_of_each(world: World, tmp_path: Path) -> None:
    parts = [measure(world, 0, 3, 3), measure(world, 3, 8, 1)]
    save_results([join(parts)], tmp_path / "part")
    (stored,) = load_results(tmp_path / "part")
    whole = summarise([measure(world, 0, 8, 4)]).metrics
    assert summarise([stored]).metrics == whole, "whatever the batches"

    rows = world.tokens.read(0, 8)
    data = torch.from_numpy(rows.roles == 0)
    xs = [x[data].double() for x in world.activations(rows)]
    made = world.sae.reconstruct(torch.cat(xs, dim=1).float()).double().split(world.sae.widths, 1)
    errors = [(y - x).square().sum() for x, y in zip(xs, made, strict=True)]
    variances = [(x - x.mean(0)).square().sum() for x in xs]
    each = [1 - float(e / v) for e, v in zip(errors, variances, strict=True)]
    assert whole["ev_of_hooks"] == pytest.approx(each, abs=1e-6)
    weights = [own.scale**2 for own in world.sae.calibrations]
    share = sum(w * e for w, e in zip(weights, errors, strict=True)) / sum(
        w * v for w, v in zip(weights, variances, strict=True)
    )
    assert whole["ev"] == pytest.approx(1 - float(share), abs=1e-6)
    assert whole["ev"] > 0.3
    assert whole["l0"] == pytest.approx(8, abs=0.5)


def test_a_control_beside_it_changes_none_of_its_figures(world: World) -> None:
    mixed = {**world.sae.tensors, "W_dec": world.sae.W_dec.flip(0)}
    control = Sae(mixed, world.sae.config, world.sae.calibrations[0], {}, world.sae.calibrations[1:])
    batch = Batch(0, world.tokens.read(0, 4), 2)
    both = evaluate_crosscoders(world.lm, [world.sae, control], batch, POLICY, "row")
    own, other = (summarise([one]).metrics for one in both)
    assert own == summarise([measure(world, 0, 4, 2)]).metrics
    assert other["ev"] < own["ev"] and other["ce_score_zero"] < own["ce_score_zero"]


def test_losses_are_those_of_passes_with_all_hooks_replaced(world: World) -> None:
    losses = measure(world, 0, 4, 4).losses
    assert losses is not None
    rows = world.tokens.read(0, 4)
    ids, data = torch.from_numpy(rows.input_ids).long(), torch.from_numpy(rows.roles == 0)
    xs = world.activations(rows)
    made = world.sae.reconstruct(torch.cat([x[data] for x in xs], dim=1)).split(world.sae.widths, 1)
    scored = data.clone()
    scored[:, -1] = False
    targets = torch.roll(ids, -1, dims=1)[scored]

    def loss(parts: list[Tensor] | None, replaced: list[int]) -> float:
        taps = []
        for i in replaced:
            value = xs[i].clone()
            value[data] = parts[i] if parts is not None else 0.0
            tap = world.lm._tap(world.lm.hook(HOOKS[i]), ids.shape)
            taps.append(tap.replace(lambda _, value=value: value))
        logits = world.lm.logits(ids)
        for tap in taps:
            tap.remove()
        return float(torch.nn.functional.cross_entropy(logits[scored].double(), targets, reduction="sum"))

    all_hooks = [0, 1, 2]
    clean, own, zero, _ = losses.ce.sum(axis=0)
    assert clean == pytest.approx(loss(None, []), rel=1e-5)
    assert own == pytest.approx(loss(list(made), all_hooks), rel=1e-5)
    assert zero == pytest.approx(loss(None, all_hooks), rel=1e-5)
    assert own == pytest.approx(loss(list(made), [2]), rel=1e-5), "the residual stream at the last hook decides"
    assert clean < own < zero


def test_replacing_hooks_that_are_added_to_the_stream_replaces_each(world: World) -> None:
    """Of two MLP outputs both count, whichever comes first in the config."""
    found = []
    for order in ([0, 1], [1, 0]):
        blocks = list(torch.arange(world.lm.d_model * 3).split(world.lm.d_model))
        at = torch.cat([blocks[i] for i in order])
        tensors = {name: world.sae.tensors[name] for name in ("b_enc", "W_enc", "W_dec", "b_dec")}
        tensors |= {"W_enc": tensors["W_enc"][at], "W_dec": tensors["W_dec"][:, at], "b_dec": tensors["b_dec"][at]}
        names = [HOOKS[i] for i in order]
        config = {**world.sae.config, "metadata": {"hook_name": " + ".join(names), "hook_names": names}}
        first, other = (world.sae.calibrations[i] for i in order)
        batch = Batch(0, world.tokens.read(0, 4), 4)
        two = Sae(tensors, config, first, {}, [other])
        found.append(evaluate_crosscoders(world.lm, [two], batch, POLICY, "row")[0].losses)
    assert found[0] is not None and found[1] is not None
    assert found[0].ce.sum(axis=0) == pytest.approx(found[1].ce.sum(axis=0), rel=1e-4)
    assert found[0].ce[:, 1].sum() > found[0].ce[:, 0].sum()


def test_its_codes_are_the_same_in_extraction_and_on_a_text(world: World) -> None:
    calibrations = dict(zip(world.sae.hooks, world.sae.calibrations, strict=True))
    found = rows_from_model(world.lm, world.tokens, calibrations, POLICY, 0, 2, 2)
    length = world.tokens.context_length
    joined = side_by_side([found[hook] for hook in HOOKS], length)
    rows = world.tokens.read(0, 2)
    torch.testing.assert_close(joined.acts, torch.cat([x[rows.roles == 0] for x in world.activations(rows)], dim=1))
    codes = world.sae.encode(joined.acts)
    on_text = activations_on_text(
        world.lm, world.sae, rows.input_ids[0].tolist(), rows.roles[0].tolist(), POLICY, "fp32", 3, [5]
    )
    expected = torch.zeros(length)
    first = joined.row == 0
    expected[joined.position[first]] = codes[first, 5]
    torch.testing.assert_close(torch.tensor(on_text.wanted[5]), expected, atol=1e-4, rtol=1e-4)

    directions, why = describe_directions(world.sae, world.model, 3, 2)
    assert why is None and directions.hook_norms is not None
    assert directions.hook_norms.shape == (96, 3)
    torch.testing.assert_close(directions.hook_norms.square().sum(1), torch.ones(96))
    assert describe_directions(world.alone, world.model, 3, 2)[0].hook_norms is None


def test_positions_count_that_are_data_at_each_hook() -> None:
    def at(*positions: int) -> HookRows:
        place = torch.tensor(positions)
        return HookRows(place[:, None].float(), place // 4, place % 4, {"bos": 1, "sink": 7 - len(positions)})

    joined = side_by_side([at(0, 1, 2, 5, 7), at(1, 2, 3, 7)], 4)
    assert joined.acts.tolist() == [[1, 1], [2, 2], [7, 7]]
    assert (joined.row * 4 + joined.position).tolist() == [1, 2, 7]
    assert joined.excluded == {"bos": 1, "sink": 4}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "hook missing"),
        ({"hooks": HOOKS[:1]}, "hooks has 1 hook; a crosscoder has at least two: for one, give `hook`"),
        ({"hooks": []}, "hooks has 0 hook"),
        ({"hooks": [HOOKS[0], HOOKS[1], HOOKS[0]]}, "hooks has blocks.0.hook_mlp_out more than once"),
        ({"hooks": ["blocks.1.hook_resid_pre", "blocks.0.hook_resid_post"]}, "blocks.0.hook_resid_post more than once"),
        ({"hooks": HOOKS, "hook": HOOKS[0]}, "hook = blocks.0.hook_mlp_out and hooks are both given"),
        ({"hooks": HOOKS, "target_hook": HOOKS[0]}, "target_hook is for transcoders"),
        ({"hooks": HOOKS, "skip_connection": True}, "skip_connection is for transcoders"),
        (
            {"hook": HOOKS[0], "architecture": "standard", "hook_norms": "joint"},
            "hook_norms = joint is for crosscoders",
        ),
    ],
)
def test_settings_that_make_no_crosscoder_are_refused(given: dict[str, Any], message: str) -> None:
    cls = StandardConfig if "architecture" in given else TopKConfig
    with pytest.raises(ValidationError, match=message):
        cls.model_validate({"d_sae": 48, **given})


def test_hooks_that_the_model_does_not_have_or_has_under_two_names_are_refused(world: World) -> None:
    model = LocalFiles(world.model)
    for hooks, message in (
        ([HOOKS[0], "blocks.99.hook_mlp_out"], "blocks.99.hook_mlp_out"),
        (
            [HOOKS[0], world.lm.hook(HOOKS[0]).module_path],
            "are the same hook, blocks.0.hook_mlp_out: give each hook once",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            build_run(world.config(hooks=hooks), [0], model, world.files, None, LocalCollective(), "cpu")


def test_what_crosscoders_cannot_do_is_refused_with_the_reason(world: World, tmp_path: Path) -> None:
    ref = "saes/" + "1" * 16
    change = Intervention.model_validate({"sae": ref, "latent": 3, "op": "add", "value": 1.0})
    with pytest.raises(SteeringError, match=f"{ref} is a crosscoder"):
        make_plan(world.lm, {ref: world.sae}, [change], {})
    when = {"sae": ref, "latent": 3, "above": 0.5}
    alone = Intervention.model_validate({**change.model_dump(), "sae": "saes/" + "2" * 16, "when": when})
    with pytest.raises(SteeringError, match=f"{ref} is a crosscoder"):
        make_plan(world.lm, {ref: world.sae, "saes/" + "2" * 16: world.alone}, [alone], {})
    with pytest.raises(NotExportable, match=r"saes/1 is a crosscoder of 3 hooks, and sparsify holds SAEs of one hook"):
        write_export("sparsify", ExportSource(world.sae, "saes/1"), tmp_path)
    metadata = {"hook_name": "a + b", "hook_names": ["a", "b"]}
    (tmp_path / "cfg.json").write_text(json.dumps({"metadata": metadata}))
    with pytest.raises(ValueError, match="a crosscoder of a, b has no directions"):
        decoder_directions(tmp_path)


def test_many_hooks_have_a_short_name() -> None:
    many = [f"blocks.{number}.hook_resid_post" for number in range(40)]
    config = TopKConfig.model_validate({"hooks": many, "d_sae": 48, "k": 4})
    assert config.label == "topk 48 k=4 at blocks.0.hook_resid_post + 39 more"


def test_an_sae_of_one_hook_has_the_config_that_it_had() -> None:
    """Ids of SAEs are hashes of their configs: a new option is in none of those that do not have it."""
    config = TopKConfig.model_validate({"hook": HOOKS[0], "d_sae": 48, "k": 4})
    assert "hooks" not in config.model_dump(mode="json")
    crosscoder = TopKConfig.model_validate({"hooks": HOOKS, "d_sae": 48, "k": 4})
    assert "hook" not in crosscoder.model_dump(mode="json")
    assert TopKConfig.model_validate(crosscoder.model_dump(mode="json")) == crosscoder
