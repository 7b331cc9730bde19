"""The adapter of plain `torch.nn.Module`s. During a run, hooks on the modules concerned show their signals to the
running thread (see `hooks`)."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import keras
import torch
from keras import ops
from torch import nn

from keras_explainable import backend
from keras_explainable.errors import ChangedError, InputError
from keras_explainable.models import addresses, changes, precision, recording, state
from keras_explainable.models.contract import Tap
from keras_explainable.models.inputs import Inputs, check_alone, misfit, refuse_arguments, sampled, tensor
from keras_explainable.models.layer_roles import of_layer, of_operation
from keras_explainable.models.structures import leaves
from keras_explainable.models.torch import function_mode, functional
from keras_explainable.models.torch import hooks as routing
from keras_explainable.models.torch import layer_math as kinds
from keras_explainable.models.torch.describe import children, describe, first_tensor, parts_of, rank, unwrap
from keras_explainable.models.trace import INPUT, Call, Deviation, Point, Trace

KEPT_BY_TORCH = {name for name in nn.Module().__dict__ if name[0] == "_"} | {"training", "_compiled_call_impl"}

_traces = recording.Traces()
_looked: WeakKeyDictionary = WeakKeyDictionary()  # modules that were traced again because they ran differently


def _identity(value: torch.Tensor) -> tuple[int, int]:
    """A key by which the results of in-place operations count as new values."""
    return id(value), 0 if value.is_inference() else value._version


class TorchAdapter:
    """Any `torch.nn.Module` that takes one tensor of images (N, C, *S). Paths are dotted, as in `named_modules`."""

    black_box = False
    channels_first = True
    separator = "."
    pooling = kinds.POOLING

    def __init__(self, module: nn.Module) -> None:
        self.signals: tuple | None = None
        self.target: Any = None
        self.inputs = Inputs()
        self.found: dict[str, nn.Module] | None = None
        self.made_of: tuple | None = None
        # The last run: ids of the modules that it called, and how often each path.
        self.last: tuple[list[int], dict[str, int]] = [], {}
        module = unwrap(module)
        if isinstance(module, Exposed):
            self.signals, self.target = module.addresses["signals"], module.addresses["target"]
            module = unwrap(module.exposed)
        self.module = module

    def paths(self) -> dict[str, nn.Module]:
        """Modules by path. A module with several names is listed under each of them; its calls have the first."""
        if self.found is None:  # cached: an adapter lives for one call only
            self.found = self._paths()
        return self.found

    def _paths(self) -> dict[str, nn.Module]:
        found: dict[str, nn.Module] = {}
        hidden: tuple[str, ...] = ()
        for path, module in self.module.named_modules(remove_duplicate=False):
            if isinstance(module, torch.jit.ScriptModule):  # it and the modules inside take no hooks
                hidden += (path and f"{path}.",)
            if path and not f"{path}.".startswith(hidden) and "parametrizations." not in f"{path}.":
                found[path] = module
        return found

    def children(self) -> list[nn.Module]:
        return list(children(self.module).values())

    def layer(self, path: str) -> nn.Module:
        return self._normalisation(path) or self.module.get_submodule(path)

    def _normalisation(self, path: str) -> nn.Module | None:
        """The user's own batch normalisation, with an activation inside, that calls the function at `path`."""
        parent, _, name = path.rpartition(".")
        module = self.paths().get(parent) if name == "batch_norm" else None
        return module if isinstance(module, kinds.BATCH_NORMS) else None

    def expose(self, target: Any, signals: tuple | None) -> "Exposed":
        return Exposed(self.module, target, signals)

    def bias(self, path: str) -> torch.Tensor | None:
        return self._reading(path, kinds.effective_bias)

    def has_kernel(self, layer: Any) -> bool:
        return isinstance(layer, kinds.KERNELS)

    def kernel(self, path: str) -> torch.Tensor | None:
        return self._reading(path, kinds.kernel)

    def role(self, call: Call) -> str | None:
        if call.path not in self.paths():
            return "norm" if self._normalisation(call.path) else of_operation(call.kind)
        found = of_layer(self.layer(call.path), "forward")
        return found if call.leaf or found != "other" else None

    def rectifies(self, call: Call) -> bool:
        return True

    def deviation(self, path: str) -> Deviation:
        return self._reading(path, kinds.deviation)

    def weight(self, path: str, scale: Any = None) -> torch.Tensor:
        return self._reading(path, kinds.weight, scale)

    def scale(self, path: str) -> torch.Tensor:
        return self._reading(path, kinds.scale)

    def apply(self, path: str, x: torch.Tensor, kernel: torch.Tensor | None = None) -> torch.Tensor:
        return self._reading(path, kinds.apply, x, kernel)

    def _reading(self, path: str, function: Callable, *args: Any) -> Any:
        layer = self.layer(path)
        with routing.settled(layer):
            return function(layer, *args)

    def variables(self) -> list:
        return list(self.module.parameters())

    def weights(self) -> list:
        # Other modules may write their buffers in a run.
        norms = (m for m in self.module.modules() if isinstance(m, kinds.BATCH_NORMS))
        return [*self.module.parameters(), *chain.from_iterable(norm.buffers() for norm in norms)]

    def forget(self) -> None:
        _traces.forget(self.module)

    def structure(self) -> tuple:
        if self.made_of is None:
            self.made_of = state.kept(self.module, self._state())
        return self.made_of

    def _state(self) -> state.State:
        found: state.State = {}
        classes = set()
        for path, module in (("", self.module), *self.paths().items()):
            own = module.__dict__
            if isinstance(module, torch.jit.ScriptModule):
                found[path,] = state.same_object(module)
                continue
            adds = module._parameters.get("bias") is None, module._buffers.get("running_mean") is None
            hooks = [*own["_forward_pre_hooks"].values(), *own["_forward_hooks"].values()]
            others = tuple(state.same_object(hook) for hook in hooks if not routing.is_ours(hook))
            found[path,] = state.same_object(module), adds, others
            found.update(state.settings(path, {k: v for k, v in [*own.items()] if k not in KEPT_BY_TORCH}))
            classes.add(type(module))
        for kind in classes:
            found.update(state.of_class(kind))
        return found

    def input_shape(self) -> tuple | None:
        self.inputs.check(self.module.forward)
        return None

    def images(self, x: Any) -> torch.Tensor:
        return ops.convert_to_tensor(x).detach().to(self._place()["device"], torch.float32)

    def admit(self, path: tuple, value: Any) -> torch.Tensor:
        value, place = tensor(value).detach(), self._place()
        return value.to(place["device"], place["dtype"] if value.is_floating_point() else None)

    def device(self) -> AbstractContextManager:
        device = self._place()["device"]
        return nullcontext() if device is None else keras.device(str(device))

    def entry_axis(self, call: Call) -> int:
        return -1 if isinstance(self.layer(call.path), nn.Linear) else 1

    def reach(self, call: Call, axis: int) -> float:
        return kinds.reach(self.layer(call.path), axis - 2)

    def geometry(self, call: Call, axis: int, old: int, new: int) -> tuple[float, float] | None:
        return kinds.geometry(self.layer(call.path), axis) if call.path in self.paths() else None

    def scores(self, outputs: Any) -> torch.Tensor | None:
        return first_tensor(outputs)

    def build(self, x: Any) -> None:
        pass  # the trace does: a lazy module is built by its first run

    def own_type(self, images: Any) -> str | None:
        """The type of the user's images, if the module's weights do not determine it."""
        name = str(getattr(images, "dtype", "")).removeprefix("torch.")
        types = {t.dtype for t in self.module.parameters() if t.is_floating_point()}
        return name if name in precision.LOWER and len(types) > 1 else None

    def check_integers(self, images: Any) -> None:
        """Raise if images of integers came, and the module treats them differently from floats."""
        if "int" not in str(getattr(images, "dtype", "")) or not self.inputs.alone:
            return
        key = "integers", tuple(images.shape[1:]), str(images.dtype)
        if not _traces.get(self.module, self.structure(), key, lambda: self._as_floats(images)):
            raise InputError(
                f"Images of type {images.dtype} came, and this module treats them differently from floats (it scales "
                "them, or takes no floats), so no gradient reaches them: convert them to floats as the module does, as "
                "in x.float() / 255, and explain a module without that step."
            )

    def _as_floats(self, images: Any) -> bool:
        whole = torch.as_tensor(images[:1]).to(self._place()["device"])
        results: list = []
        for x in (whole, whole.to(self._place()["dtype"] or torch.float32)):
            try:
                with torch.inference_mode(False), torch.no_grad(), routing.watched(self.module, ()):
                    results.append(first_tensor(self.module(x)))
            except Exception:
                results.append(None)
        ours, floats = results
        if ours is None or floats is None or ours.shape != floats.shape:
            return ours is None
        return torch.allclose(ours.float(), floats.float(), rtol=1e-3, atol=1e-4 * float(floats.abs().max()))

    def _place(self) -> dict[str, Any]:
        """The device of the module's weights, and the type of its images: the user's own, or that of the first kernel
        if weights have several types."""
        tensors = [t for t in chain(self.module.parameters(), self.module.buffers()) if t.is_floating_point()]
        if not tensors:
            return {"device": None, "dtype": None}
        dtype = tensors[0].dtype
        if self.inputs.dtype is not None:
            dtype = getattr(torch, self.inputs.dtype)
        elif any(t.dtype != dtype for t in tensors):
            layers = (m for m in self.module.modules() if isinstance(m, kinds.KERNELS))
            dtype = next((m.weight.dtype for m in layers if m.weight.is_floating_point()), dtype)
        return {"device": tensors[0].device, "dtype": dtype}

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
        fused = {p for p, m in paths.items() if isinstance(m, (*kinds.NORMS, nn.LayerNorm)) and children(m)}
        wanted = set(paths if points is None or operations else {p.path for p in points})
        chosen = [p for p in paths if p in wanted or p.rpartition(".")[0] in wanted & fused]
        session = routing.Session(self.module, {id(paths[p]): p for p in reversed(chosen)}, tap, points, fused)
        layout = self._layout(x)
        with routing.watched(self.module, [paths[p] for p in chosen]):
            token = routing.current.set(session)
            try:
                # A copy: the module may work in place on its input.
                x = session.see(INPUT, x.clone()).to(**self._place(), memory_format=layout)
                args, kwargs = self.inputs.arguments(self.module.forward, self.inputs.around(x, session.see))
                watching = function_mode.Operations(session, paths) if operations else nullcontext()
                with routing.lowered(x.device.type), watching:
                    outputs = self.module(*args, **kwargs)
            except RuntimeError as error:
                kinds.check_inference(self.module, error)
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
        trace = _traces.peek(self.module, ((1, *shape[1:]), "float32", operations, self.inputs.kinds))
        if trace is None:
            return
        try:
            changes.check(self.ran, trace.known["ran"], _looked.get(self.module, False), needed, operations)
        except ChangedError:
            _looked[self.module] = True
            _traces.forget(self.module)
            self.found = self.made_of = None
            raise

    def _layout(self, x: torch.Tensor) -> torch.memory_format:
        """The memory layout of images: their own, or, in a lower precision on CPUs, channels last, for which there are
        fast convolutions, unless the module cannot run with it (`view` cannot)."""
        if precision.current_precision() is None or x.ndim != 4 or x.device.type != "cpu":
            return torch.preserve_format
        key = "layout", tuple(x.shape[1:]), self.inputs.kinds
        return _traces.get(self.module, self.structure(), key, lambda: sampled(self)._tried(x.shape[1:]))

    def _tried(self, shape: tuple) -> torch.memory_format:
        x = torch.zeros((2, *shape), **self._place()).contiguous(memory_format=torch.channels_last)
        args, kwargs = self.inputs.arguments(self.module.forward, self.inputs.around(x))
        try:
            with torch.inference_mode(False), torch.no_grad(), routing.watched(self.module, ()):
                self.module(*args, **kwargs)
        except RuntimeError:
            return torch.preserve_format
        return torch.channels_last

    def trace(self, shape: tuple, dtype: str, operations: bool = False) -> Trace:
        key = shape, dtype, operations, self.inputs.kinds
        return _traces.get(self.module, self.structure(), key, lambda: sampled(self)._trace(shape, dtype, operations))

    def _trace(self, shape: tuple, dtype: str, operations: bool) -> Trace:
        kinds.check_tracked(self.module)
        try:
            return self._traced(shape, dtype, operations, True)
        except (RuntimeError, InputError) as error:
            if not kinds.is_of_gradients(error):
                raise
        return self._traced(shape, dtype, operations, False)  # the module can run, but not be differentiated

    def _traced(self, shape: tuple, dtype: str, operations: bool, graded: bool) -> Trace:
        recorder = recording.Recorder(_identity)  # in-place results are new values
        dark: set[tuple[str, int]] = set()
        heads: list[tuple[tuple, int, tuple]] = []
        scores: list[tuple[int, tuple]] = []

        def note(point, value):
            if point.link == "output" and graded and not torch.is_grad_enabled():
                dark.add(point[:2])
            return recorder(point, value)

        def run(x):
            with torch.set_grad_enabled(graded):  # to see where the module switches gradients off
                outputs = self.run(x, note, None, operations)
            found = first_tensor(outputs)
            scores.extend([] if found is None else [(recorder.number(found), tuple(found.shape))])
            tensors = [(path, o) for path, o in leaves(parts_of(outputs)) if isinstance(o, torch.Tensor)]
            heads.extend((path, recorder.number(o), tuple(o.shape)) for path, o in tensors)

        norms = (m for m in self.module.modules() if isinstance(m, kinds.BATCH_NORMS))
        # Batch statistics need more than one image.
        images = shape[0] * (1 + any(m.running_mean is None for m in norms))
        before = self._state()
        try:
            backend.trace(run, (images, *shape[1:]), dtype)
        except (RuntimeError, ValueError, AssertionError, TypeError) as error:
            if isinstance(error, TypeError):
                refuse_arguments(self.inputs, self.module.forward, error)
            refusal = misfit(error, shape, rank(self.module))
            if refusal is None:
                raise
            raise refusal from error
        self.found = self.made_of = None  # the first run may have created modules
        state.ran(self.module, before, self._state())
        paths = self.paths()
        calls = tuple(recorder.calls(functools.partial(describe, paths, len(shape), {}), paths))
        calls = calls if self.inputs.front is None else tuple(self.inputs.front.marked(calls, images))
        weights = ((id(w), w._version) for w in chain(self.module.parameters(), self.module.buffers()))
        constants = recorder.others.union(recorder.numbers[key] for key in weights if key in recorder.numbers)
        if operations and (strange := recorder.unmade(calls, constants)):
            again: set = set()
            note = recording.watcher(lambda value: again.add(recorder.key(value)))
            backend.trace(lambda x: self.run(x, note, None, operations), (images, *shape[1:]), dtype)
            # Existed before this run, so not made of its images.
            constants |= {strange[key] for key in again & strange.keys()}
        outputs, shapes = (tuple(of) for of in zip(*scores, strict=True)) if scores else ((), ())
        known = {"ran": self.ran, "dark": dark}
        return Trace(calls, outputs, shapes, (), tuple(heads), constants, images, known, recorder.others)

    def attentions(self, shape: tuple, dtype: str) -> dict[Point, tuple]:
        calls = self.trace(shape, dtype, operations=True).calls
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
