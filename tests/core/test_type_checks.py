"""The types that the package declares are enforced while it is tested."""

import jaxtyping
import pytest
import torch
from beartype import beartype
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from parallelbench.model import Prediction
from parallelbench.setting import split_settings


@jaxtyping.jaxtyped(typechecker=beartype)
def product(left: Float[Tensor, "n k"], right: Float[Tensor, "k m"]) -> Float[Tensor, "n m"]:
    return left @ right if len(left) > 1 else right


def test_a_value_of_another_type_is_refused():
    with pytest.raises(TypeCheckError):
        split_settings(3)


def test_a_field_of_another_shape_is_refused():
    with pytest.raises(TypeCheckError):
        Prediction(logits=torch.zeros(3))


def test_an_axis_has_one_length_in_all_arguments_and_in_what_is_returned():
    assert product(torch.zeros(2, 3), torch.zeros(3, 4)).shape == (2, 4)
    with pytest.raises(TypeCheckError):
        product(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(TypeCheckError):
        product(torch.zeros(1, 3), torch.zeros(3, 4))
