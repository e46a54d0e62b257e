"""The fixed W_in matrices: drawn from a seed, never stored, bit-identical whenever they are drawn again.

Leaves out the trained projections and how any of them is applied; that is `network.py`.
"""

import hashlib
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from nas_service.domain.architecture import WIn
from nas_service.domain.costs import non_zeros_per_row

# QR is done by LAPACK, whose kernels differ between machines in the last bits of a float64. Rounding to this grid
# (multiples of 2^-17, exact in float32) drops those bits, so that every machine holds the same matrix.
ORTHOGONAL_GRID = 2.0**17

Matrix = NDArray[np.float32]


def draw_projection(kind: WIn, d_x: int, d_z: int, seed: int) -> Matrix:
    """Draw the frozen matrix of a fixed W_in.

    `numpy.random.RandomState` is used because its streams are frozen for good; torch's are not.

    Args:
        kind: one of the `fixed_*` projections.
        d_x: input width.
        d_z: skip width.
        seed: the seed of the run, below 2^32.

    Returns:
        The matrix (d_z, d_x) in float32; (d_z - d_x, d_x) for `fixed_identity_padded`, whose first rows are a copy.

    Raises:
        ValueError: when `kind` is not drawn from a seed.
    """
    random = np.random.RandomState(seed)
    match kind:
        case WIn.FIXED_UNIFORM:
            matrix = random.uniform(-1 / sqrt(d_x), 1 / sqrt(d_x), size=(d_z, d_x))
        case WIn.FIXED_GAUSSIAN:
            matrix = random.standard_normal((d_z, d_x)) / sqrt(d_x)
        case WIn.FIXED_ORTHOGONAL:
            matrix = _orthogonal(random, d_x, d_z)
        case WIn.FIXED_SPARSE:
            matrix = _sparse(random, d_x, d_z)
        case WIn.FIXED_IDENTITY_PADDED:
            matrix = random.standard_normal((d_z - d_x, d_x)) / sqrt(d_x)
        case _:
            raise ValueError(f"w_in {kind} is not drawn from a seed; expected one of the fixed_ projections")
    return matrix.astype(np.float32)


def projection_hash(matrix: Matrix) -> str:
    """The sha256 of shape and little-endian float32 bits of a matrix, as `sha256:<hex>`."""
    digest = hashlib.sha256(f"{matrix.shape[0]}x{matrix.shape[1]};".encode())
    digest.update(np.ascontiguousarray(matrix, dtype="<f4").tobytes())
    return f"sha256:{digest.hexdigest()}"


def _orthogonal(random: np.random.RandomState, d_x: int, d_z: int) -> NDArray[np.float64]:
    """Orthonormal columns when d_z >= d_x, else orthonormal rows; uniform over such matrices (Mezzadri, 2007)."""
    tall = random.standard_normal((max(d_x, d_z), min(d_x, d_z)))
    q, r = np.linalg.qr(tall)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # QR leaves the signs open; a positive diagonal of R settles them
    q = np.round(q * ORTHOGONAL_GRID) / ORTHOGONAL_GRID
    return q if d_z >= d_x else q.T


def _sparse(random: np.random.RandomState, d_x: int, d_z: int) -> NDArray[np.float64]:
    """Rows of k = ceil(sqrt(d_x)) entries of +-1/sqrt(k) at random places (Li, Hastie, Church, KDD 2006)."""
    k = non_zeros_per_row(d_x)
    # The k smallest of d_x random numbers stand at k distinct random places. Sorted, because the order within a
    # partition is numpy's own affair while the set is not.
    places = np.sort(np.argpartition(random.random_sample((d_z, d_x)), k - 1, axis=1)[:, :k], axis=1)
    signs = random.randint(0, 2, size=(d_z, k)) * 2 - 1
    matrix = np.zeros((d_z, d_x))
    np.put_along_axis(matrix, places, signs / sqrt(k), axis=1)
    return matrix
