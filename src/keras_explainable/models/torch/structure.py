"""The structure of a module: the modules inside it by path, and the settings that a run depends on."""

import torch
from torch import nn

from keras_explainable.models import state
from keras_explainable.models.torch import hooks
from keras_explainable.models.torch.layer_math import BATCH_NORMS

KEPT_BY_TORCH = {name for name in nn.Module().__dict__ if name[0] == "_"} | {"training", "_compiled_call_impl"}


class Structure:
    """The modules inside a module and their settings. Both are kept until `reset`."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.found: dict[str, nn.Module] | None = None
        self.made_of: tuple | None = None

    def paths(self) -> dict[str, nn.Module]:
        """Modules by path. A module with several names is listed under each of them; its calls have the first."""
        if self.found is None:
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

    def at(self, path: str) -> nn.Module:
        """The module at a path, or the batch normalisation that calls the function at this path."""
        return self.normalisation(path) or self.module.get_submodule(path)

    def normalisation(self, path: str) -> nn.Module | None:
        """The user's own batch normalisation, with an activation inside, that calls the function at `path`."""
        parent, _, name = path.rpartition(".")
        module = self.paths().get(parent) if name == "batch_norm" else None
        return module if isinstance(module, BATCH_NORMS) else None

    def settings(self) -> state.State:
        """The current settings of the modules."""
        found: state.State = {}
        classes = set()
        for path, module in (("", self.module), *self.paths().items()):
            own = module.__dict__
            if isinstance(module, torch.jit.ScriptModule):
                found[path,] = state.same_object(module)
                continue
            adds = module._parameters.get("bias") is None, module._buffers.get("running_mean") is None
            set_hooks = [*own["_forward_pre_hooks"].values(), *own["_forward_hooks"].values()]
            others = tuple(state.same_object(hook) for hook in set_hooks if not hooks.is_ours(hook))
            found[path,] = state.same_object(module), adds, others
            found.update(state.settings(path, {k: v for k, v in [*own.items()] if k not in KEPT_BY_TORCH}))
            classes.add(type(module))
        for kind in classes:
            found.update(state.of_class(kind))
        return found

    def value(self) -> tuple:
        """The settings as a value that can be compared, without those that the module's own runs change."""
        if self.made_of is None:
            self.made_of = state.stable(self.module, self.settings())
        return self.made_of

    def ran(self, before: state.State) -> None:
        """Record which of the settings `before` a run changed. The first run may also have created modules."""
        self.reset()
        state.ran(self.module, before, self.settings())

    def reset(self) -> None:
        """Look everything up again: the module has other modules now."""
        self.found = self.made_of = None
