"""The adapter of plain `torch.nn.Module`s. During a run, hooks on the modules concerned pass their signals to the
thread that runs the model (see `hooks`)."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import keras
import torch
from keras import ops
from torch import nn

from keras_explainable.errors import ChangedError, InputError
from keras_explainable.models import addresses, changes, precision, recording
from keras_explainable.models.contract import Parameter, Tap
from keras_explainable.models.inputs import Inputs, check_alone, sampled, tensor
from keras_explainable.models.torch import function_mode, functional, layer_math, placing
from keras_explainable.models.torch import hooks as routing
from keras_explainable.models.torch.describe import children, first_tensor, unwrap
from keras_explainable.models.torch.layers import TorchLayers
from keras_explainable.models.torch.parameters import parameters, replacing
from keras_explainable.models.torch.structure import Structure
from keras_explainable.models.torch.tracing import traced
from keras_explainable.models.trace import INPUT, Point, Trace

_traces = recording.Traces()
_looked: WeakKeyDictionary = WeakKeyDictionary()  # modules that were traced again because they ran differently


class TorchAdapter:
    """Any `torch.nn.Module` that takes images (N, C, *S), alone or with other inputs. Paths are dotted, as in
    `named_modules`."""

    black_box = False
    channels_first = True
    separator = "."
    pooling = layer_math.POOLING

    def __init__(self, module: nn.Module) -> None:
        self.signals: tuple | None = None
        self.target: Any = None
        self.inputs = Inputs()
        # The last run: ids of the modules that it called, and how often each path.
        self.last: tuple[list[int], dict[str, int]] = [], {}
        module = unwrap(module)
        if isinstance(module, Exposed):
            self.signals, self.target = module.addresses["signals"], module.addresses["target"]
            module = unwrap(module.exposed)
        self.module = module
        self.made = Structure(module)  # shared by copies of the adapter
        self.layers = TorchLayers(self.made)

    def paths(self) -> dict[str, nn.Module]:
        return self.made.paths()

    def layer(self, path: str) -> nn.Module:
        return self.made.at(path)

    def children(self) -> list[nn.Module]:
        return list(children(self.module).values())

    def expose(self, target: Any, signals: tuple | None) -> "Exposed":
        return Exposed(self.module, target, signals)

    def variables(self) -> list:
        return [*self.module.parameters(), *self.module.buffers()]

    def weights(self) -> list:
        # Other modules may write their buffers in a run.
        norms = (m for m in self.module.modules() if isinstance(m, layer_math.BATCH_NORMS))
        return [*self.module.parameters(), *chain.from_iterable(norm.buffers() for norm in norms)]

    def parameters(self) -> list[Parameter]:
        return parameters(self.module)

    def replacing(self, model: Any) -> AbstractContextManager[tuple[Any, Callable]]:
        return replacing(unwrap(model))

    def forget(self) -> None:
        _traces.forget(self.module)

    def structure(self) -> tuple:
        return self.made.value()

    def input_shape(self) -> tuple | None:
        self.inputs.check(self.module.forward)
        return None

    def images(self, x: Any) -> torch.Tensor:
        return ops.convert_to_tensor(x).detach().to(placing.place(self.module, self.inputs)["device"], torch.float32)

    def admit(self, path: tuple, value: Any) -> torch.Tensor:
        value, place = tensor(value).detach(), placing.place(self.module, self.inputs)
        return value.to(place["device"], place["dtype"] if value.is_floating_point() else None)

    def device(self) -> AbstractContextManager:
        device = placing.place(self.module, self.inputs)["device"]
        return nullcontext() if device is None else keras.device(str(device))

    def scores(self, outputs: Any) -> torch.Tensor | None:
        return first_tensor(outputs)

    def build(self, x: Any) -> None:
        pass  # the trace does: a lazy module is built by its first run

    def own_type(self, images: Any) -> str | None:
        return placing.own_type(self.module, images)

    def check_integers(self, images: Any) -> None:
        """Raise if images of integers came, and the module treats them differently from floats."""
        if "int" not in str(getattr(images, "dtype", "")) or not self.inputs.alone:
            return
        key = "integers", tuple(images.shape[1:]), str(images.dtype)

        def measure():
            return placing.takes_integers_as_floats(self.module, self.inputs, images)

        if not _traces.get(self.module, self.structure(), key, measure):
            raise InputError(
                f"Images of type {images.dtype} came, and this module treats them differently from floats (it scales "
                "them, or takes no floats), so no gradient reaches them: convert them to floats as the module does, as "
                "in x.float() / 255, and explain a module without that step."
            )

    def run(
        self,
        x: Any,
        tap: Tap,
        points: frozenset[Point] | None,
        operations: bool = False,
        strict: bool = False,
        rules: bool = False,
    ) -> Any:
        paths = self.paths()
        operations = operations or rules or any(p.path and p.path not in paths for p in points or ())
        fused = {p for p, m in paths.items() if isinstance(m, (*layer_math.NORMS, nn.LayerNorm)) and children(m)}
        wanted = set(paths if points is None or operations else {p.path for p in points})
        chosen = [p for p in paths if p in wanted or p.rpartition(".")[0] in wanted & fused]
        session = routing.Session(self.module, {id(paths[p]): p for p in reversed(chosen)}, tap, points, fused)
        layout = self._layout(x)
        with routing.watched(self.module, [paths[p] for p in chosen]):
            token = routing.current.set(session)
            try:
                # A copy: the module may work in place on its input.
                x = session.see(INPUT, x.clone()).to(**placing.place(self.module, self.inputs), memory_format=layout)
                args, kwargs = self.inputs.arguments(self.module.forward, self.inputs.around(x, session.see))
                watching = function_mode.Operations(session, paths) if operations else nullcontext()
                with routing.lowered(x.device.type), watching:
                    outputs = self.module(*args, **kwargs)
            except RuntimeError as error:
                layer_math.check_inference(self.module, error)
                raise
            finally:
                routing.current.reset(token)
        self.last = session.ran, session.counts
        if points is not None:
            self._check_unchanged(tuple(x.shape), None if strict or rules else {p.path for p in points}, rules)
        return outputs

    @property
    def ran(self) -> changes.Calls:
        """What the last run called."""
        called, counts = self.last
        known = {id(module): path for path, module in reversed(self.paths().items())}
        operations = {path: number for path, number in counts.items() if path not in self.paths()}
        return changes.Calls(tuple(known[one] for one in called if one in known), operations)

    def _check_unchanged(self, shape: tuple, needed: set[str] | None, operations: bool) -> None:
        """Raise if a run differs from the trace. The first time, the trace is dropped."""
        trace = _traces.peek(self.module, ((1, *shape[1:]), operations, self.inputs.kinds))
        if trace is None:
            return
        try:
            changes.check(self.ran, trace.known["ran"], _looked.get(self.module, False), needed, operations)
        except ChangedError:
            _looked[self.module] = True
            _traces.forget(self.module)
            self.made.reset()
            raise

    def _layout(self, x: torch.Tensor) -> torch.memory_format:
        """The memory layout of images: their own, or channels last if that is faster."""
        if not placing.gains_from_layout(x):
            return torch.preserve_format
        key = "layout", tuple(x.shape[1:]), self.inputs.kinds

        def measure():
            return placing.fastest_layout(self.module, sampled(self).inputs, x.shape[1:])

        return _traces.get(self.module, self.structure(), key, measure)

    def trace(self, shape: tuple, operations: bool = False) -> Trace:
        key = shape, operations, self.inputs.kinds
        with precision.computing_in(None):  # what is found is kept, and is the same for all precisions
            return _traces.get(self.module, self.structure(), key, lambda: traced(sampled(self), shape, operations))

    def attentions(self, shape: tuple) -> dict[Point, tuple]:
        calls = self.trace(shape, operations=True).calls
        found: dict[Point, tuple] = {}
        for call in calls:
            found.update((point, shape) for point, shape in call.signals if point.link == "attention")
            if not call.operation and call.kind == "Softmax" and functional.is_attention(call.shape):
                found[call.output._replace(link="attention")] = call.shape
        return found


class Exposed(nn.Module):
    """A module that returns [score, *signals] of another module, which itself runs, in evaluation mode.

    `target` and `signals` are addresses (see `addresses.resolve`), looked up when the module runs. Without a target the
    score is taken before the last softmax or sigmoid. Without signals there is one, the last spatial one."""

    def __init__(self, module: nn.Module, target: Any, signals: tuple | None) -> None:
        super().__init__()
        self.exposed, self.addresses = module, {"target": target, "signals": signals}

    def forward(self, x: torch.Tensor) -> list:
        check_alone(x)
        return addresses.exposed(TorchAdapter(self), x, keep=torch.clone)
