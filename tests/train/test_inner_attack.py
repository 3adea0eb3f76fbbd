"""The inner attack: right gradients, inside the budget, deterministic per prompt, and without a trace in the model."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from medrobust_bench.attacks.budget import ball_budget, place_square
from medrobust_bench.data.image import canonical
from medrobust_bench.models import probes
from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.specs.seeds import Purpose, stream
from medrobust_bench.train.architecture import build_processor
from medrobust_bench.train.inner_attack import (
    InnerAttack,
    Perturbed,
    TargetLoss,
    corrected,
    frozen_eval,
    prompt_seed,
    stays_clean,
    with_noise,
)
from medrobust_bench.train.mixture import MixtureSettings
from medrobust_bench.train.settings import AttackSettings, NoiseSettings
from tests.train.conftest import SMALL, attentive_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerFast

    from medrobust_bench.data.question import Question

REASONING = STRATEGIES[AnswerMode.REASONING]
MODES = (AnswerMode.REASONING, AnswerMode.LETTER)


def adapter_of(tokenizer: PreTrainedTokenizerFast, mode: AnswerMode) -> HuggingFaceVLM:
    model = attentive_model(tokenizer).train()
    return HuggingFaceVLM(model, build_processor(SMALL, tokenizer), mode=mode, max_new_tokens=6)


def clean(questions: Sequence[Question]) -> list[Any]:
    return [canonical(question.image) for question in questions]


def texts(questions: Sequence[Question]) -> list[str]:
    return [REASONING.write("It is seen.", question.letter) for question in questions]


def test_a_model_in_mixed_precision_may_round_as_its_arithmetic_does(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trainers with bf16, which TRL turns on wherever there is a GPU, keep the weights in float32."""
    measured = probes.batch_gap
    monkeypatch.setattr(probes, "batch_gap", lambda adapter: measured(adapter) + 0.1)
    plain, mixed = (adapter_of(tokenizer, AnswerMode.LETTER) for _ in range(2))
    mixed.model.forward = torch.autocast("cpu", dtype=torch.bfloat16)(mixed.model.forward)
    assert mixed.dtype is plain.dtype is torch.float32
    InnerAttack(mixed, loss="letter", batch_size=4)
    with pytest.raises(InvalidInputError, match="depend on its batch"):
        InnerAttack(plain, loss="letter", batch_size=4)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("loss", ["completion", "words", "letter"])
def test_gradient_is_that_of_finite_differences(
    questions: tuple[Question, ...], tokenizer: PreTrainedTokenizerFast, mode: AnswerMode, loss: str
) -> None:
    adapter = adapter_of(tokenizer, mode)
    adapter.model.double()
    adapter.dtype = torch.float64
    attack = InnerAttack(adapter, loss=loss, batch_size=4)
    bound = adapter.bind_batch(questions[:2], clean(questions[:2]))
    targets = None
    if mode is AnswerMode.REASONING:
        targets = [
            attack._target(bound.generation, row, text, questions[row])
            for row, text in enumerate(texts(questions[:2]))
        ]
    objective = TargetLoss(bound, targets)
    pixels = bound.batch.pixels().double() * 0.9 + 0.05
    with frozen_eval(adapter):
        gradient = objective.gradient(pixels)
        # Logits come out in float32: along a random half of the gradient's signs the slope is far above its rounding.
        half = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(1)) < 0.5
        direction = gradient.sign() * half
        step = 1e-3
        up, down = (torch.tensor(objective.values(pixels + sign * step * direction)) for sign in (1, -1))
    slope = (gradient * direction).sum(dim=(1, 2, 3))
    assert slope.min() > 0.01
    torch.testing.assert_close((up - down) / (2 * step), slope.to(up), rtol=5e-3, atol=0)


def test_the_loss_counts_every_token_or_those_that_decide(
    questions: tuple[Question, ...], tokenizer: PreTrainedTokenizerFast
) -> None:
    adapter = adapter_of(tokenizer, AnswerMode.REASONING)
    question = replace(questions[0], options=("cyst", "edema", "tumor"), answer=1)
    bound = adapter.bind_batch([question], clean([question]))

    def counted(loss: str, text: str) -> tuple[str, str]:
        target = InnerAttack(adapter, loss=loss, batch_size=1)._target(bound.generation, 0, text, question)
        first, last = min(target.places), max(target.places) + 1
        return tokenizer.decode(target.tokens[:first]), tokenizer.decode(target.tokens[first:last])

    named, silent = REASONING.write("An edema is seen.", "B"), REASONING.write("It is seen.", "B")
    assert counted("completion", named) == ("", named)
    assert counted("letter", named) == ("<think>An edema is seen.</think><answer>", "B")
    before, deciding = counted("words", named)
    assert named.startswith(before + deciding)
    assert before.startswith("<think>An")
    assert len(before + deciding) <= len("<think>An edema")
    assert counted("words", silent) == counted("letter", silent)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_changes_keep_to_the_budget_and_raise_the_loss(
    questions: tuple[Question, ...], tokenizer: PreTrainedTokenizerFast, mode: AnswerMode, norm: str
) -> None:
    attack = InnerAttack(adapter_of(tokenizer, mode), loss="completion", batch_size=3)
    eps = Fraction(8, 255) if norm == "linf" else Fraction(1, 2)
    spec = AttackSettings(norm=norm, eps=eps, steps=4).at(0)
    assert spec is not None
    images = clean(questions[:4])
    made = attack.perturb(questions[:4], images, spec=spec, seeds=range(4), measure=True)
    for before, one in zip(images, made, strict=True):
        assert ball_budget(spec).violation(before, one.image) is None
        assert not np.array_equal(before, one.image)
    assert sum(one.loss or 0 for one in made) > sum(one.clean_loss or 0 for one in made)


def test_a_change_depends_on_its_seed_and_not_on_its_company(
    questions: tuple[Question, ...], tokenizer: PreTrainedTokenizerFast
) -> None:
    attack = InnerAttack(adapter_of(tokenizer, AnswerMode.REASONING), loss="completion", batch_size=8)
    spec = AttackSettings(steps=2).at(0)
    assert spec is not None

    def made(rows: list[int], seeds: list[int]) -> dict[int, Any]:
        asked = [questions[row] for row in rows]
        found = attack.perturb(
            asked, clean(asked), spec=spec, seeds=seeds, completions=texts(asked), passes=2
        )
        return dict(zip(rows, (one.image for one in found), strict=True))

    together, reversed_, alone = made([0, 1, 2], [7, 8, 9]), made([2, 1, 0], [9, 8, 7]), made([1], [8])
    assert all(np.array_equal(together[row], reversed_[row]) for row in together)
    # A batch may round otherwise than a single question, which turns the sign of a gradient near zero.
    assert (together[1] == alone[1]).mean() > 0.99
    assert not np.array_equal(alone[1], made([1], [6])[1])


def test_the_model_is_left_as_it_was(
    questions: tuple[Question, ...], tokenizer: PreTrainedTokenizerFast
) -> None:
    adapter = adapter_of(tokenizer, AnswerMode.REASONING)
    model = adapter.model
    model.model.visual.eval()
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    before = (
        [module.training for module in model.modules()],
        [weight.requires_grad for weight in model.parameters()],
        model.generation_config,
        torch.get_rng_state(),
    )
    attack = InnerAttack(adapter, loss="completion", batch_size=8)
    spec = AttackSettings().at(0)
    assert spec is not None
    attack.perturb(questions[:2], clean(questions[:2]), spec=spec, seeds=[0, 1])
    assert [module.training for module in model.modules()] == before[0]
    assert [weight.requires_grad for weight in model.parameters()] == before[1]
    assert model.generation_config is before[2]
    assert torch.equal(torch.get_rng_state(), before[3])
    assert all(weight.grad is None for weight in model.parameters())


def test_weights_that_took_the_place_of_others_meanwhile_are_trained_on(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    """FSDP2 holds shards between passes and gathered weights in them, with the flag that a shard has."""
    adapter = adapter_of(tokenizer, AnswerMode.REASONING)
    embedding = adapter.model.get_input_embeddings()
    shard = embedding.weight
    with frozen_eval(adapter):
        embedding.weight = torch.nn.Parameter(shard.detach().clone(), requires_grad=shard.requires_grad)
        assert not embedding.weight.requires_grad
    assert embedding.weight.requires_grad
    assert shard.requires_grad


def test_the_right_letter_takes_the_place_of_the_models_own(questions: tuple[Question, ...]) -> None:
    shown = replace(questions[0], options=("cyst", "edema", "tumor"), answer=2)
    written = "<think>An edema.</think><answer> B </answer>"
    assert corrected(REASONING, written, shown, words=False) == "<think>An edema.</think><answer> C </answer>"
    assert corrected(REASONING, written, shown, words=True) == "<think>An tumor.</think><answer> C </answer>"
    assert REASONING.read(corrected(REASONING, "gibberish", shown, words=True), shown.options).choice == 2


@given(st.integers(0, 5), st.text(max_size=5), st.integers(0, 1000))
def test_seeds_are_told_apart_by_seed_question_and_step(seed: int, question: str, step: int) -> None:
    own = prompt_seed(seed, question, step)
    assert 0 <= own < 2**63
    assert own == prompt_seed(seed, question, step)
    others = {(seed + 1, question, step), (seed, question + "x", step), (seed, question, step + 1)}
    assert own not in {prompt_seed(*other) for other in others}


@settings(max_examples=10)
@given(st.floats(0, 1))
def test_the_clean_share_is_a_share(share: float) -> None:
    kept = sum(stays_clean(seed, share) for seed in range(400)) / 400
    assert kept == pytest.approx(share, abs=0.1)


def test_noise_has_its_deviation_and_its_share() -> None:
    image = np.full((40, 40, 3), 128, dtype=np.uint8)
    noise = NoiseSettings(sigma=0.1, share=0.5)
    noisy = [with_noise(image, noise, seed) for seed in range(100)]
    touched = [one for one in noisy if not np.array_equal(one, image)]
    assert 30 < len(touched) < 70
    assert np.std(touched, dtype=np.float64) == pytest.approx(25.5, rel=0.02)
    assert np.array_equal(noisy[3], with_noise(image, noise, 3))


def test_of_a_mixture_each_question_meets_the_threat_of_the_highest_loss(
    questions: tuple[Question, ...], tokenizer: PreTrainedTokenizerFast
) -> None:
    adapter = adapter_of(tokenizer, AnswerMode.LETTER)
    asked, images = questions[:6], clean(questions[:6])
    spec = AttackSettings(steps=2, eps=Fraction(1, 255)).at(0)
    assert spec is not None

    def made(mixture: MixtureSettings | None) -> list[Perturbed]:
        attack = InnerAttack(adapter, loss="completion", batch_size=6, mixture=mixture)
        return attack.perturb(asked, images, spec=spec, seeds=range(6), measure=True)

    every = MixtureSettings(patch=Fraction(1, 10), corruption=5)
    alone, mixed = made(None), made(every)
    with_patch, with_fault = (made(every.model_copy(update={name: None})) for name in ("corruption", "patch"))
    assert [one.threat for one in alone] == ["ball"] * 6
    assert len({one.threat for one in mixed}) > 1
    for ball, patch, fault, worst in zip(alone, with_patch, with_fault, mixed, strict=True):
        assert worst.loss == pytest.approx(max(ball.loss or 0, patch.loss or 0, fault.loss or 0), rel=1e-5)
        assert patch.threat in {"ball", "patch"}
        assert fault.threat in {"ball", "corruption"}
    again = made(every)
    assert all(np.array_equal(one.image, other.image) for one, other in zip(mixed, again, strict=True))
    for row, one in enumerate(mixed):
        square = place_square(Fraction(1, 10), *images[row].shape[:2], stream(row, Purpose.PLACE))
        within = {
            "ball": ball_budget(spec).violation(images[row], one.image),
            "patch": square.violation(images[row], one.image),
            "corruption": None,
        }
        assert within[one.threat] is None
        assert not np.array_equal(one.image, images[row])


def test_a_mixture_names_its_threats_and_is_one() -> None:
    assert MixtureSettings(corruption=3).threats == ("ball", "corruption")
    with pytest.raises(ValidationError, match="needs patch or corruption"):
        AttackSettings.model_validate({"mixture": {}})
    with pytest.raises(ValidationError, match="stickers"):
        AttackSettings.model_validate({"mixture": {"stickers": 1}})
