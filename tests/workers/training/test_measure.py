import math

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from nas_service.domain.tasks import Denoising, GenerativeClassification
from workers.training.datasets import LoadedDataset
from workers.training.measure import measure, nearest_prototype, psnr_db, ssim, ssim_window
from workers.training.tasks import prepare

CPU = torch.device("cpu")


def test_psnr_is_that_of_batches_of_128_averaged_over_images() -> None:
    errors = torch.cat([torch.full((128,), 0.01), torch.full((64,), 0.001), torch.full((8,), 0.1)])
    last = -10 * math.log10((64 * 0.001 + 8 * 0.1) / 72)
    assert psnr_db(errors) == pytest.approx((128 * 20 + 72 * last) / 200, abs=1e-5)


def test_psnr_of_single_images_would_be_another_number() -> None:
    errors = torch.tensor([0.1, 0.001] * 64)
    assert psnr_db(errors) == pytest.approx(-10 * math.log10(0.0505), abs=1e-5)


def test_psnr_of_an_exact_answer_is_finite() -> None:
    assert psnr_db(torch.zeros(200)) == pytest.approx(300)


@pytest.mark.parametrize("shape", [(6, 1, 28, 28), (4, 3, 32, 32), (5, 1, 11, 40)])
def test_ssim_is_what_torchmetrics_computes(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(shape, generator=generator)
    outputs = (targets + 0.2 * torch.randn(shape, generator=generator)).clamp(0, 1)
    expected = structural_similarity_index_measure(outputs, targets, data_range=1.0, reduction="none")
    assert torch.allclose(ssim(outputs, targets), expected, atol=1e-5)


def test_ssim_of_digits_is_what_torchmetrics_computes(digits: LoadedDataset) -> None:
    targets = digits.eval.images.float() / 16
    images = targets.repeat_interleave(2, 2).repeat_interleave(2, 3)  # flat areas, where variances vanish
    outputs = images.flip(3)
    expected = structural_similarity_index_measure(outputs, images, data_range=1.0, reduction="none")
    assert torch.allclose(ssim(outputs, images), expected, atol=1e-5)


@pytest.mark.parametrize("side", [6, 8, 10])
def test_ssim_of_images_smaller_than_the_window_is_what_torchmetrics_computes(side: int) -> None:
    outputs, targets = torch.rand(2, 3, 1, side, side)
    expected = structural_similarity_index_measure(outputs, targets, data_range=1.0, reduction="none")
    assert torch.allclose(ssim(outputs, targets), expected, atol=1e-5)


def test_ssim_of_tiny_images_takes_a_window_that_fits() -> None:
    assert [ssim_window(side, 40) for side in (1, 2, 5, 6, 28)] == [1, 3, 9, 11, 11]
    assert torch.allclose(ssim(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2)), torch.ones(1))


def test_the_nearest_prototype_names_the_class() -> None:
    prototypes = torch.eye(4)
    outputs = torch.tensor([[0.1, 0.8, 0.1, 0], [0, 0, 0, 0.4], [0.9, 0.8, 0, 0]])
    assert nearest_prototype(outputs, prototypes).tolist() == [1, 3, 0]


def test_accuracy_is_measured_where_outputs_name_a_class(digits: LoadedDataset) -> None:
    split = prepare(GenerativeClassification(kind="generative_classification"), digits, CPU).eval
    prototypes = split.prototypes
    assert prototypes is not None
    (always_three,) = measure(lambda inputs: prototypes[3].expand(1, inputs.shape[1], -1), split, [0])
    assert always_three["accuracy"] == pytest.approx(float((digits.eval.labels == 3).float().mean()))


def test_evaluation_noise_is_fixed_by_the_seed(digits: LoadedDataset, denoising: Denoising) -> None:
    split = prepare(denoising, digits, CPU).eval
    first, again, other = measure(lambda inputs: inputs, split, [42, 42, 43])
    assert first == again != other
    assert [other] == measure(lambda inputs: inputs, split, [43])
    assert set(first) == {"psnr_db", "mse", "ssim"}
    assert set(measure(lambda inputs: inputs, split, [42], brief=True)[0]) == {"psnr_db", "mse"}
