import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nas_service.domain.architecture import Architecture, Family, IllegalArchitecture, TaskShape, WIn, WOut
from tests.builders import an_architecture

MNIST = TaskShape(d_x=784, d_y=784)
widths = st.integers(1, 5)


def the_table_allows(family: str, d_z: int, d_h: int, w_in: str, w_out: str, d_x: int, d_y: int) -> bool:
    w_in_rules = {"identity_init": d_z >= d_x, "fixed_identity_padded": d_z >= d_x, "identity": d_z >= d_x}
    w_in_rules |= {"none": d_z == d_x}
    w_out_rules = {"tied": d_x == d_y and w_in not in ("identity", "none"), "none": d_z == d_y, "learned": True}
    return (
        {"hourglass": d_h < d_z, "conventional": d_h > d_z}[family]
        and w_in_rules.get(w_in, True)
        and w_out_rules[w_out]
    )


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(Family), widths, widths, st.sampled_from(WIn), st.sampled_from(WOut), widths, widths)
def test_an_architecture_is_legal_exactly_when_the_table_says_so(
    family: Family, d_z: int, d_h: int, w_in: WIn, w_out: WOut, d_x: int, d_y: int
) -> None:
    try:
        network = Architecture(family=family, d_z=d_z, d_h=d_h, depth=1, w_in=w_in, w_out=w_out)
        network.check_fits(TaskShape(d_x=d_x, d_y=d_y))
        legal = True
    except ValueError:
        legal = False
    assert legal == the_table_allows(family, d_z, d_h, w_in, w_out, d_x, d_y)


def test_an_hourglass_is_narrow_in_the_middle_and_the_message_has_the_numbers() -> None:
    an_architecture(d_z=785, d_h=784)
    with pytest.raises(ValidationError, match=r"d_h must be below d_z in an hourglass \(got d_h=785, d_z=785\)"):
        an_architecture(d_z=785, d_h=785)


def test_a_conventional_block_is_wide_in_the_middle_and_the_message_has_the_numbers() -> None:
    an_architecture(family="conventional", d_z=784, d_h=785)
    with pytest.raises(ValidationError, match=r"above d_z in a conventional block \(got d_h=784, d_z=784\)"):
        an_architecture(family="conventional", d_z=784, d_h=784)


@pytest.mark.parametrize("w_in", ["identity_init", "fixed_identity_padded", "identity"])
def test_a_w_in_that_keeps_the_input_needs_room_for_it(w_in: str) -> None:
    an_architecture(d_z=784, w_in=w_in).check_fits(MNIST)
    with pytest.raises(IllegalArchitecture, match=rf"{w_in} needs d_z of at least d_x \(got d_z=783, d_x=784\)"):
        an_architecture(d_z=783, w_in=w_in).check_fits(MNIST)


@pytest.mark.parametrize("d_z", [783, 785])
def test_no_w_in_needs_the_input_width(d_z: int) -> None:
    an_architecture(d_z=784, w_in="none").check_fits(MNIST)
    with pytest.raises(IllegalArchitecture, match=rf"w_in none needs d_z equal to d_x \(got d_z={d_z}, d_x=784\)"):
        an_architecture(d_z=d_z, w_in="none").check_fits(MNIST)


@pytest.mark.parametrize("d_z", [783, 785])
def test_no_w_out_needs_the_output_width(d_z: int) -> None:
    an_architecture(d_z=784, w_out="none").check_fits(MNIST)
    with pytest.raises(IllegalArchitecture, match=rf"w_out none needs d_z equal to d_y \(got d_z={d_z}, d_y=784\)"):
        an_architecture(d_z=d_z, w_out="none").check_fits(MNIST)


def test_a_tied_w_out_needs_equal_ends() -> None:
    with pytest.raises(IllegalArchitecture, match=r"w_out tied needs d_x equal to d_y \(got d_x=196, d_y=784\)"):
        an_architecture(d_z=800, w_out="tied").check_fits(TaskShape(d_x=196, d_y=784))


@pytest.mark.parametrize("w_in", ["none", "identity"])
def test_a_tied_w_out_needs_a_matrix_to_transpose(w_in: str) -> None:
    with pytest.raises(IllegalArchitecture, match=f"w_out tied needs a w_in that is learned or fixed.*{w_in}"):
        an_architecture(d_z=784, w_in=w_in, w_out="tied").check_fits(MNIST)


@pytest.mark.parametrize("w_in", [w_in for w_in in WIn if w_in.is_trained or w_in.is_fixed_random])
def test_a_tied_w_out_goes_with_every_learned_or_fixed_w_in(w_in: WIn) -> None:
    an_architecture(d_z=800, w_in=w_in, w_out="tied").check_fits(MNIST)


def test_sizes_are_at_least_one() -> None:
    for size in ("d_z", "d_h", "depth"):
        with pytest.raises(ValidationError, match=size):
            an_architecture(**{size: 0})


def test_unknown_fields_are_refused_and_nothing_changes_afterwards() -> None:
    with pytest.raises(ValidationError, match="width"):
        an_architecture(width=3)
    with pytest.raises(ValidationError, match="frozen"):
        an_architecture().depth = 3  # type: ignore[misc]
