"""Runtime type checks at a cost that the suite can bear.

jaxtyping's import hook wraps every function of the package in the same way: each call binds a
signature and opens a scope for axis names, which takes some twenty microseconds, and a function
within a function gets its checks compiled again whenever the outer one runs.  Only annotations with
a shape need such a scope.  Here every other function is checked by beartype alone, and what has no
shape and is defined within a function is left to mypy.
"""

import dataclasses
import functools
import inspect
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype

_jaxtyped = jaxtyping.jaxtyped
#: A violation is a TypeError, as what Python itself raises for the wrong kind of value.
_CONFIG = BeartypeConf(violation_type=jaxtyping.TypeCheckError)


def install():
    """Have the import hook, which looks ``jaxtyping.jaxtyped`` up, decorate as said above."""
    jaxtyping.jaxtyped = _decorator


def _decorator(*, typechecker):
    def decorate(definition):
        if not inspect.isclass(definition):
            return _checked(definition, typechecker)
        if dataclasses.is_dataclass(definition) and "__init__" in vars(definition):
            definition.__init__ = _switched(definition.__init__, typechecker)
        return definition

    return decorate


def _switched(init, typechecker):
    """Check the fields of a dataclass unless a test has switched that off."""
    checked = _checked(init, typechecker)

    @functools.wraps(init)
    def either(*args, **kwargs):
        return (init if jaxtyping.config.jaxtyping_disable else checked)(*args, **kwargs)

    return either


def _checked(function, typechecker):
    written = function.__annotations__
    read = {name: _read(each, function.__globals__) for name, each in written.items()}
    shaped = any(map(_is_shaped, read.values()))
    if "<locals>" in function.__qualname__ and not shaped:
        return function
    if shaped and inspect.isgeneratorfunction(function):  # it yields when its scope is closed
        return _jaxtyped(function, typechecker=typechecker)
    function.__annotations__ = read
    checked = beartype(conf=_CONFIG)(function)
    checked.__annotations__ = function.__annotations__ = written
    # Around beartype's own wrapper, arguments are looked at once a call and not twice.
    return _jaxtyped(checked, typechecker=None) if shaped else checked


def _read(annotation, names):
    """Evaluate an annotation; what only type checkers understand may be anything."""
    alone = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return get_type_hints(alone, names, include_extras=True)["it"]
    except Exception:  # noqa: BLE001  names for type checkers, subscripts that Python refuses
        return Any


def _is_shaped(annotation):
    if inspect.isclass(annotation) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return any(map(_is_shaped, get_args(annotation)))
