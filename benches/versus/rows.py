"""What is compared: the rows of the table, who takes part in each, and how many flops the work has."""
from dataclasses import dataclass

OURS = ("faer", "openblas")
WIDTHS = (784, 1000, 500, 250, 30, 250, 500, 1000, 784)
CASES = 512


@dataclass(frozen=True)
class Row:
    name: str  # the request; its last word is the scalar type where there is one
    title: str
    peers: tuple
    flops: float
    threads: tuple = (1, 2)
    note: str = ""

    @property
    def dtype(self):
        return "f64" if self.name.endswith("f64") else "f32"


def dense_layers():
    return list(zip(WIDTHS, WIDTHS[1:]))


def network_flops():
    """(gradient, product with the Gauss-Newton matrix, K-FAC step without a refresh, refresh by inverses)"""
    weights = sum((i + 1) * o for i, o in dense_layers())
    first = (WIDTHS[0] + 1) * WIDTHS[1]
    gradient = (6 * weights - 2 * first) * CASES
    product = (10 * weights - 4 * first) * CASES
    pseudo = 2 * (weights - first) * CASES
    statistics = sum(((i + 1) ** 2 + o * o) * CASES for i, o in dense_layers())
    update = sum(2 * (i + 1) * o * (i + 1 + o) for i, o in dense_layers())
    refresh = sum((i + 1) ** 3 + o**3 for i, o in dense_layers())
    return gradient, product, gradient + pseudo + statistics + update, refresh


def forward_product():
    """A product with the Jacobian: W and V in every layer, W not in the first."""
    weights = sum((i + 1) * o for i, o in dense_layers())
    return (4 * weights - 2 * (WIDTHS[0] + 1) * WIDTHS[1]) * CASES


def all_rows():
    gradient, product, step, refresh = network_flops()
    tangents = 2 * forward_product()
    update = sum(2 * (i + 1) * o * (i + 1 + o) for i, o in dense_layers())
    rows = [
        Row("network gradient", "gradient", ("jax", "torch"), gradient),
        Row("network gauss_newton", "Gauss-Newton vector product", ("jax",), product, note="forward pass included"),
        Row("network kfac fixed 5", "K-FAC step, fixed λ, refresh every 5", ("kfac_jax", "torch"), step + refresh / 5),
        Row("network kfac fixed 1", "K-FAC step, fixed λ, refresh every step", ("kfac_jax", "torch"), step + refresh),
        Row("network kfac adaptive 5", "K-FAC step, adaptive λ, α, μ, refresh every 5", ("kfac_jax",),
            step + refresh / 5 + tangents),
        Row("network kfac exact 5", "K-FAC step, exact damping, refresh every 5", ("kfac_jax",),
            step + update + 9 * refresh / 5, note="9 n³ for an eigendecomposition"),
    ]
    for n in (1024, 2048):
        rows.append(Row(f"inverse {n} f32", f"SPD inverse, n = {n}", ("scipy", "torch"), n**3,
                        note="ours writes both triangles, SciPy's one"))
    for n in (512, 1024, 2048):
        for dtype in ("f32", "f64"):
            rows.append(Row(f"eigen {n} {dtype}", f"symmetric eigen, n = {n}, {dtype}", ("scipy", "torch"), 9 * n**3,
                            note="9 n³"))
    d_in, d_out = 785, 1000
    four = 4 * d_in * d_out * (d_in + d_out)
    formed = 2 * CASES * d_in * d_out
    rows += [
        Row("statistics 512 1001 f32", "statistics XᵀX, 512 x 1001", ("scipy",), CASES * 1001**2),
        Row(f"kronecker {d_in} {d_out} f32", f"Kronecker solve {d_in} x {d_out}, one right-hand side", ("scipy",), four),
        Row(f"kronecker_factors {d_in} {d_out} f32", f"Kronecker solve {d_in} x {d_out} of a batch's (a, g)", ("scipy",),
            four + formed, note="flops of the peer's way: gradient formed, then four products"),
    ]
    return rows


def roof(dtype):
    """The fastest product of any library stands for the machine."""
    return Row(f"gemm 1024 {dtype}", f"gemm roof, n = 1024, {dtype}", ("scipy", "torch"), 2 * 1024**3)
