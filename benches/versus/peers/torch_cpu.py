"""torch: dense kernels through MKL, and K-FAC written by hand with torch's products, with no framework around it."""
import torch
from worker import Task

import shared_inputs as inputs

torch.set_grad_enabled(False)
DTYPES = {"f32": torch.float32, "f64": torch.float64}


def versions():
    return {"torch": torch.__version__}


def prepare(row, settings):
    torch.set_num_threads(settings.threads)
    words = row.split(" ")
    if words[:3] == ["network", "kfac", "fixed"]:
        return HandWritten(settings, every=int(words[3])).task()
    if words == ["network", "gradient"]:
        net = HandWritten(settings, every=1)
        norm = lambda: sum(g.double().square().sum() for g in net.gradient(*net.forward())) ** 0.5  # noqa: E731
        return Task(lambda: net.gradient(*net.forward()), check=norm)
    if words[-1] not in DTYPES:
        return None
    make = {"gemm": gemm, "inverse": inverse, "eigen": eigen}.get(words[0])
    return make and make(settings, DTYPES[words[-1]], int(words[1]))


def definite(settings, n, dtype):
    return torch.from_numpy(inputs.definite(settings, n, "float64").copy(order="C")).to(dtype)


def gemm(_settings, dtype, n):
    a, b, c = (torch.rand(n, n, dtype=dtype) for _ in range(3))
    return Task(lambda: torch.mm(a, b, out=c))


def inverse(settings, dtype, n):
    a = definite(settings, n, dtype)
    run = lambda: torch.cholesky_inverse(torch.linalg.cholesky_ex(a)[0])  # noqa: E731
    return Task(run, check=lambda: run().trace())


def eigen(settings, dtype, n):
    a = definite(settings, n, dtype)
    return Task(lambda: torch.linalg.eigh(a), check=lambda: torch.linalg.eigh(a)[0].double().log().sum())


class HandWritten:
    """lambda = 10, learning rate 1e-3, momentum 0.9, pi by traces; targets of the statistics are sampled."""

    def __init__(self, settings, every):
        self.every, self.step_number = every, 0
        self.x = torch.from_numpy(inputs.images(settings))
        self.ones = torch.ones(len(self.x), 1)
        both = [(torch.from_numpy(w), torch.from_numpy(b)) for w, b in inputs.parameters(settings)]
        self.w = [torch.cat([w, b[None]]) for w, b in both]
        self.velocity = [torch.zeros_like(w) for w in self.w]
        self.a = [torch.zeros(w.shape[0], w.shape[0]) for w in self.w]
        self.s = [torch.zeros(w.shape[1], w.shape[1]) for w in self.w]
        self.inverses = None
        self.generator = torch.Generator().manual_seed(0)

    def forward(self):
        layers, a = [], self.x
        for w, tanh in zip(self.w, inputs.TANH):
            layers.append(torch.cat([a, self.ones], 1))
            a = layers[-1] @ w
            a = a.tanh_() if tanh else a
        return layers, a

    def backward(self, layers, delta, visit):
        for k in reversed(range(len(self.w))):
            visit(k, layers[k], delta)
            if k:
                delta = delta @ self.w[k][:-1].T
                if inputs.TANH[k - 1]:
                    a = layers[k][:, :-1]
                    delta = delta.mul_(1 - a * a)

    def gradient(self, layers, z):
        out = [None] * len(self.w)

        def visit(k, a, delta):
            out[k] = a.T @ delta
        self.backward(layers, (torch.sigmoid(z) - self.x) / len(self.x), visit)
        return out

    def statistics(self, layers, z):
        p = torch.sigmoid(z)
        n = len(self.x)

        def visit(k, a, delta):
            for moment, x in ((self.a[k], a), (self.s[k], delta)):
                moment.addmm_(x.T, x, beta=0.95, alpha=0.05 / n)
        self.backward(layers, p - torch.bernoulli(p, generator=self.generator), visit)

    def refresh(self):
        def inverse(m, shift):
            m = m.clone()
            m.diagonal().add_(shift)
            return torch.cholesky_inverse(torch.linalg.cholesky_ex(m)[0])
        self.inverses = []
        for a, s in zip(self.a, self.s):
            pi = torch.sqrt((a.trace() / len(a)) / (s.trace() / len(s)))
            self.inverses.append((inverse(a, pi * 10**0.5), inverse(s, 10**0.5 / pi)))

    def step(self):
        layers, z = self.forward()
        gradient = self.gradient(layers, z)
        self.statistics(layers, z)
        if self.step_number % self.every == 0:
            self.refresh()
        for w, v, g, (a, s) in zip(self.w, self.velocity, gradient, self.inverses):
            v.mul_(0.9).sub_(a @ g @ s, alpha=1e-3)
            w.add_(v)
        self.step_number += 1

    def task(self):
        steps = max(self.every, 5)
        return Task(lambda: [self.step() for _ in range(steps)], steps=steps)
