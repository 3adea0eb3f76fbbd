"""Supervised fine-tuning: dense text about the image first, the letter last; on attacked images if so asked.

The loop is the Hugging Face Trainer's. It is given the loss, the order of the examples, and other images where the
recipe has an attack or noise.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel, get_peft_model
from torch.nn.functional import cross_entropy
from torch.utils.data import SequentialSampler
from transformers import AutoProcessor, Trainer
from transformers.trainer_callback import PrinterCallback

from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.whole_checkpoint import load_whole
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.train.architecture import build_model, build_processor, whiten_patches
from medrobust_bench.train.callbacks import EarlierPasses, KeptCurve, Progress, Validation
from medrobust_bench.train.checkpoints import (
    CHECKPOINTS,
    LoadsByName,
    drop_checkpoints,
    last_checkpoint,
    save_trained,
    step_of,
)
from medrobust_bench.train.curve import StepLog
from medrobust_bench.train.examples import (
    DESCRIBE_PROMPT,
    NOT_LEARNT,
    Collator,
    build_examples,
    open_images,
    rationale,
)
from medrobust_bench.train.exchange import Exchange
from medrobust_bench.train.passes import PassCounter
from medrobust_bench.train.perturb_batch import BatchPerturbation
from medrobust_bench.train.questions import (
    SkippedQuestions,
    checkpoint_path,
    in_plain_words,
    training_questions,
    usable_questions,
)
from medrobust_bench.train.recipe import check_same_recipe, read_sft_recipe, write_recipe
from medrobust_bench.train.settings import CURVE_FILE
from medrobust_bench.train.tasks import FORMATS
from medrobust_bench.train.tokenizer import learn_tokenizer
from medrobust_bench.train.trainer_arguments import fine_tuning_arguments
from medrobust_bench.train.validation import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from transformers import PreTrainedModel, ProcessorMixin, TrainingArguments

    from medrobust_bench.data.question import Question
    from medrobust_bench.train.settings import SftSettings

TOKENIZER_QUESTIONS = 4000
WHITENING_QUESTIONS = 600
SHOWN = (
    "loss",
    "grad_norm",
    "learning_rate",
    "validation_accuracy",
    "validation_exchanged",
    "validation_attacked",
)


def completion_loss(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, learnt: torch.Tensor | int
) -> torch.Tensor:
    """Weighted negative log-likelihood per learnt token, in nats.

    Args:
        logits: [B, T, V].
        labels: [B, T], what each position should say; `NOT_LEARNT` where nothing is learnt.
        weights: [B, T].
        learnt: what the sum is divided by: the number of labels, of all passes of an optimiser step together. It is
            not their total weight, so that a heavier answer does not make the text lighter.
    """
    nll = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=NOT_LEARNT, reduction="none")
    return (nll * weights.flatten()).sum() / learnt


class SftTrainer(LoadsByName, Trainer):  # type: ignore[misc]
    """The Trainer on weighted completions, in the recipe's order, on images as the recipe changes them.

    Args:
        model: image-text-to-text model, or adapters around one.
        settings: the recipe.
        args: see `fine_tuning_arguments`.
        processor: of the model, padding on the left.
        train: the questions to learn.
        validation: those of the validation accuracy.
        skipped: takes the questions that cannot be used.

    Raises:
        InvalidInputError: the model cannot be attacked.
    """

    def __init__(
        self,
        model: Any,
        *,
        settings: SftSettings,
        args: TrainingArguments,
        processor: ProcessorMixin,
        train: Sequence[Question],
        validation: Sequence[Question],
        skipped: SkippedQuestions,
    ) -> None:
        self._settings = settings
        self._validation = validation
        self._skipped = skipped
        self._measured: dict[str, float] = {}
        self._plain = (model.get_base_model() if isinstance(model, PeftModel) else model).to(args.device)
        self._keeps_logits = "logits_to_keep" in inspect.signature(self._plain.forward).parameters
        self._collate = Collator(processor, settings.answer_weight, STRATEGIES[settings.mode].thinks)
        changes = (settings.attack, settings.noise, settings.augmentation)
        changes_images = any(change is not None for change in changes)
        exchange = Exchange(train, settings.exchange) if settings.exchange else None
        self._passes = PassCounter(self._plain)
        with self._passes.paused():  # the attack tries the model first
            self._perturb = BatchPerturbation(self._plain, processor, settings) if changes_images else None
        examples = [
            example
            for number, stage in enumerate(settings.stages)
            for example in build_examples(
                train,
                stage.tasks,
                count=stage.steps * settings.batch_size,
                seed=settings.seed * 1000 + number,
                exchange=exchange,
            )
        ]
        configuration = vars(self._plain.config)
        caches = configuration.get("use_cache")
        super().__init__(
            model=model,
            args=args,
            train_dataset=examples,
            data_collator=self._collate,
            processing_class=processor,
            compute_loss_func=completion_loss,  # the Trainer counts the labels of a step where there is one
        )
        # The Trainer turns caching off in the configuration, which is saved; here `compute_loss` does without.
        configuration.pop("use_cache") if caches is None else configuration.update(use_cache=caches)
        if settings.attack is not None and (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            remedy = "use DistributedDataParallel (torchrun, recipes/accelerate/ddp.yaml)"
            raise InvalidInputError(
                [Problem("accelerate", "shards the model, which is to be attacked", remedy)]
            )
        self.add_callback(EarlierPasses(self._passes))
        self.add_callback(Validation(self, settings.evaluate_every))

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> Any:
        """The batches of the next optimiser step, made in their turn: against the weights of this moment."""
        return super().get_batch_samples(map(self._finish, epoch_iterator), num_batches, device)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """See `completion_loss`; the vocabulary's logits are made from the first learnt position on, not before."""
        labels, weights = inputs.pop("labels"), inputs.pop("weights")
        first = int((labels != NOT_LEARNT).any(0).nonzero()[0])
        keep = labels.shape[1] - first
        limit = {"logits_to_keep": keep} if self._keeps_logits else {}
        outputs = model(**inputs, **limit, use_cache=False)
        loss = completion_loss(
            outputs.logits[:, -keep:], labels[:, first:], weights[:, first:], num_items_in_batch
        )
        loss = (
            loss * self.accelerator.num_processes
        )  # gradients of processes are averaged, and are to be summed
        return (loss, outputs) if return_outputs else loss

    def measure_validation(self) -> None:
        """Have clean and attacked validation accuracy logged next; measuring is no part of what training costs."""
        with self._passes.paused():
            self._measured = validate(
                self._plain,
                self.processing_class,
                self._validation,
                self._settings.mode,
                self._settings.attack,
                seed=self._settings.seed,
                exchanged=self._settings.exchange > 0,
            )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log what was measured together with the loss of the same step."""
        if "loss" in logs:
            logs |= {**self._measured, **self._passes.counts()}
            self._measured = {}
        super().log(logs, start_time)

    def _finish(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A collated batch as the model is shown it now."""
        examples = batch.pop("examples")
        unusable = batch.pop("skipped")
        self._skipped.add(unusable, step=self.state.global_step + 1, asked=len(examples) + len(unusable))
        if self._perturb is None:
            return batch
        return self._collate.batch(self._perturb(examples, self.state.global_step))

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # the recipe's seed has drawn the order already


def fine_tune(
    settings: SftSettings, out: Path, *, resume: bool = False, report: Callable[[str], None] = print
) -> None:
    """Train as the recipe says and save a checkpoint that the Auto classes of transformers load.

    Runs in one process, or in each of several that accelerate or torchrun start. Checkpoints to resume from are kept
    in a folder inside `out` until the training has ended.

    Args:
        settings: the recipe.
        out: folder for the weights, configuration, processor, recipe and curve; created if needed.
        resume: go on from the last checkpoint of the unfinished training in `out`; the weights come out as from an
            unbroken one.
        report: takes one line of progress at a time.

    The outcome is a function of the recipe on one machine; other CPUs, thread and process counts round differently.

    Raises:
        InvalidInputError: the recipe or the data cannot be used, the base is not a checkpoint, or it cannot be
            attacked; there is nothing to resume, or it has another recipe.
    """
    if resume:
        check_same_recipe(settings, read_sft_recipe, out)
    last = last_checkpoint(out) if resume else None
    arguments = fine_tuning_arguments(settings, out / CHECKPOINTS)
    main = arguments.process_index == 0
    if not main:
        report = _silent
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    train, validation = training_questions(settings.data, report)
    model, processor = _starting_point(settings, train)
    train = in_plain_words(train, processor)
    validation, unusable = usable_questions(validation, processor, settings.mode)
    skipped = SkippedQuestions(out, report, process=arguments.process_index)
    report(f"{len(train)} training questions, {len(validation)} for validation")
    if settings.lora is not None:
        settings.lora.check(model)
        model = get_peft_model(model, settings.lora.config())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    report(f"{model.num_parameters():,} parameters, {trained:,} of them trained")
    size, passes = arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps
    report(
        f"a step of {settings.batch_size}: processes {arguments.world_size} × passes {passes} × questions {size}"
    )
    trainer = SftTrainer(
        model,
        settings=settings,
        args=arguments,
        processor=processor,
        train=train,
        validation=validation,
        skipped=skipped,
    )
    trainer.remove_callback(PrinterCallback)  # `report` takes its place
    skipped.begin(step_of(last))
    skipped.add(unusable if main else {}, step=0, asked=len(validation) + len(unusable))
    if main:
        out.mkdir(parents=True, exist_ok=True)
        write_recipe(settings, out)
        trainer.add_callback(KeptCurve(StepLog(out / CURVE_FILE), report, SHOWN))
        trainer.add_callback(Progress(report))
    if last is not None:
        report(f"resumed after step {step_of(last)}")
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    save_trained(trainer, processor, out)
    if main:
        drop_checkpoints(out)


def _silent(line: str) -> None:
    """Nothing is said by processes other than the first."""


def _starting_point(
    settings: SftSettings, train: Sequence[Question]
) -> tuple[PreTrainedModel, ProcessorMixin]:
    if settings.architecture is None:
        assert settings.base is not None  # SftSettings demands one of the two
        source = checkpoint_path(settings.base)
        half = settings.lora is not None and bool(settings.trainer.get("bf16"))
        dtype = torch.bfloat16 if half else torch.float32
        model = load_whole(source, dtype=dtype)
        return model, AutoProcessor.from_pretrained(source, padding_side="left", **settings.processor)
    texts = [
        text
        for question in train[:: max(1, len(train) // TOKENIZER_QUESTIONS)]
        for text in (
            DESCRIBE_PROMPT,
            *(STRATEGIES[mode].prompt(question) for mode in FORMATS),
            rationale(question),
        )
    ]
    tokenizer = learn_tokenizer(texts, vocabulary=settings.architecture.vocabulary)
    model = build_model(settings.architecture, tokenizer)
    processor = build_processor(settings.architecture, tokenizer)
    sample, _ = usable_questions(
        train[:: max(1, len(train) // WHITENING_QUESTIONS)], processor, settings.mode
    )
    whiten_patches(model, processor, [image for (image,) in open_images(sample)])
    return model, processor
