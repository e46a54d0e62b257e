import pytest

from nas_service.domain.architecture import Family, TaskShape, WIn, WOut
from nas_service.domain.costs import known_costs
from nas_service.domain.published import published_arm, published_recipe, published_task

MNIST = TaskShape(d_x=784, d_y=784)

# One row of each arm as published: (name, d_z, d_h, depth, params).
ROWS = [
    ("conventional_fixed_identity_in", 784, 1150, 4, 7_827_456),
    ("conventional_fixed_in", 784, 1150, 4, 7_827_456),
    ("conventional_identity_in", 784, 1150, 4, 8_442_112),
    ("conventional_learned_in", 784, 1150, 4, 8_442_112),
    ("conventional_no_in", 784, 1150, 4, 7_827_456),
    ("conventional_no_in_no_out", 784, 785, 2, 2_461_760),
    ("hourglass_fixed_in", 785, 4, 5, 646_840),
    ("hourglass_learned_in", 785, 4, 5, 1_262_280),
]


@pytest.mark.parametrize(("name", "d_z", "d_h", "depth", "params"), ROWS)
def test_a_published_arm_has_the_published_number_of_weights(
    name: str, d_z: int, d_h: int, depth: int, params: int
) -> None:
    architecture = published_arm(name).architecture(d_z, d_h, depth)
    assert known_costs(architecture, MNIST).parameters_trainable == params


def test_an_arm_name_says_family_and_projections() -> None:
    arm = published_arm("conventional_fixed_identity_in")
    assert (arm.family, arm.w_in, arm.w_out) == (Family.CONVENTIONAL, WIn.IDENTITY, WOut.LEARNED)
    assert published_arm("conventional_no_in_no_out").w_out is WOut.NONE


@pytest.mark.parametrize(
    "name", ["hourglass", "sandglass_learned_in", "hourglass_frozen_in", "hourglass_in_no_out", ""]
)
def test_an_unknown_arm_is_refused_with_what_was_expected(name: str) -> None:
    with pytest.raises(ValueError, match="expected FAMILY_W"):
        published_arm(name)


def test_sizes_must_be_of_the_arms_family() -> None:
    with pytest.raises(ValueError, match="d_h must be below d_z"):
        published_arm("hourglass_learned_in").architecture(784, 1150, 1)


@pytest.mark.parametrize(
    ("budget", "expected"), [("bs128_ep30", (128, 30, 1)), ("bs512_ep2_aug4", (512, 2, 4)), ("bs8_ep9_aug2", (8, 9, 2))]
)
def test_a_budget_reads_batch_size_epochs_and_augmentation(budget: str, expected: tuple[int, int, int]) -> None:
    recipe = published_recipe(budget)
    assert (recipe.batch_size, recipe.epochs, recipe.augment) == expected


@pytest.mark.parametrize("budget", ["", "ep30", "bs128", "bs128_ep30_aug3", "bs128_ep30x"])
def test_an_unreadable_budget_is_refused(budget: str) -> None:
    with pytest.raises(ValueError, match="bs128_ep30"):
        published_recipe(budget)


def test_a_task_names_dataset_and_kind() -> None:
    dataset, task = published_task("mnist_denoising")
    assert (dataset.name, task.kind) == ("mnist", "denoising")
    dataset, task = published_task("fashion_mnist_super_resolution")
    assert (dataset.name, task.kind) == ("fashion_mnist", "super_resolution")


@pytest.mark.parametrize("name", ["denoising", "imagenet32_denoising", "mnist_inpainting"])
def test_an_unknown_task_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no published task"):
        published_task(name)
