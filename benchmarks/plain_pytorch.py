"""Denoising as a user of PyTorch writes it first: the rival of our trainer. Knows nothing of this project.

Per-sample `Dataset`, `DataLoader`, `nn.Module`, `AdamW`, float32, every setting that is not the recipe's left at its
default. Leaves out whatever would make it faster.

    python benchmarks/plain_pytorch.py DATA/mnist --d-z 785 --d-h 115 --depth 5 --epochs 30

N: images, B: batch, P: pixels of an image.
"""

import argparse
import gzip
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class NoisyImages(Dataset[tuple[Tensor, Tensor]]):
    """Images (N, H, W) as bytes; an item is (noisy, clean), both (P,) in [0, 1], the noise drawn anew at each use."""

    def __init__(self, images: Tensor, noise_std: float = 0.25, scale: int = 255) -> None:
        self.images, self.noise_std, self.scale = images, noise_std, scale

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        clean = self.images[index].float().flatten() / self.scale  # (P,)
        noisy = clean + self.noise_std * torch.randn_like(clean)  # (P,)
        return noisy.clamp(0, 1), clean


class Block(nn.Module):
    """z + W2 relu(W1 norm(z))."""

    def __init__(self, d_z: int, d_h: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm1d(d_z, affine=False),
            nn.Linear(d_z, d_h, bias=False),
            nn.ReLU(),
            nn.Linear(d_h, d_z, bias=False),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map z (B, d_z) to (B, d_z)."""
        branch: Tensor = self.branch(z)
        return z + branch


class ResidualMLP(nn.Module):
    """Learned projections around residual blocks, sigmoid output."""

    def __init__(self, pixels: int, d_z: int, d_h: int, depth: int) -> None:
        super().__init__()
        self.w_in: nn.Module = nn.Linear(pixels, d_z, bias=False)
        self.blocks = nn.Sequential(*(Block(d_z, d_h) for _ in range(depth)))
        self.w_out: nn.Module = nn.Linear(d_z, pixels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, P) to (B, P) in [0, 1]."""
        return torch.sigmoid(self.w_out(self.blocks(self.w_in(x))))


def train_epoch(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], optimizer: torch.optim.Optimizer, loss_fn: nn.Module
) -> None:
    """One pass over the batches."""
    model.train()
    for noisy, clean in batches:
        optimizer.zero_grad()
        loss = loss_fn(model(noisy), clean)
        loss.backward()
        optimizer.step()


@torch.no_grad()
def evaluate(model: nn.Module, loader: Iterable[tuple[Tensor, Tensor]]) -> float:
    """PSNR in dB: -10 log10 of each batch's MSE, averaged over images."""
    model.eval()
    total, count = 0.0, 0
    for noisy, clean in loader:
        mse = nn.functional.mse_loss(model(noisy), clean)
        total += -10 * torch.log10(mse).item() * len(clean)
        count += len(clean)
    return total / count


def train(
    model: nn.Module, train_set: NoisyImages, eval_set: NoisyImages, epochs: int, batch_size: int, lr: float
) -> float:
    """Train with a learning rate that falls linearly, lr (1 - e/E) in epoch e; returns the last PSNR in dB."""
    train_loader = DataLoader(train_set, batch_size=batch_size, shuffle=True)
    eval_loader = DataLoader(eval_set, batch_size=128)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 - epoch / epochs)
    psnr_db = 0.0
    for epoch in range(epochs):
        start = time.perf_counter()
        train_epoch(model, train_loader, optimizer, nn.MSELoss())
        seconds = time.perf_counter() - start
        scheduler.step()
        psnr_db = evaluate(model, eval_loader)
        print(f"epoch {epoch + 1}/{epochs}: {psnr_db:.3f} dB, trained for {seconds:.1f} s", flush=True)
    return psnr_db


def read_images(folder: Path) -> tuple[Tensor, Tensor]:
    """MNIST's training images as bytes (N, 28, 28): 50,000 to train with, 10,000 to evaluate."""
    with gzip.open(folder / "train-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    order = np.random.RandomState(42).permutation(len(images))
    return torch.from_numpy(images[order[:50_000]]), torch.from_numpy(images[order[50_000:]])


def main() -> None:
    """Train one network."""
    parser = argparse.ArgumentParser(description="Train a residual MLP to denoise MNIST, in plain PyTorch.")
    parser.add_argument("folder", type=Path, help="where train-images-idx3-ubyte.gz is")
    for name, default in (("d-z", 785), ("d-h", 115), ("depth", 5), ("epochs", 30), ("batch-size", 128), ("seed", 43)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=1e-3)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    train_images, eval_images = read_images(given.folder)
    model = ResidualMLP(28 * 28, given.d_z, given.d_h, given.depth)
    train(model, NoisyImages(train_images), NoisyImages(eval_images), given.epochs, given.batch_size, given.lr)


if __name__ == "__main__":
    main()
