"""Any image-text-to-text model of transformers as an adapter, without code for a particular model."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections import Counter
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from transformers import GenerationConfig, LogitsProcessorList
from transformers.utils import ModelOutput

from medrobust_bench.data.image import canonical
from medrobust_bench.models import probes
from medrobust_bench.models.adapter import Batch
from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.bound import HuggingFaceQuestions, tie_of
from medrobust_bench.models.chat_format import ChatFormat
from medrobust_bench.models.control_tokens import ControlTokens
from medrobust_bench.models.device import usual_device
from medrobust_bench.models.identity import identify
from medrobust_bench.models.image_path import recording
from medrobust_bench.models.load_checkpoint import load_checkpoint
from medrobust_bench.models.load_faults import cannot_load
from medrobust_bench.models.memory import if_memory_allows, is_out_of_memory
from medrobust_bench.models.non_finite import FiniteWatch, NonFiniteLogitsError, NonFiniteRowsError
from medrobust_bench.models.one_by_one import OneByOne
from medrobust_bench.models.patchify import project_patches
from medrobust_bench.models.prompt import chat_prompt
from medrobust_bench.models.prompt_check import check_prompt
from medrobust_bench.models.weights_digest import weights_sha256
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import ModelRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.models.answers.strategy import AnswerStrategy
    from medrobust_bench.models.prompt import AnswerMode
    from medrobust_bench.records import Base

ALL = "all"
"""The name of the device that is all GPUs together."""

_TOKENS_THAT_STAND_FOR_PIXELS = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")


class HuggingFaceVLM:
    """An image-text-to-text model of transformers and its processor, both of which are left as they are.

    It follows the model's weights. Whoever trains the model has to see to it that it is in evaluation mode while the
    adapter is used.

    Args:
        model: the model.
        processor: its processor.
        mode: how the model's answer is obtained.
        id: what results call the model.
        prompt: the whole model input with `{prompt}` where question, options and instruction go; replaces the
            checkpoint's chat template (needed for models that have none).
        max_new_tokens: length limit of a generated completion.
        strategy: how the model is asked and read, where its card says more than the mode, see `strategy_of`.
        system: the system turn.
        stop: texts that end a completion, beside the end-of-text tokens; they are kept.
        revision: hub commit or tag, for the record.
        trust_remote_code: whether code that came with the checkpoint runs, for the record.
        base: of a model that is an adapter merged into another, for the record.
        deployed: whose answers count, where this is the same model in another precision.

    Raises:
        InvalidInputError: the processor has no image processor, or the model is an encoder-decoder.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        mode: AnswerMode,
        id: str = "model",
        prompt: str | None = None,
        max_new_tokens: int = 128,
        strategy: AnswerStrategy | None = None,
        system: str | None = None,
        stop: Sequence[str] = (),
        revision: str | None = None,
        trust_remote_code: bool = False,
        base: Base | None = None,
        deployed: HuggingFaceVLM | None = None,
    ) -> None:
        if not hasattr(processor, "image_processor"):
            raise cannot_load(id, "its processor has no image processor")
        if getattr(model.config, "is_encoder_decoder", False):
            raise cannot_load(id, "encoder-decoder models are not supported")
        self.model: Any = model
        self.processor: Any = processor
        self.mode = mode
        self.strategy = strategy or STRATEGIES[mode]
        self.stop = tuple(stop)
        self.max_new_tokens = max_new_tokens
        self._id = id
        self.prompt = prompt
        self._system = system
        self._revision = revision
        self._trusted = trust_remote_code
        self._base = base
        self._deployed = deployed
        self.device: torch.device = model.device
        self.tokenizer = processor.tokenizer
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token_id is None:  # padding is masked: any token of the vocabulary will do
            words = self.tokenizer
            self.tokenizer.pad_token = words.eos_token or words.unk_token or words.convert_ids_to_tokens(0)
        self.dtype = prevailing_dtype(model)
        # A generated image token could not be fed back: there is no image to fill it.
        self.forbidden_tokens = sorted(
            {
                token
                for field in _TOKENS_THAT_STAND_FOR_PIXELS
                if (token := getattr(model.config, field, None)) is not None
            }
        )
        self.greedy = self._greedy_decoding(model.generation_config)
        self.keeps_logits = "logits_to_keep" in inspect.signature(model.forward).parameters

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        mode: AnswerMode,
        id: str | None = None,
        revision: str | None = None,
        device: str | torch.device = "auto",
        dtype: str = "auto",
        trust_remote_code: bool = False,
        **settings: Any,
    ) -> HuggingFaceVLM:
        """Load a checkpoint that `AutoModelForImageTextToText` and `AutoProcessor` load, or an adapter of PEFT for one.

        Args:
            source: local folder or hub id.
            mode: how the model's answer is obtained.
            id: what results call the model; by default the hub id or the folder's name.
            revision: hub commit or tag.
            device: "auto" (CUDA where there is one), a torch device, or "all": the model is spread over all GPUs.
            dtype: "auto" (float32 on the CPU, the checkpoint's own elsewhere), or the name of a torch dtype.
            trust_remote_code: run code that comes with the checkpoint.
            settings: further arguments of the class.

        Raises:
            InvalidInputError: the checkpoint cannot be loaded, is an encoder-decoder, or its chat template cannot be
                used (see `check_prompt`).
        """
        place = _usable(usual_device() if device in ("auto", ALL) else device)
        if dtype == "auto" and place.type == "cpu":
            dtype = "float32"
        options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
        model, processor, base = load_checkpoint(
            source, dtype=dtype, device_map="auto" if device == ALL else {"": place}, **options
        )
        model.eval().requires_grad_(False)
        name = id or (source.name if isinstance(source, Path) else source)
        adapter = cls(model, processor, mode=mode, id=name, base=base, **options, **settings)
        check_prompt(adapter, name)
        project_patches(model)
        for module in model.modules():  # a text model inside has a configuration of its own
            if getattr(module, "generation_config", None) is not None:
                module.generation_config = adapter.greedy
        return adapter

    @property
    def deployed(self) -> HuggingFaceVLM:
        """The model whose answers count: this one, unless it is the float32 form of another."""
        return self._deployed or self

    @cached_property
    def record(self) -> ModelRecord:
        """What results say about this model; the weight digest is computed once."""
        return ModelRecord(
            id=self._id,
            revision=self._revision,
            weights_sha256=weights_sha256(self.model.state_dict()),
            dtype=str(self.dtype).removeprefix("torch."),
            answer_mode=self.mode.value,
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            trust_remote_code=self._trusted,
            base=self._base,
            identity=identify(self),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """See `Prompting`."""
        return ChatFormat.of(self.processor).notes if self.prompt is None else ()

    @cached_property
    def _control_tokens(self) -> ControlTokens:
        return ControlTokens.of(self.processor)

    @cached_property
    def differentiable(self) -> bool:
        """Whether gradients reach the pixels, tried once on a synthetic question.

        They do not where the image processor leaves torch, nor where images become discrete tokens (Chameleon).
        """
        with self._tried():
            return probes.gradient_norm(self) > 0

    @cached_property
    def batchable(self) -> bool:
        """Whether a question's logits are the same alone and in a left-padded batch, tried once.

        They are not in InstructBLIP, whose Q-Former text has absolute positions; such a model gets its questions
        one at a time. So does one that leaves no memory for a batch of three small images.
        """
        with self._tried(), probes.arithmetic(self.model) as types:
            gap = if_memory_allows(lambda: probes.batch_gap(self))
            return gap is not None and probes.undisturbed(self, gap, dtypes={self.dtype, *types})

    @contextmanager
    def _tried(self) -> Iterator[None]:
        """A model that fails at a small question of ours is refused as a whole.

        Memory that runs out says nothing about the model, and is passed on.
        """
        try:
            yield
        except NonFiniteLogitsError as error:
            what = "gives logits that are NaN or infinite, whatever it is asked"
            remedy = "fetch the checkpoint again; float16 may overflow: try --dtype bfloat16 or float32"
            raise InvalidInputError([Problem(self._id, what, remedy)]) from error
        except (ValueError, TypeError, LookupError, RuntimeError) as error:
            if isinstance(error, InvalidInputError) or is_out_of_memory(error):
                raise
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            what = f"cannot take what its own processor makes of an image: {said}"
            remedy = "fetch the checkpoint again, its configuration and its processor's files with it"
            raise InvalidInputError([Problem(self._id, what, remedy)]) from error

    def upcast(self) -> HuggingFaceVLM | None:
        """The same model with its gradients in float32, see `HalfPrecision`; its weights are copied once.

        Their memory comes on top of the model's: 4 bytes per parameter.

        Returns:
            An adapter whose verdicts and completions are this one's; None where float32 is nothing new, where
            quantised weights cannot be converted, or where the device has no memory for them.
        """
        half = self.dtype.itemsize < torch.float32.itemsize
        if not half or getattr(self.model, "is_quantized", False):
            return None
        if self._float32_model is None:
            return None
        return HuggingFaceVLM(
            self._float32_model,
            self.processor,
            mode=self.mode,
            id=self._id,
            prompt=self.prompt,
            max_new_tokens=self.max_new_tokens,
            strategy=self.strategy,
            system=self._system,
            stop=self.stop,
            revision=self._revision,
            trust_remote_code=self._trusted,
            base=self._base,
            deployed=self,
        )

    @cached_property
    def _float32_model(self) -> Any:
        twin = if_memory_allows(lambda: copy.deepcopy(self.model).float())
        if twin is None:
            warnings.warn(
                f"{self._id}: the device has no memory for its weights in float32 as well, so that what withstands an "
                f"attack in {str(self.dtype).removeprefix('torch.')} is not attacked again with finer gradients",
                stacklevel=2,
            )
        return twin

    def bind(self, questions: Sequence[Question]) -> BoundQuestions:
        """Tokenise the prompts of questions whose canonical images share one shape.

        Raises:
            ValueError: no question, or images of different shapes.
            UnreadableLettersError: the tokenizer does not tell the option letters apart.
            ProcessorCallError: the processor does not use its image processor in the usual way.
        """
        images = [canonical(question.image) for question in questions]
        shapes = {image.shape for image in images}
        if len(shapes) != 1:
            raise ValueError(f"a bound batch needs images of one shape, got {sorted(shapes)}")
        if len(questions) > 1 and not self.batchable:
            return OneByOne(
                tuple(
                    self.bind_batch([question], [image])
                    for question, image in zip(questions, images, strict=True)
                )
            )
        return self.bind_batch(questions, images)

    def bind_batch(
        self, questions: Sequence[Question], images: Sequence[NDArray[np.uint8]]
    ) -> HuggingFaceQuestions:
        """Like `bind`, as one left-padded batch whether or not the model bears it."""
        questions = [self._control_tokens.in_plain_words(question) for question in questions]
        prompts = [self.render_words(self.strategy.prompt(question)) for question in questions]
        with recording(self.processor.image_processor) as the_call:
            inputs = self.process(prompts, images)
        batch = Batch(tuple(questions), tuple(images), self.device, tie_of(self.deployed.dtype))
        return HuggingFaceQuestions.create(self, batch, prompts, inputs, the_call())

    def render(self, question: Question) -> str:
        """The whole model input of a question as text, up to where the model begins to write.

        Raises:
            InvalidInputError: the chat template has a fault, or refuses the question.
        """
        return self.render_words(self.strategy.prompt(self._control_tokens.in_plain_words(question)))

    def render_words(self, words: str) -> str:
        """The whole model input of what the user says, image aside."""
        if self.prompt is not None:
            return self.prompt.replace("{prompt}", words)
        return chat_prompt(self.processor, words, thinks=self.strategy.thinks, system=self._system)

    def process(self, prompts: Sequence[str], images: Sequence[NDArray[np.uint8]]) -> dict[str, Any]:
        """The unmodified processor on 8-bit images: model inputs, padded left, on the CPU."""
        # As in transformers' own chat path: a template that writes the first token itself must not get it twice.
        bos = self.tokenizer.bos_token
        twice = {"add_special_tokens": False} if bos is not None and prompts[0].startswith(bos) else {}
        inputs = self.processor(
            text=list(prompts),
            images=[[Image.fromarray(image)] for image in images],
            padding=True,
            padding_side="left",
            return_tensors="pt",
            **twice,
        )
        return {name: value for name, value in inputs.items() if name != "labels"}  # PaliGemma adds labels

    def place(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Move model inputs to the model's device, floating-point ones to its dtype too."""
        return {
            name: value.to(self.device, self.dtype if value.is_floating_point() else None)
            if isinstance(value, torch.Tensor)
            else value
            for name, value in inputs.items()
        }

    def logits(self, inputs: dict[str, Any], keep: int) -> torch.Tensor:
        """Logits [R, keep, V] of the last `keep` positions."""
        limit = {"logits_to_keep": keep} if self.keeps_logits else {}
        # No position ids, ever: 2-D ones would silently replace the multimodal positions of the Qwen-VL family.
        logits: torch.Tensor = self.model(**self.place(inputs), **limit, use_cache=False).logits
        return logits[:, -keep:]

    def per_token_inputs(self, text: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What the model adds to each of its inputs when it writes one more token.

        Its own generation code knows (PaliGemma's new tokens get another type than the prompt's, Mllama's look
        at the same tiles as the last one).

        Args:
            text: inputs with a row per question.

        Returns:
            The added column [B, 1, ...] of each input that grows, token ids aside.
        """
        sides = {name: value for name, value in text.items() if name != "input_ids"}
        grown = self.model._update_model_kwargs_for_generation(
            ModelOutput(), dict(sides), is_encoder_decoder=False
        )
        return {
            name: grown[name][:, -1:] for name, value in sides.items() if grown[name].shape != value.shape
        }

    def complete(self, prompt: str, image: NDArray[np.uint8]) -> list[int]:
        """Tokens of the greedy completion on one 8-bit image, with its end-of-text token where it came to that."""
        return self.complete_batch([prompt], [image])[0]

    def complete_batch(self, prompts: Sequence[str], images: Sequence[NDArray[np.uint8]]) -> list[list[int]]:
        """Like `complete`, for B prompts at once; rounding may then decide between nearly equal tokens differently.

        Raises:
            NonFiniteRowsError: logits of some of them are no numbers.
        """
        inputs = self.place(self.process(prompts, images))
        watch = FiniteWatch()
        with torch.inference_mode():
            written = self.model.generate(
                **inputs,
                generation_config=self.greedy,
                tokenizer=self.tokenizer,
                logits_processor=LogitsProcessorList([watch]),
            )
        if rows := watch.rows():
            raise NonFiniteRowsError(rows)
        length = inputs["input_ids"].shape[1]
        if torch.equal(
            written[:, :length], inputs["input_ids"]
        ):  # models that start from embeddings omit the prompt
            written = written[:, length:]
        return [self._up_to_the_end(row) for row in written.tolist()]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of a completion up to its end, special tokens such as <think> included."""
        words = [token for token in tokens if token not in self._ends]
        text: str = self.tokenizer.decode(
            words, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def is_truncated(self, tokens: Sequence[int]) -> bool:
        """Whether a completion was cut short by its length limit: it has no end."""
        full = len(tokens) >= self.max_new_tokens
        return full and tokens[-1] not in self._ends and not self._is_stopped(tokens)

    def _up_to_the_end(self, tokens: list[int]) -> list[int]:
        """The completion without the padding after its end-of-text token, or after the text that ends it."""
        end = next((place for place, token in enumerate(tokens) if token in self._ends), len(tokens))
        return tokens[:end] if self._is_stopped(tokens[:end]) else tokens[: end + 1]

    def _is_stopped(self, tokens: Sequence[int]) -> bool:
        """Whether a completion has come to a text that ends it; nothing is written after it."""
        return bool(self.stop) and any(stop in self.decode(tokens) for stop in self.stop)

    @property
    def _ends(self) -> set[int]:
        ends = self.greedy.eos_token_id
        return {*(ends if isinstance(ends, list) else [ends]), self.tokenizer.pad_token_id}

    def _greedy_decoding(self, shipped: GenerationConfig) -> GenerationConfig:
        """Greedy decoding and nothing else, whatever sampling or penalties the checkpoint ships with."""
        end = shipped.eos_token_id if shipped.eos_token_id is not None else self.tokenizer.eos_token_id
        return GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=self.max_new_tokens,
            bos_token_id=shipped.bos_token_id,
            eos_token_id=end,
            pad_token_id=self.tokenizer.pad_token_id,
            suppress_tokens=self.forbidden_tokens or None,
            stop_strings=list(self.stop) or None,
        )


def prevailing_dtype(model: torch.nn.Module) -> torch.dtype:
    """The floating-point type of most parameters; some models keep a few modules in float32."""
    sizes: Counter[torch.dtype] = Counter()
    for parameter in model.parameters():
        if parameter.is_floating_point():
            sizes[parameter.dtype] += parameter.numel()
    return sizes.most_common(1)[0][0]


def _usable(device: str | torch.device) -> torch.device:
    """A device that holds numbers here, tried before anything is loaded.

    Raises:
        InvalidInputError: there is no such device.
    """
    try:
        place = torch.device(device)
        torch.zeros(1, device=place).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch has no common error for this
        reason = str(error).splitlines()[0].split(". ")[0]  # torch goes on for a page
        what = f"cannot be used: {reason}"
        remedy = "give a device that this machine has: cpu, cuda, cuda:1, mps, …"
        raise InvalidInputError([Problem(f"device {device}", what, remedy)]) from error
    return place
