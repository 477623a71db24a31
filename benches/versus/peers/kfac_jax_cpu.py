"""kfac_jax: whole steps on one batch, and training on MNIST."""
import importlib.metadata
import time

import jax
import jax.numpy as jnp
import kfac_jax
from jax_cpu import cross_entropy, network, start
from worker import Task

import shared_inputs as inputs

ADAPTIVE = dict(use_adaptive_learning_rate=True, use_adaptive_momentum=True, use_adaptive_damping=True,
                min_damping=1e-5, max_damping=1e3, damping_adaptation_decay=0.95, damping_adaptation_interval=5)
FIXED = dict(learning_rate_schedule=lambda _: jnp.asarray(1e-3), momentum_schedule=lambda _: jnp.asarray(0.9),
             damping_schedule=lambda _: jnp.asarray(10.0))


def versions():
    return {"kfac_jax": importlib.metadata.version("kfac-jax")}


def optimizer(every, l2=0.0, burn_in=0, **settings):
    def loss(layers, x):
        z = network(layers, x)
        kfac_jax.register_sigmoid_cross_entropy_loss(z, x)
        squares = sum(jnp.sum(w * w) for w in jax.tree.leaves(layers)) if l2 else 0.0
        return cross_entropy(z, x) + 0.5 * l2 * squares
    return kfac_jax.Optimizer(value_and_grad_func=jax.value_and_grad(loss), l2_reg=l2, inverse_update_period=every,
                              num_burnin_steps=burn_in, curvature_ema=0.95, **settings)


def prepare(row, settings):
    words = row.split(" ")
    if words[:2] != ["network", "kfac"]:
        return None
    kind, every = words[2], int(words[3])
    options = {"adaptive": dict(ADAPTIVE, initial_damping=150.0), "exact": dict(FIXED, use_exact_inverses=True),
               "fixed": FIXED}[kind]
    method = optimizer(every, **options)
    x, layers, key = jnp.asarray(inputs.images(settings)), start(settings), jax.random.PRNGKey(0)
    state = {"layers": layers, "state": method.init(layers, key, x), "number": 0}

    def step():
        number = state["number"]
        state["layers"], state["state"], report = method.step(
            state["layers"], state["state"], jax.random.fold_in(key, number), batch=x, global_step_int=number)
        jax.block_until_ready((state["layers"], state["state"], report))
        state["number"] += 1
    steps = max(every, 5)
    for _ in range(2 * steps):  # compiles what any step may need
        step()
    return Task(lambda: [step() for _ in range(steps)], steps=steps)


def curve(settings, seconds, damping, together):
    """From the shared start through the shared batches, so many of them joined to a larger one for each step. What compiles
    is run before, on another state."""
    together = int(together)
    data, order = inputs.mnist(settings.mnist), inputs.batches(settings)
    order = order[:len(order) // together * together].reshape(-1, together * order.shape[1])
    method = optimizer(5, l2=1e-5, burn_in=5, initial_damping=damping, **ADAPTIVE)
    key = jax.random.PRNGKey(0)

    def train(limit, steps):
        layers = start(settings)
        state = method.init(layers, key, jnp.asarray(data[order[0]]))
        burn_in = (jnp.asarray(data[cases]) for cases in order[::-1])
        begin, number = time.perf_counter(), 0
        while number < min(steps, len(order)) and time.perf_counter() - begin < limit:
            x = jnp.asarray(data[order[number]])
            # the first step draws the batches of the burn-in itself
            source = dict(data_iterator=burn_in) if number == 0 else dict(batch=x)
            layers, state, report = method.step(
                layers, state, jax.random.fold_in(key, number), global_step_int=number, **source)
            jax.block_until_ready((layers, report))
            number += 1
        return layers, number, time.perf_counter() - begin
    train(float("inf"), 12)
    layers, steps, elapsed = train(seconds, 10**9)
    name = f"kfac_jax_{damping:g}_{together}.f32"
    inputs.save_parameters(settings, name, layers)
    return {"batches": steps * together, "seconds": elapsed, "parameters": name}
