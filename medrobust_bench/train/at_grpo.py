"""Adversarial GRPO: rollouts are sampled, scored and reinforced on images that an inner attack has changed.

    max over θ of E[ GRPO objective of rollouts on x + δ* ],  δ* = argmax over ‖δ‖ ≤ ε of the attacker's loss

The trainer is TRL's. It steps in at one place, before a generation batch is rolled out, and replaces images: rollouts,
old and reference log-probabilities and the loss all come after it and see the same 8-bit image.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from peft import PeftModel
from PIL import Image
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from trl import GRPOTrainer
from trl.models import unwrap_model_for_generation

from medrobust_bench.data.image import canonical
from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.chat_format import ChatFormat, with_fixed_day
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.prompt import template_variables
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.train.augmentation import augmented
from medrobust_bench.train.callbacks import EarlierPasses, Validation
from medrobust_bench.train.checkpoints import LoadsByName
from medrobust_bench.train.dynamic_sampling import kept_groups, only_groups
from medrobust_bench.train.examples import why_unusable
from medrobust_bench.train.exchange import Exchange
from medrobust_bench.train.grpo_arguments import check_groups
from medrobust_bench.train.inner_attack import InnerAttack, Perturbed, prompt_seed, stays_clean, with_noise
from medrobust_bench.train.passes import PassCounter
from medrobust_bench.train.prompts import check_processor, prompt_rows
from medrobust_bench.train.rewards import weighted_rewards
from medrobust_bench.train.validation import answer_together, validate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch.utils.data import DataLoader
    from trl import GRPOConfig
    from trl.trainer.utils import RepeatSampler

    from medrobust_bench.data.question import Question
    from medrobust_bench.specs.pgd import PgdSpec
    from medrobust_bench.train.questions import SkippedQuestions
    from medrobust_bench.train.rl_settings import RlSettings
    from medrobust_bench.train.settings import AttackSettings


class _Prompt(NamedTuple):
    question: Question
    image: NDArray[np.uint8]
    seed: int


class AtGrpoTrainer(LoadsByName, GRPOTrainer):  # type: ignore[misc]
    """TRL's GRPOTrainer on attacked images.

    The change of an image is computed once per prompt, so that all rollouts of a group see the same image, and is
    seeded by question and optimiser step, so that it does not depend on the process or the batch.

    Beside TRL's own metrics it logs `robust_reward` and `clean_reward` (mean reward of attacked and of clean prompts),
    `robust_accuracy` and `clean_accuracy` (of the sampled answers), `group_variance` of the rewards,
    `groups_without_variance` (share of the groups that teach nothing, all of whose rollouts earn the same; with
    `oversample` of all that are rolled out, and `kept_without_variance` of those that are trained on),
    `format_rate`, `attack/eps`, of a mixture the share of each threat (`attack/patch`, …), `attack/loss_before` and
    `attack/loss_after` (nats; measured at steps that are logged), the passes made so far (`PassCounter`, of this
    process), and the seconds of an optimiser step spent in attack, generation and update.

    Args:
        model: image-text-to-text model or a checkpoint of one.
        questions: what is trained on.
        settings: the recipe; what concerns TRL alone is read from `args`.
        args: TRL's arguments, see `grpo_arguments`.
        processing_class: the model's processor, padding on the left.
        validation: questions of the validation accuracy; empty for none.
        skipped: takes the questions that cannot be used.
        more: further arguments of GRPOTrainer (`peft_config`, `callbacks`, …).

    Raises:
        InvalidInputError: a processor or arguments with which TRL would train on something else, or a reward that a
            sharded model cannot be asked for.
    """

    _name = "AT-GRPO"

    def __init__(
        self,
        model: Any,
        *,
        questions: Sequence[Question],
        settings: RlSettings,
        args: GRPOConfig,
        processing_class: Any,
        validation: Sequence[Question] = (),
        skipped: SkippedQuestions | None = None,
        **more: Any,
    ) -> None:
        check_groups(args)
        processing_class = with_fixed_day(processing_class)
        check_processor(processing_class, settings.mode)
        rewards, _ = weighted_rewards(settings.rewards, settings.mode)
        self._skipped = skipped
        super().__init__(
            model=model,
            reward_funcs=rewards,
            args=args,
            train_dataset=prompt_rows(
                questions, settings.mode, processing_class, checked=self._record_skipped
            ),
            processing_class=processing_class,
            **more,
        )
        # every pass of one process then waits for a pass of every other
        self._spread = self.is_fsdp_enabled or is_deepspeed_zero3_enabled()
        if settings.rewards.dependence and self._spread:
            what = "asks each process about images of its own, which a model spread over processes cannot be"
            remedy = "use DistributedDataParallel or ZeRO-2; or `exchange`, which asks nothing more"
            raise InvalidInputError([Problem("rewards.dependence", what, remedy)])
        self._settings = settings
        self._validation = validation
        told = template_variables(ChatFormat.of(processing_class), STRATEGIES[settings.mode].thinks)
        # prompts as an evaluation renders them
        self.chat_template_kwargs = {**told, **(args.chat_template_kwargs or {})}
        self._exchange = Exchange(questions, settings.exchange)
        self._inner: InnerAttack | None = None
        self._attacked: list[bool] = []
        # of this process' groups, whether all rollouts earn the same
        self._alike = torch.empty(0, dtype=torch.bool)
        plain = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        self._passes = PassCounter(plain)
        self.add_callback(EarlierPasses(self._passes))
        self._seconds = dict.fromkeys(("attack", "generation", "update"), 0.0)
        if validation and settings.validate_every:
            self.add_callback(Validation(self, settings.validate_every))

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """TRL's step, timed."""
        began, before = time.perf_counter(), self._seconds["attack"] + self._seconds["generation"]
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        elsewhere = self._seconds["attack"] + self._seconds["generation"] - before
        self._seconds["update"] += time.perf_counter() - began - elsewhere
        if self._step % self.current_gradient_accumulation_steps == 0:
            for name, seconds in self._seconds.items():
                self._metrics["train"][f"seconds/{name}"].append(seconds)
                self._seconds[name] = 0.0
            for name, count in self._passes.counts().items():
                self._metrics["train"][name] = [count]  # a running total: of several steps, the last
        return loss

    def measure_validation(self) -> None:
        """Add clean and attacked validation accuracy to what is logged next."""
        with self._whole_model() as model, self._passes.paused():
            measured = validate(
                model,
                self.processing_class,
                self._validation,
                self._settings.mode,
                self._settings.attack,
                seed=self._settings.seed,
                max_new_tokens=self._settings.max_new_tokens,
                exchanged=self._settings.exchange > 0 or self._settings.rewards.dependence > 0,
            )
        for name, value in measured.items():
            self._metrics["train"][name].append(value)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """TRL's, with `oversample` times the prompts in a generation batch."""
        loader: DataLoader[Any] = self._get_dataloader(
            dataset=self.train_dataset,
            description="Training",
            batch_size=self._train_batch_size * self.args.steps_per_generation * self._settings.oversample,
            sampler_fn=self._get_train_sampler,
            is_training=True,
        )
        return loader

    def _get_train_sampler(self, dataset: Any = None) -> RepeatSampler:
        sampler: RepeatSampler = super()._get_train_sampler(dataset)
        sampler.batch_size *= self._settings.oversample
        return sampler

    def _record_skipped(self, reasons: dict[str, str]) -> None:
        if self._skipped is not None:
            self._skipped.add(reasons, step=self.state.global_step + 1, asked=1)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if self.model.training:
            began = time.perf_counter()
            inputs = self._perturbed(inputs)
            self._seconds["attack"] += time.perf_counter() - began
        scored: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if self.model.training and self._settings.oversample > 1:
            scored = self._differing(scored)
        return scored

    def _differing(self, scored: dict[str, Any]) -> dict[str, Any]:
        """Of a scored generation batch, as many groups as are trained on, before others those whose rewards differ."""
        kept = kept_groups(self._alike, len(self._alike) // self._settings.oversample)
        self._log_mean("kept_without_variance", self._alike[kept].float().tolist())
        scored = only_groups(scored, kept, self.num_generations)
        tokens = scored["completion_mask"].sum()  # of all processes, what TRL divides the loss by
        return {**scored, "num_items_in_batch": self.accelerator.gather(tokens).sum()}

    def _generate(self, prompts: list[Any]) -> Any:
        began = time.perf_counter()
        generated = super()._generate(prompts)
        self._seconds["generation"] += time.perf_counter() - began
        return generated

    def _perturbed(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows of a generation batch with attacked and noisy images; rows of one question get the same."""
        settings, step = self._settings, self.state.global_step
        rows = {row["question"].id: row for row in inputs}
        prompts = [self._drawn(row, prompt_seed(settings.seed, id, step)) for id, row in rows.items()]
        answered = self._answered_elsewhere(prompts)
        spec = None if settings.attack is None else settings.attack.at(step)
        found = self._attack(settings.attack, spec, prompts) if settings.attack and spec else {}
        self._attacked = [row["question"].id in found for row in inputs]
        self._metrics["train"]["attack/eps"].append(float(spec.eps) if spec else 0.0)
        for prompt in prompts:
            id = prompt.question.id
            image = found[id].image if id in found else prompt.image
            if settings.noise is not None:
                image = with_noise(image, settings.noise, prompt.seed)
            rows[id] = {
                **rows[id],
                "question": prompt.question,
                "images": [Image.fromarray(image)],
                "clean_choice": found[id].clean_choice if id in found else None,
                "counterpart_choice": answered.get(id),
                "paired": id in answered,
            }
        return [rows[row["question"].id] for row in inputs]

    def _drawn(self, row: dict[str, Any], seed: int) -> _Prompt:
        """A row's question, exchanged and augmented as its seed draws."""
        settings, question, image = self._settings, row["question"], np.asarray(row["images"][0])
        other = self._exchange(question, seed)
        if other is not question and why_unusable(self.processing_class, other, settings.mode) is None:
            question, image = other, canonical(other.image)
        if settings.augmentation is not None:
            image = augmented(image, settings.augmentation, seed, question=question)
        return _Prompt(question, image, seed)

    def _answered_elsewhere(self, prompts: Sequence[_Prompt]) -> dict[str, int | None]:
        """What the model greedily answers about an image with another right answer, by question that has one."""
        if not self._settings.rewards.dependence:
            return {}
        drawn = [self._exchange.counterpart(prompt.question, prompt.seed) for prompt in prompts]
        mode = self._settings.mode
        others = [q for q in drawn if q is not None and why_unusable(self.processing_class, q, mode) is None]
        with self._whole_model() as model:
            answers = answer_together(self._adapter(model), others)
        return {other.id: answer.choice for other, answer in zip(others, answers, strict=True)}

    def _attack(
        self, attack: AttackSettings, spec: PgdSpec, prompts: Sequence[_Prompt]
    ) -> dict[str, Perturbed]:
        """What the inner attack makes of all prompts but the clean share, by question."""
        chosen = [prompt for prompt in prompts if not stays_clean(prompt.seed, attack.clean_share)]
        measure = self.state.global_step % self.args.logging_steps == 0
        with self._whole_model() as model:
            inner = self._inner_attack(model, attack)
            passes = 0
            if self._spread:
                mine = torch.tensor([len(inner.batches([p.image for p in chosen]))], device=inner.device)
                passes = int(self.accelerator.gather(mine).max())
            company = chosen or (prompts[:1] if passes else [])
            made = inner.perturb(
                [prompt.question for prompt in company],
                [prompt.image for prompt in company],
                spec=spec,
                seeds=[prompt.seed for prompt in company],
                measure=measure,
                passes=passes,
            )
        found = {prompt.question.id: one for prompt, one in zip(chosen, made, strict=False)}
        if attack.mixture is not None:
            for threat in attack.mixture.threats:
                self._log_mean(f"attack/{threat}", [float(one.threat == threat) for one in found.values()])
        if measure:
            self._log_mean("attack/loss_before", [one.clean_loss for one in found.values()])
            self._log_mean("attack/loss_after", [one.loss for one in found.values()])
        return found

    def _inner_attack(self, model: Any, attack: AttackSettings) -> InnerAttack:
        if self._inner is None:
            with self._passes.paused():  # it tries the model first
                self._inner = InnerAttack(
                    self._adapter(model),
                    loss=attack.loss,
                    batch_size=attack.batch_size,
                    mixture=attack.mixture,
                )
        return self._inner

    def _adapter(self, model: Any) -> HuggingFaceVLM:
        """Around the model of `_whole_model`."""
        settings = self._settings
        return HuggingFaceVLM(
            model, self.processing_class, mode=settings.mode, max_new_tokens=settings.max_new_tokens
        )

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> torch.Tensor:
        rewards: torch.Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if not self.model.training:
            return rewards
        attacked = self.accelerator.gather(torch.tensor(self._attacked, device=rewards.device))
        total = (rewards * self.reward_weights.to(rewards.device)).nansum(dim=1)
        logged = self._metrics["train"]
        for name, rows in (("robust", attacked), ("clean", ~attacked)):
            if rows.any():
                logged[f"{name}_reward"].append(total[rows].mean().item())
                logged[f"{name}_accuracy"].append(rewards[rows, 0].mean().item())
        logged["format_rate"].append(rewards[:, 1].mean().item())
        groups = total.view(-1, self.num_generations)
        logged["group_variance"].append(groups.var(dim=1, correction=0).mean().item())
        # TRL's frac_reward_zero_std misses groups of equal rewards whose mean is rounded: the deviation of eight
        # times 1.2 is 1e-7, not 0
        alike = torch.isclose(groups.amax(dim=1), groups.amin(dim=1))
        logged["groups_without_variance"].append(alike.float().mean().item())
        mine = len(inputs) // self.num_generations
        self._alike = alike[self.accelerator.process_index * mine :][:mine]
        return rewards

    def _log_mean(self, name: str, values: Sequence[float | None]) -> None:
        """Log a mean over all processes."""
        known = [value for value in values if value is not None]
        mine = torch.tensor([[sum(known), len(known)]], dtype=torch.float32, device=self.accelerator.device)
        total, count = self.accelerator.gather(mine).sum(0).tolist()
        if count:
            self._metrics["train"][name].append(total / count)

    @contextmanager
    def _whole_model(self) -> Iterator[Any]:
        """The plain model, with all of its weights where ZeRO-3 has spread them, adapters in place."""
        with unwrap_model_for_generation(
            self.model_wrapped,
            self.accelerator,
            gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
        ) as model:
            yield model.get_base_model() if isinstance(model, PeftModel) else model
