"""A device that is none: tensors that lie apart from the CPU's, as a GPU's do, on a machine without a GPU.

A tensor on it holds a CPU tensor, and every operation is carried out on what the tensors hold, so that all numbers are
the CPU's. But what a GPU refuses is refused: tensors of two devices in one operation, and a NumPy array of a tensor
that was not copied to the CPU. What makes the CPU wait for a GPU is counted: a number or a copy fetched from it, an
operation whose shape depends on values, and a copy to it.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

import medrobust_bench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "pretended"
DEVICE = torch.device("privateuseone", 0)
_PACKAGE = f"{Path(medrobust_bench.__file__).parent}{os.sep}"

_aten = torch.ops.aten
_COPIES = {_aten.copy_.default, _aten._to_copy.default}
_TAKE_CPU_INDICES = {
    _aten.index.Tensor,
    _aten.index_put.default,
    _aten.index_put_.default,
    _aten._index_put_impl_.default,
}
_SHAPED_BY_VALUES = {
    _aten.nonzero.default,
    _aten.masked_select.default,
    _aten._unique2.default,
    _aten.unique_dim.default,
    _aten.unique_consecutive.default,
    _aten.repeat_interleave.Tensor,
    _aten.equal.default,
    _aten._local_scalar_dense.default,
}


class PretendedTensor(torch.Tensor):
    """A tensor on the pretended device.

    Attributes:
        held: the CPU tensor with its numbers.
    """

    held: torch.Tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> PretendedTensor:
        with torch.inference_mode(False):  # a view of an ordinary tensor is one, wherever it is made
            tensor: PretendedTensor = torch.Tensor._make_wrapper_subclass(
                cls,
                held.size(),
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                device=DEVICE,
            )
        tensor.held = held
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of `pretended_device`")

    def numpy(self, *, force: bool = False) -> Any:
        """What a GPU's tensor answers."""
        raise TypeError("can't convert a tensor on the pretended device to numpy. Copy it to the CPU first.")

    def __array__(self, dtype: Any = None) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        """A copy to the CPU, which a subclass has to make for itself."""
        return self.cpu().tolist()

    def __repr__(self, **_: Any) -> str:
        return f"PretendedTensor({self.held})"


class PretendedDevice(TorchDispatchMode):
    """Carries out operations on the pretended device.

    Attributes:
        waits: how often the CPU would have waited for a GPU, by operation and the line of ours that asked for it.
        uploads: how often something was copied to the device, likewise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.uploads: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        with self:  # without autograd, operations that consist of others arrive whole
            found = func.decompose(*args, **kwargs)
        if found is not NotImplemented:
            return found
        tensors = list(_tensors((args, kwargs)))
        here = any(isinstance(tensor, PretendedTensor) for tensor in tensors)
        there = here
        if kwargs.get("device") is not None:
            there = torch.device(kwargs["device"]).type == DEVICE.type
            kwargs["device"] = torch.device("cpu") if there else kwargs["device"]
        if func is _aten.copy_.default:
            there = isinstance(args[0], PretendedTensor)
        if here:
            self._refuse_mixture(func, args, kwargs, tensors)
        if func in _COPIES and here != there:
            self._count(self.waits if here else self.uploads, func)
        elif func in _COPIES and there and not isinstance(tensors[-1], PretendedTensor):
            self._count(self.uploads, func)
        elif here and (func in _SHAPED_BY_VALUES or _masks(func, args)):
            self._count(self.waits, func)
        found = func(*_each(_held, args), **{name: _each(_held, value) for name, value in kwargs.items()})
        if func._schema.name.endswith("_") and isinstance(args[0], torch.Tensor):
            changed = args[0]
            if isinstance(changed, PretendedTensor) and changed.held.shape != changed.shape:
                with torch._C._DisableTorchDispatch():
                    func(*args, **kwargs)
            return changed
        if "out" in kwargs:
            return kwargs["out"]
        return _each(_on_device, found) if there else found

    def _refuse_mixture(self, func: Any, args: Any, kwargs: Any, tensors: list[torch.Tensor]) -> None:
        if func in _COPIES:
            return
        if func in _TAKE_CPU_INDICES:
            tensors = list(_tensors((args[0], *args[2:])))
        strangers = [tensor for tensor in tensors if not isinstance(tensor, PretendedTensor) and tensor.dim()]
        if strangers:
            shapes = [tuple(tensor.shape) for tensor in strangers]
            raise RuntimeError(f"{func} of tensors on the pretended device with tensors on the CPU, {shapes}")
        if kwargs.get("generator") is not None:
            raise RuntimeError(f"{func} on the pretended device with a generator of the CPU")

    def _count(self, counter: Counter[str], func: Any) -> None:
        frame = sys._getframe()
        while frame.f_back is not None and not frame.f_code.co_filename.startswith(_PACKAGE):
            frame = frame.f_back
        place = frame.f_code.co_filename.removeprefix(_PACKAGE)
        counter[f"{place}:{frame.f_lineno} {func._schema.name.removeprefix('aten::')}"] += 1


class _ListsOfTensors(TorchFunctionMode):
    """`torch.tensor([a, b])` reads numbers where no dispatch mode sees it; here it fetches them one by one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.tensor, torch.as_tensor) and isinstance(args[0], (list, tuple)):
            args = (_each(_number, args[0]), *args[1:])
        return func(*args, **(kwargs or {}))


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _tensors(each)


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    """The same value with its tensors and numbers changed; arguments of operations are lists, tuples and these."""
    if isinstance(value, (list, tuple)):
        return type(value)([_each(change, each) for each in value])
    return change(value)


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, PretendedTensor) else value


def _held(value: Any) -> Any:
    return value.held if isinstance(value, PretendedTensor) else value


def _on_device(value: Any) -> Any:
    return PretendedTensor(value) if isinstance(value, torch.Tensor) else value


def _masks(func: Any, args: Any) -> bool:
    """Whether entries are chosen by a mask, so that their number has to be known."""
    return func in _TAKE_CPU_INDICES and any(
        index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
    )


class _NeverChosen(backend_registration._DummyBackendModule):
    """The device is there for those who name it; nobody finds it by looking for an accelerator."""

    def is_available(self) -> bool:
        return False


@cache
def _register() -> None:
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_NeverChosen())


@contextmanager
def pretended_device() -> Iterator[PretendedDevice]:
    """Inside it tensors can be made on, and moved to, `DEVICE`."""
    _register()
    lifted = torch._C._only_lift_cpu_tensors()
    overwritten = torch.__future__.get_overwrite_module_params_on_conversion()
    torch._C._set_only_lift_cpu_tensors(True)  # so that `torch.tensor(…, device=DEVICE)` is seen
    torch.__future__.set_overwrite_module_params_on_conversion(
        True
    )  # what a tensor holds is not in its `data`
    try:
        # The engine's threads were started for the devices of before.
        with _ListsOfTensors(), PretendedDevice() as device, torch.autograd.set_multithreading_enabled(False):
            yield device
    finally:
        torch._C._set_only_lift_cpu_tensors(lifted)
        torch.__future__.set_overwrite_module_params_on_conversion(overwritten)
