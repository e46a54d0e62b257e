import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nas_service.domain.tasks import Dataset, Denoising, GenerativeClassification, SuperResolution
from workers.training.datasets import DatasetError, LoadedDataset, Split
from workers.training.measure import measure
from workers.training.tasks import TaskSplit, class_prototypes, make_batch, prepare, trivial_answer

CPU = torch.device("cpu")
HALF = SuperResolution(kind="super_resolution", factor=2)
DRAW = GenerativeClassification(kind="generative_classification")


def test_denoising_asks_for_the_image_from_the_noisy_image(digits: LoadedDataset, denoising: Denoising) -> None:
    split = prepare(denoising, digits, CPU).train
    inputs, targets = make_batch(split, torch.arange(500), seed=1)
    assert torch.equal(targets, digits.train.images[:500].flatten(1) / 16)
    assert (float(inputs.min()), float(inputs.max())) == (0, 1)
    inside = (targets > 0.4) & (targets < 0.6)  # hardly any of these are clipped
    assert float((inputs - targets)[inside].std()) == pytest.approx(0.25, abs=0.01)


def test_noise_is_drawn_anew_at_every_visit_but_not_by_the_batch(digits: LoadedDataset, denoising: Denoising) -> None:
    split = prepare(denoising, digits, CPU).train
    whole, _ = make_batch(split, torch.arange(40), seed=1, epoch=3)
    part, _ = make_batch(split, torch.tensor([20, 7]), seed=1, epoch=3)
    later, _ = make_batch(split, torch.arange(40), seed=1, epoch=4)
    assert torch.equal(part, whole[[20, 7]])
    assert not torch.equal(later, whole)


def test_the_splits_do_not_share_noise(digits: LoadedDataset, denoising: Denoising) -> None:
    data = prepare(denoising, digits, CPU)
    inputs = []
    for split in (data.train, data.eval, data.test):
        grey = TaskSplit(
            denoising, torch.full((9, 1, 8, 8), 8, dtype=torch.uint8), split.labels, None, 16, split.stream
        )
        inputs.append(make_batch(grey, torch.arange(9), seed=1)[0])
    assert not torch.equal(inputs[0], inputs[1])
    assert not torch.equal(inputs[1], inputs[2])


def test_super_resolution_starts_from_the_bicubic_half(digits: LoadedDataset) -> None:
    split = prepare(HALF, digits, CPU).eval
    inputs, targets = make_batch(split, torch.arange(5), seed=1)
    images = digits.eval.images[:5].float() / 16
    small = F.interpolate(images, scale_factor=0.5, mode="bicubic", antialias=False)
    assert torch.allclose(inputs, small.flatten(1))
    assert torch.equal(targets, images.flatten(1))


def test_generative_classification_asks_for_the_first_image_of_the_class(digits: LoadedDataset) -> None:
    split = prepare(DRAW, digits, CPU).eval
    inputs, targets = make_batch(split, torch.arange(50), seed=1)
    labels = digits.train.labels.tolist()
    for row in range(50):
        first = labels.index(int(digits.eval.labels[row]))
        assert torch.equal(targets[row], digits.train.images[first].flatten() / 16)
    assert torch.equal(inputs, digits.eval.images[:50].flatten(1) / 16)


@pytest.mark.parametrize(("augment", "flips"), [(2, [(), (1, 2)]), (4, [(), (2,), (1,), (1, 2)])])
def test_each_visit_of_an_epoch_flips_its_own_way(
    digits: LoadedDataset, augment: int, flips: list[tuple[int, ...]]
) -> None:
    split = prepare(HALF, digits, CPU).train
    samples, visits = torch.zeros(augment, dtype=torch.int64), torch.arange(augment)
    _, targets = make_batch(split, samples, 1, 0, visits, augment)
    image = digits.train.images[0] / 16  # (1, 8, 8)
    for visit, axes in enumerate(flips):
        assert torch.equal(targets[visit].view(1, 8, 8), image.flip(axes))


def test_a_flipped_image_keeps_its_prototype(digits: LoadedDataset) -> None:
    split = prepare(DRAW, digits, CPU).train
    samples = torch.zeros(4, dtype=torch.int64)
    inputs, targets = make_batch(split, samples, 1, 0, torch.arange(4), 4)
    assert torch.equal(targets, targets[:1].expand(4, -1))
    assert not torch.equal(inputs[0], inputs[3])


def test_prototypes_need_labels_and_an_image_of_every_class(digits: LoadedDataset) -> None:
    zeros = Split(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    dataset = Dataset(path="npz:a.npz", image_shape=(1, 2, 2))
    for classes, message in ((0, "has no labels"), (2, "no training image of class 1")):
        with pytest.raises(DatasetError, match=message):
            class_prototypes(LoadedDataset(dataset, zeros, zeros, zeros, classes, 255, "sha256:"))


def _trivial(split: TaskSplit, train: TaskSplit) -> dict[str, float]:
    return measure(lambda inputs: trivial_answer(split, inputs, train.labels), split, [42])[0]


def test_the_trivial_answer_of_generative_classification_is_the_mean_prototype(digits: LoadedDataset) -> None:
    data = prepare(DRAW, digits, CPU)
    answer = trivial_answer(data.eval, torch.zeros(1, 3, 64), data.train.labels)
    mean = np.mean([class_prototypes(digits)[label].numpy() for label in digits.train.labels], axis=0)
    assert np.allclose(answer[0].numpy(), mean, atol=1e-5)
    assert _trivial(data.eval, data.train)["accuracy"] == pytest.approx(0.1, abs=0.05)


def test_the_trivial_answers_on_digits_are_what_they_were(digits: LoadedDataset, denoising: Denoising) -> None:
    noisy, half = prepare(denoising, digits, CPU), prepare(HALF, digits, CPU)
    assert _trivial(noisy.eval, noisy.train)["psnr_db"] == pytest.approx(14.27, abs=0.05)
    assert _trivial(half.eval, half.train)["psnr_db"] == pytest.approx(13.47, abs=0.01)


def test_bicubic_enlargement_of_mnist_has_the_published_psnr(mnist: LoadedDataset) -> None:
    data = prepare(HALF, mnist, CPU)
    assert _trivial(data.test, data.train)["psnr_db"] == pytest.approx(21.35, abs=0.02)
    assert _trivial(data.eval, data.train)["psnr_db"] == pytest.approx(21.20, abs=0.02)
