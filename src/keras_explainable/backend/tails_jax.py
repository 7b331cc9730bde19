"""The part of a run that comes after a signal, on JAX: the equations of the program that use the signal."""

from collections.abc import Callable

import jax
from jax.extend import core


def resumed(run: Callable, x, key) -> tuple:
    def whole():
        values, seen = {}, {}

        def tap(at, value):
            if at != key:
                return value
            values[at], seen[at] = value, jax.lax.optimization_barrier(value)  # a variable of its own
            return seen[at]

        return run(x, tap), seen, values

    closed, (_, _, shapes) = jax.make_jaxpr(whole, return_shape=True)()
    if not shapes:
        return None, {}, None
    if closed.effects:
        raise NotImplementedError(f"it has side effects ({', '.join(map(str, closed.effects))})")
    scores, signal, before = closed.jaxpr.outvars
    after, late = {signal}, []
    for equation in closed.jaxpr.eqns:
        if not after.isdisjoint(_variables(equation.invars)):
            after.update(equation.outvars)
            late.append(equation)
    used = dict.fromkeys(v for e in late for v in _variables(e.invars)) | dict.fromkeys(_variables([scores]))
    kept = [v for v in used if v not in after]
    early = [e for e in closed.jaxpr.eqns if e not in late]
    first = core.Jaxpr(closed.jaxpr.constvars, (), [before, *kept], early)
    value, *known = core.jaxpr_as_fun(core.ClosedJaxpr(first, closed.consts))()
    program = core.jaxpr_as_fun(core.ClosedJaxpr(core.Jaxpr((), [signal, *kept], [scores], late), ()))

    def tail(signal):
        return program(signal, *known)[0]

    return tail(value), {key: value}, tail


def _variables(atoms):
    return [atom for atom in atoms if not isinstance(atom, core.Literal)]


def mapped(function: Callable, numbers):
    return jax.lax.map(jax.vmap(function), numbers)
