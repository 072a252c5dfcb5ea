"""`elman_scan`: the oracle against a NumPy loop, kernels against the oracle.

The kernels run here in Pallas's interpreter and are lowered for CUDA and TPU;
neither says that they run there, or how fast.
"""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import kernels, tasks, training
from steadygrad.kernels import _pallas_tpu, elman_scan
from steadygrad.types import Trajectory

# The oracle and the loop differ by the order of sums of 5 steps of 4 units.
FLOAT64 = 1e-12
# The engine's promise; observed: 5e-7.
FLOAT32 = 1e-5
# A state rounded the other way differs by 2⁻⁸; observed after 6 steps: 1e-2.
BFLOAT16 = 3e-2

ACTIVATIONS = ("tanh", "sigmoid", "relu", "linear")
KERNELS = ("pallas_gpu", "pallas_tpu")
PLATFORMS = {"pallas_gpu": "cuda", "pallas_tpu": "tpu"}
DEVICES = {"cuda": ("gpu", "NVIDIA H100", 132), "tpu": ("tpu", "TPU v5e", 1)}
CALLS = {"pallas_gpu": "__gpu$xla.gpu.triton", "pallas_tpu": "tpu_custom_call"}

# Later JAX warns that Pallas's Triton will go; see `elman_scan` for what then.
pytestmark = [
  pytest.mark.filterwarnings(
    "ignore:The Pallas Triton backend:DeprecationWarning"
  ),
  pytest.mark.usefixtures("quickly_compiled"),
]

# σ(x) and σ′(x), written apart from the library.
PHI = {
  "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
  "sigmoid": (
    lambda x: 1 / (1 + np.exp(-x)),
    lambda x: 1 / (4 * np.cosh(x / 2) ** 2),
  ),
  "relu": (lambda x: np.maximum(x, 0), lambda x: np.where(x > 0, 1.0, 0.0)),
  "linear": (lambda x: x, np.ones_like),
}


def arrays(length, batch, units, dtype=np.float32, seed=0):
  """w_rec, drives, x_0, dhs; w_rec with a spectral radius of about 1.2."""
  rng = np.random.default_rng(seed)
  shapes = (units, units), (length, batch, units), (batch, units)
  w_rec, drives, x_0 = (rng.normal(size=s) for s in shapes)
  dhs = rng.normal(size=drives.shape)
  w_rec *= 1.2 / np.sqrt(units)
  return [jnp.asarray(x, dtype) for x in (w_rec, drives, x_0, dhs)]


def lengths_of(kind, length, batch):
  """The kinds: none, zero, part, and ragged, which has 0 and T among them."""
  scalars = {"zero": 0, "part": length // 2}
  if kind in scalars:
    return jnp.int32(scalars[kind])
  ragged = jnp.arange(batch, dtype=jnp.int32) * length % (length + 1)
  return None if kind == "none" else ragged


def loop(form, name, w_rec, drives, x_0, dhs, lengths):
  """xs, deltas, products, dx_0 of one sequence after the other, unmasked."""
  phi, phi_prime = PHI[name]
  num_steps, batch, _ = drives.shape
  lengths = np.broadcast_to(num_steps if lengths is None else lengths, batch)
  xs, deltas, products = (np.zeros(drives.shape) for _ in range(3))
  dx_0 = np.zeros(x_0.shape)
  for b, length in enumerate(lengths):
    states, jacobians = [x_0[b]], []
    for t in range(length):
      x = states[-1]
      if form == "x":
        states.append(phi(x) @ w_rec + drives[t, b])
        jacobians.append(phi_prime(x)[:, None] * w_rec)
      else:
        pre = x @ w_rec + drives[t, b]
        states.append(phi(pre))
        jacobians.append(w_rec * phi_prime(pre))
    xs[:length, b], xs[length:, b] = np.stack(states)[1:], states[-1]
    seen = phi_prime(xs[:, b]) if form == "x" else 1
    dxs = dhs[:, b] * seen
    # Beyond the length the last state is seen, and its gradient adds up.
    p = np.sum(dxs[length:], 0)
    for t in reversed(range(length)):
      deltas[t, b] = dxs[t] + p
      p = products[t, b] = jacobians[t] @ deltas[t, b]
    dx_0[b] = p
  return xs, deltas, products, dx_0


def both(scan, w_rec, drives, x_0, dhs, lengths=None):
  """xs, deltas, products, dx_0 by the two passes."""
  xs, hs = scan.forward(w_rec, drives, x_0, lengths)
  return xs, *scan.backward(w_rec, x_0, xs, hs, dhs, lengths)


def close(actual, expected, tolerance):
  """Relative to the largest magnitude of each array; dtypes too."""
  for a, e in zip(actual, expected, strict=True):
    assert a.shape == e.shape
    a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
    scale = max(1, np.max(np.abs(e), initial=0))
    np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * scale)


def interpreted(kernel, form="x", activation="tanh"):
  return elman_scan(form, activation, implementation=kernel, interpret=True)


def compare(kernel, form, activation, operands, lengths, tolerance):
  scan = interpreted(kernel, form, activation)

  @jax.jit
  def run(w_rec, drives, x_0, dhs, lengths):
    oracle = elman_scan(form, activation, implementation="xla")
    expected = both(oracle, w_rec, drives, x_0, dhs, lengths)
    # From the oracle's states: from others it would be another problem.
    seen = oracle.forward(w_rec, drives, x_0, lengths)
    passed = scan.backward(w_rec, x_0, *seen, dhs, lengths)
    xs, hs = scan.forward(w_rec, drives, x_0, lengths)
    return (xs, hs, *passed), (seen[0], seen[1], *expected[1:])

  actual, expected = run(*operands, lengths)
  close(actual, expected, tolerance)
  assert [x.dtype for x in actual] == [x.dtype for x in expected]


@pytest.fixture
def small_blocks(monkeypatch):
  """TPU blocks so small that small arrays cross their borders."""
  monkeypatch.setattr(_pallas_tpu, "MAX_ROWS", 16)
  monkeypatch.setattr(_pallas_tpu, "MAX_CHUNK", 3)


# The oracle.


@pytest.mark.parametrize("kind", ["none", "zero", "part", "ragged"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("form", ["x", "h"])
def test_oracle_is_the_loop(x64, form, activation, kind):
  operands = arrays(5, 4, 4, np.float64)
  lengths = lengths_of(kind, 5, 4)
  scan = elman_scan(form, activation, implementation="xla")
  actual = jax.jit(lambda *a: both(scan, *a))(*operands, lengths)
  numpy = [None if a is None else np.asarray(a) for a in (*operands, lengths)]
  assert all(x.dtype == np.float64 for x in actual)
  close(actual, loop(form, activation, *numpy), FLOAT64)


@pytest.mark.parametrize("kernel", ["xla", *KERNELS])
@pytest.mark.parametrize("kind", ["none", "zero", "part", "ragged"])
@pytest.mark.parametrize("form", ["x", "h"])
def test_a_loss_on_the_last_state_alone(form, kind, kernel):
  w_rec, drives, x_0, dhs = arrays(6, 7, 4)
  lengths = lengths_of(kind, 6, 7)
  xla = kernel == "xla"
  scan = (
    elman_scan(form, "tanh", implementation="xla")
    if xla
    else interpreted(kernel, form)
  )
  zeros = jnp.zeros_like(dhs).at[-1].set(dhs[-1])
  expected = both(scan, w_rec, drives, x_0, zeros, lengths)
  close(both(scan, w_rec, drives, x_0, dhs[-1:], lengths), expected, FLOAT32)
  assert np.all(np.asarray(expected[1])[0, 0] != 0) == (
    kind in ("none", "part")
  )


@pytest.mark.parametrize("kernel", ["xla", *KERNELS])
@pytest.mark.parametrize("kind", ["none", "zero", "ragged"])
def test_no_steps(kernel, kind):
  operands = arrays(0, 3, 4)
  scan = elman_scan("x", "tanh", implementation=kernel)
  xs, deltas, products, dx_0 = both(scan, *operands, lengths_of(kind, 0, 3))
  assert xs.shape == deltas.shape == products.shape == (0, 3, 4)
  np.testing.assert_array_equal(dx_0, np.zeros((3, 4)))


# The kernels, interpreted.


@pytest.mark.parametrize(
  "form, activation, kind, sizes",
  [
    ("x", "tanh", "ragged", (7, 19, 5)),
    ("x", "sigmoid", "part", (7, 3, 17)),
    ("x", "relu", "none", (4, 2, 16)),
    ("x", "tanh", "part", (3, 2, 136)),
    ("h", "tanh", "zero", (4, 3, 5)),
    ("h", "sigmoid", "none", (1, 1, 1)),
    ("h", "linear", "ragged", (7, 19, 5)),
  ],
)
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel_is_the_oracle(
  small_blocks, kernel, form, activation, kind, sizes
):
  lengths = lengths_of(kind, *sizes[:2])
  compare(kernel, form, activation, arrays(*sizes), lengths, FLOAT32)


@pytest.mark.parametrize(
  "kernel, w_dtype",
  [
    ("pallas_gpu", jnp.bfloat16),
    ("pallas_gpu", jnp.float32),
    ("pallas_tpu", jnp.bfloat16),
  ],
)
def test_bfloat16_storage(kernel, w_dtype):
  w_rec, *others = arrays(6, 3, 5, jnp.bfloat16)
  operands = w_rec.astype(w_dtype), *others
  lengths = lengths_of("ragged", 6, 3)
  compare(kernel, "x", "tanh", operands, lengths, BFLOAT16)


@pytest.mark.parametrize("kernel", KERNELS)
def test_explosion_is_not_turned_into_nan(kernel):
  # Positive weights make every real unit infinite; in the padding of the kernel
  # 0 · inf is NaN, and must not reach them.
  w_rec, drives, x_0, dhs = (jnp.abs(x) for x in arrays(5, 2, 3))
  drives, dhs = (x.at[2, :, 0].set(jnp.inf) for x in (drives, dhs))
  operands = w_rec, drives, x_0, dhs
  oracle = elman_scan("h", "linear", implementation="xla")
  expected = both(oracle, *operands)
  assert all(np.isinf(x).any() and not np.isnan(x).any() for x in expected)
  actual = both(interpreted(kernel, "h", "linear"), *operands)
  for a, e in zip(actual, expected, strict=True):
    np.testing.assert_allclose(a, e, rtol=FLOAT32)


@pytest.mark.parametrize("mapped", ["w_rec", "drives", "all", "nested"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_vmap(kernel, mapped):
  f, operands = mapped_passes(mapped, interpreted(kernel))
  oracle = elman_scan("x", "tanh", implementation="xla")
  g, _ = mapped_passes(mapped, oracle)
  close(*jax.jit(lambda *a: (f(*a), g(*a)))(*operands), FLOAT32)


def mapped_passes(mapped, scan):
  """(vmapped `both`, operands), with 3 seeds, or 2 x 3 if nested."""
  operands = [*arrays(3, 2, 5), jnp.int32(2)]
  axes = {
    "w_rec": (0, None, None, None, None),
    "drives": (None, 0, None, None, None),
    "all": (0, 0, 0, 0, 0),
    "nested": (0, None, None, 0, 0),
  }[mapped]
  scales = jnp.array([0.5, 1.0, 1.5])
  for i, axis in enumerate(axes):
    if axis is None:
      continue
    x = operands[i]
    operands[i] = jnp.arange(3) if i == 4 else jnp.multiply.outer(scales, x)
  f = jax.vmap(lambda *a: both(scan, *a), axes)
  if mapped != "nested":
    return f, operands
  # The outer axis maps what the inner shares, what it maps, and not all of it.
  operands[0] = jnp.stack([operands[0], -operands[0]], 1)
  operands[1] = jnp.stack([operands[1], -operands[1]])
  return jax.vmap(f, (1, 0, None, None, None)), operands


# The kernels, lowered.


def lowered_text(f, operands, platform):
  """StableHLO for a platform that need not be here."""
  kind, name, cores = DEVICES[platform]
  described = {"platform": kind, "device_kind": name, "num_cores": cores}
  # JAX 0.10.0 describes a device without its platform.
  known = inspect.signature(jax.sharding.AbstractDevice).parameters
  device = jax.sharding.AbstractDevice(
    **{k: v for k, v in described.items() if k in known}
  )
  mesh = jax.sharding.AbstractMesh((), (), abstract_device=device)
  with jax.sharding.use_abstract_mesh(mesh):
    traced = jax.jit(f).trace(*operands)
    return traced.lower(lowering_platforms=(platform,)).as_text()


def calls(text):
  return [
    name.strip('"') for name in re.findall(r"custom_call @(\S+?)\(", text)
  ]


@pytest.mark.parametrize("kind", ["none", "part", "ragged"])
@pytest.mark.parametrize("form, activation", [("x", "tanh"), ("h", "sigmoid")])
@pytest.mark.parametrize("kernel", KERNELS)
def test_lowers(kernel, form, activation, kind):
  scan = elman_scan(form, activation, implementation=kernel)
  lengths = lengths_of(kind, 100, 20)
  for dtype in (jnp.float32, jnp.bfloat16):
    operands = *arrays(100, 20, 50, dtype), lengths
    text = lowered_text(lambda *a: both(scan, *a), operands, PLATFORMS[kernel])
    assert calls(text) == 2 * [CALLS[kernel]]


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_lowers_activation(kernel, activation):
  scan = elman_scan("x", activation, implementation=kernel)
  f = lambda *a: both(scan, *a)  # noqa: E731
  text = lowered_text(f, arrays(4, 2, 5), PLATFORMS[kernel])
  assert calls(text) == 2 * [CALLS[kernel]]
  # On a GPU this operation takes NaN for the smaller number.
  assert "maxnumf" not in text


@pytest.mark.parametrize("mapped", ["w_rec", "drives", "all", "nested"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_seeds_are_no_loop(kernel, mapped):
  scan = elman_scan("x", "tanh", implementation=kernel)
  f, operands = mapped_passes(mapped, scan)
  text = lowered_text(f, operands, PLATFORMS[kernel])
  one = lowered_text(
    lambda *a: both(scan, *a),
    [*arrays(3, 2, 5), jnp.int32(2)],
    PLATFORMS[kernel],
  )
  assert calls(text) == calls(one) == 2 * [CALLS[kernel]]
  assert "stablehlo.while" not in one + text


HIGHEST = "(Precision.HIGHEST, Precision.HIGHEST)"


@pytest.mark.parametrize(
  "kernel, precision, expected",
  [
    ("pallas_gpu", None, "TF32_TF32_F32_X3"),
    ("pallas_gpu", "highest", HIGHEST),
    ("pallas_gpu", "tf32", "TF32_TF32_F32"),
    ("pallas_gpu", "bfloat16", None),
    ("pallas_tpu", None, HIGHEST),
    ("pallas_tpu", "tf32", HIGHEST),
    ("pallas_tpu", "bfloat16", None),
  ],
)
def test_products_have_the_precision_asked_for(kernel, precision, expected):
  operands = arrays(3, 2, 5)
  scan = elman_scan("x", "tanh", implementation=kernel, precision=precision)

  def precisions(operands):
    text = str(jax.make_jaxpr(lambda *a: both(scan, *a))(*operands))
    assert text.count("dot_general[") == 2
    return re.findall(r" precision=(.*)", text)

  assert precisions(operands) == (2 * [expected] if expected else [])
  # Products of bfloat16 are exact in one pass.
  assert not precisions([jnp.asarray(x, jnp.bfloat16) for x in operands])


@pytest.mark.parametrize("kernel", KERNELS)
def test_bfloat16_products_are_rounded(kernel):
  operands = arrays(6, 3, 5)
  oracle = both(elman_scan("x", "tanh", implementation="xla"), *operands)
  scan = elman_scan(
    "x", "tanh", implementation=kernel, precision="bfloat16", interpret=True
  )
  rounded = both(scan, *operands)
  close(rounded, oracle, BFLOAT16)
  assert np.abs(rounded[0] - oracle[0]).max() > 10 * FLOAT32


@pytest.mark.parametrize(
  "precision, expected",
  [
    (None, "<lhs_precision_type = tf32.*num_primitive_operations = 3"),
    ("tf32", "<lhs_precision_type = tf32.*num_primitive_operations = 1"),
    ("bfloat16", "<lhs_precision_type = bf16"),
    ("highest", "precision = .HIGHEST, HIGHEST"),
  ],
)
def test_the_loop_has_it_too_on_a_gpu(monkeypatch, precision, expected):
  operands = arrays(3, 2, 5)
  scan = elman_scan("h", "tanh", implementation="xla", precision=precision)
  f = lambda *a: both(scan, *a)  # noqa: E731
  # A CPU rounds nothing, and its programs have no choice of platforms in them.
  assert "platform_index" not in str(jax.make_jaxpr(f)(*operands))
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  text = lowered_text(f, operands, "cuda")
  dots = [x for x in text.splitlines() if "stablehlo.dot_general" in x]
  assert len(dots) == 2 and all(re.search(expected, x) for x in dots)


def test_a_cell_has_it_in_drives_and_gradients(monkeypatch):
  """By the launcher's field; a product of the readout is not the cell's."""
  exp = training.experiment(
    training.TaskConfig(length=10, hidden_size=5, precision="tf32"),
    implementation="xla",
  )
  state = training.init(exp, jax.random.key(0))
  batch = tasks.temporal_order(length=10).sample(jax.random.key(1), 3)
  cell, params = exp.model.cell, state.params["cell"]
  x_0 = cell.initial_state(params, 3)

  def run(params, us):
    xs, ys = cell.fused.forward(params, us, x_0, None)
    back = cell.fused.backward(params, x_0, xs, ys, ys[-1:], None)
    seen = Trajectory(params, x_0, xs, us, *back[:2], None, ys)
    return cell.fused.gradient(seen)

  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  text = lowered_text(run, (params, batch.us), "cuda")
  dots = [x for x in text.splitlines() if "stablehlo.dot_general" in x]
  assert len(dots) == 5 and all("tf32" in x for x in dots)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_sequences_are_moved_as_they_are(kernel, last):
  """Nothing is padded or cut, and a last step's signals are written once."""
  scan = elman_scan("x", "tanh", implementation=kernel)
  w_rec, drives, x_0, dhs = arrays(30, 20, 50)
  dhs = dhs[-1:] if last else dhs
  # The products, which an update without Ω has no use for, are left out.
  f = lambda *a: both(scan, *a)[::3]  # noqa: E731
  text = lowered_text(f, (w_rec, drives, x_0, dhs), PLATFORMS[kernel])
  calls = [x for x in text.splitlines() if "custom_call @" in x]
  sequence = "tensor<1x30x20x50xf32>"
  results = [x.rpartition("->")[2].count(sequence) for x in calls]
  assert results == [1, 1 if last else 2]
  shapes = set(re.findall(r"tensor<1x30x\d+x\d+xf32>", text))
  assert shapes == {sequence}


# What is refused.


@pytest.mark.parametrize(
  "kernel, dtype, fits, too_large",
  [
    ("pallas_gpu", jnp.float32, 160, 161),
    ("pallas_gpu", jnp.bfloat16, 288, 289),
    ("pallas_tpu", jnp.float32, 1024, 1025),
    ("pallas_tpu", jnp.bfloat16, 1920, 1921),
  ],
)
def test_size_that_does_not_fit_is_refused(kernel, dtype, fits, too_large):
  scan = elman_scan("x", "tanh", implementation=kernel)
  shapes = lambda n: [  # noqa: E731
    jax.ShapeDtypeStruct(s, dtype)
    for s in ((n, n), (5, 8, n), (8, n), (5, 8, n))
  ]
  f = lambda *a: both(scan, *a)  # noqa: E731
  assert calls(lowered_text(f, shapes(fits), PLATFORMS[kernel]))
  w_rec, xs, x_0, dhs = shapes(too_large)
  there = {"pallas_gpu": 227 * 2**10, "pallas_tpu": 16 * 2**20}[kernel]
  message = rf"{kernel}.*N = {too_large}.* (\d+) bytes.* there are {there}"
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(scan.forward, w_rec, xs, x_0)
  with pytest.raises(ValueError, match=message) as error:
    jax.eval_shape(scan.backward, w_rec, x_0, xs, xs, dhs)
  assert int(re.search(r"(\d+) bytes", str(error.value))[1]) > there


@pytest.mark.parametrize("kernel", KERNELS)
def test_dtype_is_refused(x64, kernel):
  for dtype in (jnp.float64, jnp.float16):
    with pytest.raises(ValueError, match=f"{kernel}.*{jnp.dtype(dtype)}"):
      both(interpreted(kernel), *arrays(2, 2, 3, dtype))


@pytest.mark.parametrize("kernel", KERNELS)
def test_float32_kernel_under_x64(x64, kernel):
  scan = elman_scan("x", "tanh", implementation=kernel)
  operands = *arrays(3, 2, 5), jnp.asarray([1, 3])
  f = lambda *a: both(scan, *a)  # noqa: E731
  text = lowered_text(f, operands, PLATFORMS[kernel])
  assert calls(text) == 2 * [CALLS[kernel]]


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel_needs_its_platform(kernel):
  with pytest.raises(ValueError, match="(?i)interpret"):
    both(elman_scan("x", "tanh", implementation=kernel), *arrays(2, 2, 3))


@pytest.mark.parametrize(
  "arguments, message",
  [
    ({"form": "y"}, "form.*'y'"),
    ({"activation": "gelu"}, "activation.*'gelu'"),
    ({"implementation": "cuda"}, "implementation.*'cuda'"),
    ({"precision": "float32"}, "precision.*highest.*tf32x3.*'float32'"),
    ({"interpret": True}, "interpret.*None"),
    ({"interpret": True, "implementation": "xla"}, "interpret.*'xla'"),
  ],
)
def test_arguments(arguments, message):
  arguments = {"form": "x", "activation": "tanh"} | arguments
  with pytest.raises(ValueError, match=message):
    elman_scan(**arguments)


# The choice.


def test_cpu_process_never_traces_a_kernel():
  scan = elman_scan("x", "tanh")
  f = lambda *a: both(scan, *a)  # noqa: E731
  text = str(jax.make_jaxpr(f)(*arrays(3, 2, 5)))
  assert "pallas_call" not in text and "platform_index" not in text


@pytest.mark.parametrize("platform", ["cuda", "tpu", "cpu"])
def test_choice_falls_at_lowering(monkeypatch, platform):
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  f, operands = mapped_passes("all", elman_scan("x", "tanh"))
  if platform == "cpu":
    oracle = elman_scan("x", "tanh", implementation="xla")
    expected = mapped_passes("all", oracle)[0](*operands)
    close(jax.jit(f)(*operands), expected, FLOAT32)
    return
  kernel = {v: k for k, v in PLATFORMS.items()}[platform]
  assert calls(lowered_text(f, operands, platform)) == 2 * [CALLS[kernel]]


@pytest.mark.parametrize(
  "platform, units, dtype, expected",
  [
    ("cuda", 161, jnp.float32, []),
    ("tpu", 129, jnp.float32, ["tpu_custom_call"]),
    ("cuda", 64, jnp.float16, []),
    ("tpu", 64, jnp.float16, []),
  ],
)
def test_choice_goes_by_size_and_dtype(
  monkeypatch, platform, units, dtype, expected
):
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  scan = elman_scan("x", "tanh")
  operands = arrays(3, 2, units, dtype)[:3]
  assert calls(lowered_text(scan.forward, operands, platform)) == expected


def test_missing_kernel_is_refused_and_not_chosen(monkeypatch):
  """With one warning, as of Triton where a later JAX has it no more."""

  def gone(name):
    raise ImportError(f"no {name}")

  monkeypatch.setattr(kernels.importlib, "import_module", gone)
  with pytest.raises(ValueError, match="pallas_gpu.*this JAX"):
    elman_scan("x", "tanh", implementation="pallas_gpu")
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  kernels._warn_of_missing.cache_clear()
  operands, scan = arrays(3, 2, 5), elman_scan("x", "tanh")
  with pytest.warns(
    UserWarning, match="pallas_gpu.*XLA loop.*BUILD.md"
  ) as told:
    xs, _ = scan.forward(*operands[:3])
    both(scan, *operands)
  assert len(told) == 1
  assert xs.shape == operands[1].shape
