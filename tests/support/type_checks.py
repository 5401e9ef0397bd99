"""Runtime type checks at a cost that the suite can bear.

jaxtyping's import hook wraps every function of the package in the same way: each call binds a
signature and opens a scope for axis names, which takes some twenty microseconds, and a function
within a function gets its checks compiled again whenever the outer one runs.  Only annotations with
a shape need such a scope.  Here every other function is checked by beartype alone, and what has no
shape and is defined within a function is left to mypy.
"""

import dataclasses
import inspect
import re
from typing import get_args

import jaxtyping
from beartype import beartype
from beartype.roar import BeartypeDecorHintException

_jaxtyped = jaxtyping.jaxtyped


def install():
    """Have the import hook, which looks ``jaxtyping.jaxtyped`` up, decorate as said above."""
    jaxtyping.jaxtyped = _decorator


def _decorator(*, typechecker):
    def decorate(definition):
        if inspect.isclass(definition):
            if dataclasses.is_dataclass(definition) and "__init__" in vars(definition):
                definition.__init__ = _checked(definition.__init__, typechecker)
            return definition
        return _checked(definition, typechecker)

    return decorate


def _checked(function, typechecker):
    shaped = _has_shapes(function)
    if "<locals>" in function.__qualname__ and not shaped:
        return function
    try:
        checked = beartype(function)
    except BeartypeDecorHintException:  # only type checkers understand ``array[int]``
        return _jaxtyped(function, typechecker=typechecker)
    return _jaxtyped(checked, typechecker=None) if shaped else checked


def _has_shapes(function):
    names = function.__globals__
    return any(_is_shaped(each, names) for each in function.__annotations__.values())


def _is_shaped(annotation, names):
    """Return whether an annotation, or a name in the text of one, stands for a shape."""
    if isinstance(annotation, str):
        words = set(re.findall(r"\w+", annotation)) & names.keys()
        return any(_is_shaped(names[word], {}) for word in words)
    if inspect.isclass(annotation):
        return issubclass(annotation, jaxtyping.AbstractArray | jaxtyping.AbstractDtype)
    return any(_is_shaped(each, names) for each in get_args(annotation))
