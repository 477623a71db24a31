"""Reads what ../inputs.rs writes, and MNIST."""
import gzip
from pathlib import Path

import numpy as np

WIDTHS = (784, 1000, 500, 250, 30, 250, 500, 1000, 784)
# tanh but on the code and on the outputs, which are logits
TANH = (True, True, True, False, True, True, True, False)
BATCH = 512


def definite(settings, n, dtype):
    """The symmetric positive definite matrix of order n."""
    numbers = np.fromfile(Path(settings.folder) / f"definite_{n}.f64", np.float64)
    return np.asfortranarray(numbers.reshape(n, n).astype(dtype))


def pattern(rows, columns, dtype):
    """((7i + 13j) mod 31)/31 - 1/2"""
    i, j = np.ogrid[:rows, :columns]
    return ((7 * i + 13 * j) % 31 / 31 - 0.5).astype(dtype)


def images(settings):
    """The batch, one image a row."""
    return np.fromfile(Path(settings.folder) / "images.f32", np.float32).reshape(BATCH, WIDTHS[0])


def parameters(settings, name="start.f32"):
    """[(W, b)] with W d_in x d_out, for rows that are cases."""
    numbers = np.fromfile(Path(settings.folder) / name, np.float32)
    layers, at = [], 0
    for d_in, d_out in zip(WIDTHS, WIDTHS[1:]):
        both = numbers[at:at + (d_in + 1) * d_out].reshape(d_in + 1, d_out)
        layers.append((both[:-1].copy(), both[-1].copy()))
        at += both.size
    return layers


def save_parameters(settings, name, layers):
    both = [np.concatenate([np.asarray(w), np.asarray(b)[None]]).ravel() for w, b in layers]
    np.concatenate(both).astype(np.float32).tofile(Path(settings.folder) / name)


def batches(settings):
    """The cases of one batch after the other."""
    return np.fromfile(Path(settings.folder) / "order.u32", np.uint32).reshape(-1, BATCH)


def mnist(folder):
    """The training images, one a row, in [0, 1]."""
    for name in ("train-images-idx3-ubyte", "train-images.idx3-ubyte"):
        for ending, read in (("", open), (".gz", gzip.open)):
            path = Path(folder) / (name + ending)
            if path.exists():
                with read(path, "rb") as file:
                    pixels = np.frombuffer(file.read(), np.uint8, offset=16)
                return pixels.reshape(-1, 784).astype(np.float32) / np.float32(255)
    raise FileNotFoundError(f"no MNIST training images in {folder}")
