"""Differentiating through a model's own image processor.

A Hugging Face processor calls its image processor with settings of its own (how images are nested, how they
are cropped, the patch size), which differ per family. So the processor is run once on the clean 8-bit images and
the call that it makes is recorded; an attack repeats exactly that call on float tensors.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch.nn.functional import interpolate
from torch.overrides import TorchFunctionMode

from medrobust_bench.models.pixels import LEVELS, to_images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch


@dataclass(frozen=True, slots=True)
class ImageCall:
    """The call that a processor makes to its own image processor, without the images.

    Attributes:
        args: positional arguments after the images.
        kwargs: keyword arguments.
        nested: whether each question's images come in a list of their own.
        outputs: names of what the image processor returned.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    nested: bool
    outputs: tuple[str, ...]

    def replay(self, image_processor: Any, pixels: torch.Tensor, *, eight_bit: bool = True) -> dict[str, Any]:
        """Repeat the call on other images.

        Args:
            image_processor: the image processor that was recorded.
            pixels: [B, 3, H, W] float in [0, 1].
            eight_bit: imitate the rounding of the official 8-bit resize (straight-through gradient).

        Returns:
            Everything the image processor returns; differentiable in `pixels` if it works on tensors, computed
            from the pixels rounded to 8 bits if it knows PIL images only.
        """
        if not works_on_tensors(image_processor):
            images = self._nest([Image.fromarray(image) for image in to_images(pixels)])
            return dict(image_processor(images, *self.args, **self.kwargs))
        if self._resample(image_processor) == Image.Resampling.LANCZOS:
            pixels = pixels.cpu()  # on other devices transformers silently replaces LANCZOS by BICUBIC
        images = self._nest(list((pixels * LEVELS).unbind(0)))
        # Tensors are RGB and channels first already; saying so keeps the image processor from guessing.
        known = {"do_convert_rgb": False, "return_tensors": "pt", "input_data_format": "channels_first"}
        with EightBitResize() if eight_bit else nullcontext():
            return dict(image_processor(images, *self.args, **{**self.kwargs, **known}))

    def _nest(self, images: list[Any]) -> list[Any]:
        return [[image] for image in images] if self.nested else images

    def _resample(self, image_processor: Any) -> int | None:
        """The resampling filter in effect (PIL's numbering), None when the image processor names none."""
        resample = self.kwargs.get("resample")
        if resample is None:
            resample = getattr(image_processor, "resample", None)
        return None if resample is None else int(resample)


def works_on_tensors(image_processor: Any) -> bool:
    """Whether an image processor stays inside torch, so that gradients can pass."""
    return bool(image_processor.backend == "torchvision")


class ProcessorCallError(RuntimeError):
    """A processor that does not call its image processor exactly once, so that there is nothing to replay."""


@contextmanager
def recording(image_processor: Any) -> Iterator[Callable[[], ImageCall]]:
    """Watch the calls to an image processor.

    Yields:
        A function that returns the one call made inside the context.

    Raises:
        ProcessorCallError: (from that function) no call was made, or more than one.
    """
    calls: list[ImageCall] = []
    preprocess = image_processor.preprocess

    def watched(images: Any, *args: Any, **kwargs: Any) -> Any:
        returned = preprocess(images, *args, **kwargs)
        nested = isinstance(images[0], list | tuple)
        calls.append(ImageCall(args=args, kwargs=kwargs, nested=nested, outputs=tuple(returned)))
        return returned

    def the_call() -> ImageCall:
        if len(calls) != 1:
            raise ProcessorCallError(f"the processor called its image processor {len(calls)} times, not once")
        return calls[0]

    image_processor.preprocess = watched
    try:
        yield the_call
    finally:
        del image_processor.preprocess


class EightBitResize(TorchFunctionMode):
    """Inside it, an antialiased resize of float grey levels gives what the same resize of 8-bit pixels gives.

    torch resizes uint8 images width first, then height, and clamps and rounds after each. A plain float resize
    overshoots 0 and 255 and is up to 126 grey levels off on noise; the two rounded passes are off by 1 or 2. Clamp
    and round pass the gradient straight through (Bengio, Léonard & Courville 2013, arXiv:1308.3432).
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Split `interpolate(image, size, antialias=True)` into its two rounded passes."""
        kwargs = kwargs or {}
        if func is not interpolate or not kwargs.get("antialias") or not args[0].is_floating_point():
            return func(*args, **kwargs)
        image = args[0]
        height, width = kwargs["size"]
        for size in ((image.shape[-2], width), (height, width)):
            if size != tuple(image.shape[-2:]):
                image = _to_grey_levels(func(image, **{**kwargs, "size": size}))
        return image


def _to_grey_levels(image: torch.Tensor) -> torch.Tensor:
    """Clamp to [0, 255] and round, with the gradient of the identity."""
    return image + (image.detach().clamp(0, LEVELS).round_() - image.detach())
