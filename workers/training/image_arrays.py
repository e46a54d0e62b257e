"""Decoded images and labels before any split: the value that every reader of files returns, and its digest.

N: images, C: channels, H, W: height and width.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # (N, C, H, W)
Labels = NDArray[np.int64]  # (N,)


@dataclass(frozen=True)
class ImageArrays:
    """Images as their files give them, in the files' order."""

    images: Images  # (N, C, H, W), to be split into train and eval (and test, where none is given)
    labels: Labels  # (N,) from 0; all 0 where there are none
    classes: int  # 0 where there are no labels
    test_images: Images | None = None  # (M, C, H, W) where the files say which are for the test
    test_labels: Labels | None = None  # (M,)
    scale: int = 255  # the pixel value that means 1.0

    @property
    def digest(self) -> str:
        """The sha256 over shapes, pixels and labels, as `sha256:<hex>`; the same for every container of the images."""
        digest = hashlib.sha256()
        for images, labels in ((self.images, self.labels), (self.test_images, self.test_labels)):
            if images is not None and labels is not None:
                digest.update(f"{images.shape};".encode())
                digest.update(np.ascontiguousarray(images).tobytes())
                digest.update(np.ascontiguousarray(labels, dtype="<i8").tobytes())
        return f"sha256:{digest.hexdigest()}"
