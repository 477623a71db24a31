"""jax: the network's gradient and Gauss-Newton product, compiled."""
import jax
import jax.numpy as jnp
from worker import Task

import shared_inputs as inputs


def versions():
    return {"jax": jax.__version__}


def network(layers, x):
    for (w, b), tanh in zip(layers, inputs.TANH):
        x = x @ w + b
        x = jnp.tanh(x) if tanh else x
    return x


def cross_entropy(z, target):
    """Summed over pixels, mean over cases."""
    losses = jnp.maximum(z, 0) - z * target + jnp.log1p(jnp.exp(-jnp.abs(z)))
    return jnp.mean(jnp.sum(losses, -1))


def start(settings):
    return [(jnp.asarray(w), jnp.asarray(b)) for w, b in inputs.parameters(settings)]


def norm(layers):
    return jnp.sqrt(sum(jnp.sum(w * w) for w in jax.tree.leaves(layers)))


def prepare(row, settings):
    x, layers = jnp.asarray(inputs.images(settings)), start(settings)
    if row == "network gradient":
        gradient = jax.jit(jax.value_and_grad(lambda q, x: cross_entropy(network(q, x), x)))
        return Task(lambda: jax.block_until_ready(gradient(layers, x)), check=lambda: norm(gradient(layers, x)[1]))
    if row == "network gauss_newton":
        v = jax.tree.map(lambda w: 0.1 * w + 0.01, layers)

        @jax.jit
        def product(q, v, x):
            z, pull = jax.vjp(lambda q: network(q, x), q)
            _, forward = jax.jvp(lambda q: network(q, x), (q,), (v,))
            p = jax.nn.sigmoid(z)
            return pull(p * (1 - p) * forward / len(x))[0]
        return Task(lambda: jax.block_until_ready(product(layers, v, x)), check=lambda: norm(product(layers, v, x)))
    return None
