"""NumPy and SciPy: dense kernels through OpenBLAS, and the judge of trained parameters."""
import numpy as np
import scipy
from scipy.linalg import blas, eigh, lapack
from worker import Task

import shared_inputs as inputs

LAMBDA = 1e-2


def versions():
    return {"numpy": np.__version__, "scipy": scipy.__version__}


def prepare(row, settings):
    name, *sizes, dtype = row.split(" ")
    if dtype not in ("f32", "f64"):
        return None
    sizes = [int(size) for size in sizes]
    make = {"gemm": gemm, "statistics": statistics, "inverse": inverse, "eigen": eigen, "kronecker": kronecker,
            "kronecker_factors": kronecker_factors}.get(name)
    return make and make(settings, np.dtype(dtype.replace("f", "float")).type, *sizes)


def random(seed, dtype, *shape):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(dtype)


def routine(module, name, dtype):
    return getattr(module, ("s" if dtype == np.float32 else "d") + name)


def gemm(_settings, dtype, n):
    a, b, c = random(1, dtype, n, n), random(2, dtype, n, n), np.empty((n, n), dtype)
    return Task(lambda: np.matmul(a, b, out=c))


def statistics(_settings, dtype, cases, n):
    # column-major x and its product in place: no copy on the way
    x, a = np.asfortranarray(inputs.pattern(n, cases, dtype)), np.zeros((n, n), dtype, order="F")
    syrk = routine(blas, "syrk", dtype)
    run = lambda: syrk(0.05 / cases, x, beta=0.95, c=a, lower=1, overwrite_c=1)  # noqa: E731
    return Task(run, check=lambda: np.trace(a))


def inverse(settings, dtype, n):
    a = inputs.definite(settings, n, dtype)
    work = a.copy(order="F")
    potrf, potri = routine(lapack, "potrf", dtype), routine(lapack, "potri", dtype)

    def run():
        factor, _ = potrf(work, lower=1, clean=0, overwrite_a=1)
        potri(factor, lower=1, overwrite_c=1)  # the lower triangle only
    return Task(run, lambda: np.copyto(work, a), check=lambda: np.trace(work))


def eigen(settings, dtype, n):
    a = inputs.definite(settings, n, dtype)
    work = a.copy(order="F")
    values = np.empty(n, dtype)

    def run():
        values[:], _ = eigh(work, driver="evd", check_finite=False, overwrite_a=True)
    return Task(run, lambda: np.copyto(work, a), check=lambda: np.log(values, dtype=np.float64).sum())


def kronecker_solver(settings, dtype, d_in, d_out):
    """V (d_in x d_out, row-major) to its solution: four products."""
    (wa, qa), (ws, qs) = (eigh(inputs.definite(settings, n, dtype), driver="evd") for n in (d_in, d_out))
    qa, qs = np.ascontiguousarray(qa), np.ascontiguousarray(qs)
    reciprocal = 1 / (np.outer(wa, ws) + dtype(LAMBDA))
    first, second = np.empty((d_in, d_out), dtype), np.empty((d_in, d_out), dtype)

    def solve(v):
        np.matmul(qa.T, v, out=first)
        np.matmul(first, qs, out=second)
        np.multiply(second, reciprocal, out=second)
        np.matmul(qa, second, out=first)
        return np.matmul(first, qs.T, out=second)
    return solve


def kronecker(settings, dtype, d_in, d_out):
    solve = kronecker_solver(settings, dtype, d_in, d_out)
    v = inputs.pattern(d_out, d_in, dtype).T.copy()
    out = solve(v)
    return Task(lambda: solve(v), check=lambda: np.linalg.norm(out))


def kronecker_factors(settings, dtype, d_in, d_out):
    """The gradient is formed, then solved with."""
    solve = kronecker_solver(settings, dtype, d_in, d_out)
    a, g = (inputs.pattern(n, inputs.BATCH, dtype).T.copy() for n in (d_in, d_out))
    v = np.empty((d_in, d_out), dtype)
    out = solve(np.matmul(a.T, g, out=v))
    return Task(lambda: solve(np.matmul(a.T, g, out=v)), check=lambda: np.linalg.norm(out))


def evaluate(settings, name):
    """Training loss (nats a case, without L2) of a file of parameters, over the first 10000 cases."""
    target = inputs.mnist(settings.mnist)[:10000]
    a = target
    for (w, b), tanh in zip(inputs.parameters(settings, name), inputs.TANH):
        a = a @ w + b
        a = np.tanh(a) if tanh else a
    losses = np.maximum(a, 0) - a * target + np.log1p(np.exp(-np.abs(a)))
    return {"loss": float(losses.sum(1, dtype=np.float64).mean())}
