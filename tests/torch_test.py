"""Recurrent layers of PyTorch, where it is installed: outputs, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import adjoints, unroll
from steadygrad.cells import elman, gru, lstm
from steadygrad.models import linear_readout, recurrent
from steadygrad.types import Batch

torch = pytest.importorskip("torch")

# float64, 7 steps, two libraries; the issue asks for this.
AGREEMENT = 1e-10

STEPS, BATCH, INPUTS, UNITS = 7, 3, 4, 5


def torch_network(activation, rng):
  """An `nn.RNN` with drawn weights, and the same as our parameters.

  PyTorch has weights the other way round, [to, from], and two biases.
  """
  layer = torch.nn.RNN(INPUTS, UNITS, nonlinearity=activation).double()
  with torch.no_grad():
    for parameter in layer.parameters():
      parameter.copy_(torch.from_numpy(0.6 * rng.normal(size=parameter.shape)))
  params = {
    "w_rec": layer.weight_hh_l0.detach().numpy().T,
    "w_in": layer.weight_ih_l0.detach().numpy().T,
    "b": (layer.bias_ih_l0 + layer.bias_hh_l0).detach().numpy(),
  }
  return layer, jax.tree.map(jnp.asarray, params)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_outputs_and_gradients(x64, rng, activation, fused):
  """Every step is read, with a weight of its own for every output."""
  layer, params = torch_network(activation, rng)
  us = rng.normal(size=(STEPS, BATCH, INPUTS))
  weights = rng.normal(size=(STEPS, BATCH, UNITS))
  theirs = layer(torch.from_numpy(us))[0]
  (theirs * torch.from_numpy(weights)).sum().backward()

  cell = elman(INPUTS, UNITS, form="h", activation=activation, dtype="float64")
  cell = cell if fused else cell._replace(fused=None)
  readout = linear_readout(UNITS, UNITS, reads="every", dtype=jnp.float64)
  eye = {"w_out": jnp.eye(UNITS), "b_out": jnp.zeros(UNITS)}
  run = adjoints(
    recurrent(cell, readout), lambda ys, batch: jnp.sum(ys * batch.targets)
  )
  batch = Batch(jnp.asarray(us), jnp.asarray(weights))
  _, grads, _ = jax.jit(run)({"cell": params, "readout": eye}, batch)

  np.testing.assert_allclose(
    unroll(cell, params, jnp.asarray(us)), theirs.detach(), atol=AGREEMENT
  )
  for name, expected in (
    ("w_rec", layer.weight_hh_l0.grad.T),
    ("w_in", layer.weight_ih_l0.grad.T),
    ("b", layer.bias_hh_l0.grad),
  ):
    np.testing.assert_allclose(
      grads["cell"][name], expected, rtol=AGREEMENT, atol=AGREEMENT
    )


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_lengths_as_packed_sequences(x64, rng, activation):
  layer, params = torch_network(activation, rng)
  us, lengths = rng.normal(size=(STEPS, BATCH, INPUTS)), [7, 2, 5]
  packed = torch.nn.utils.rnn.pack_padded_sequence(
    torch.from_numpy(us), lengths, enforce_sorted=False
  )
  last = layer(packed)[1][0]
  cell = elman(INPUTS, UNITS, form="h", activation=activation, dtype="float64")
  xs = unroll(cell, params, jnp.asarray(us), lengths=jnp.array(lengths))
  np.testing.assert_allclose(xs[-1], last.detach(), atol=AGREEMENT)


# Gates in PyTorch's order, in the letters of Flax's parameters.
GATED = {
  "lstm": (lstm, torch.nn.LSTM, "ifgo"),
  "gru": (gru, torch.nn.GRU, "rzn"),
}


def torch_gates(kind, params):
  """PyTorch's layer with the parameters of a cell of ours."""
  _, make, gates = GATED[kind]
  layer = make(INPUTS, UNITS).double()
  none = np.zeros(UNITS)
  with torch.no_grad():
    for side in "ih":
      parts = [params[side + gate] for gate in gates]
      weight = np.concatenate([np.asarray(p["kernel"]).T for p in parts])
      bias = np.concatenate([np.asarray(p.get("bias", none)) for p in parts])
      getattr(layer, f"weight_{side}h_l0").copy_(torch.from_numpy(weight))
      getattr(layer, f"bias_{side}h_l0").copy_(torch.from_numpy(bias))
  return layer


@pytest.mark.parametrize("bias", [0.0, 1.0, -2.0])
@pytest.mark.parametrize("kind", GATED)
def test_gates_are_pytorchs(x64, promotion, rng, kind, bias):
  """Of ragged sequences, with a bias of the gate that keeps the old state."""
  make, _, gates = GATED[kind]
  cell = make(INPUTS, UNITS, forget_bias=bias)
  params = cell.init(jax.random.key(0))
  layer = torch_gates(kind, params)
  # PyTorch's second gate is the one that keeps, in both.
  kept = layer.bias_ih_l0 + layer.bias_hh_l0
  np.testing.assert_array_equal(kept.detach()[UNITS : 2 * UNITS], bias)

  us, lengths = rng.normal(size=(STEPS, BATCH, INPUTS)), [7, 2, 5]
  weights = rng.normal(size=(BATCH, UNITS))
  packed = torch.nn.utils.rnn.pack_padded_sequence(
    torch.from_numpy(us), lengths, enforce_sorted=False
  )
  last = layer(packed)[1]
  last = (last[0] if kind == "lstm" else last)[0]
  (last * torch.from_numpy(weights)).sum().backward()

  def total(params):
    xs = unroll(cell, params, jnp.asarray(us), lengths=jnp.array(lengths))
    return jnp.sum(cell.output(xs)[-1] * weights), cell.output(xs)[-1]

  grads, found = jax.jit(jax.grad(total, has_aux=True))(params)
  np.testing.assert_allclose(found, last.detach(), atol=AGREEMENT)
  for side in "ih":
    for i, gate in enumerate(gates):
      rows = slice(i * UNITS, (i + 1) * UNITS)
      for name, theirs in (
        ("kernel", getattr(layer, f"weight_{side}h_l0").grad[rows].T),
        ("bias", getattr(layer, f"bias_{side}h_l0").grad[rows]),
      ):
        if name in grads[side + gate]:
          np.testing.assert_allclose(
            grads[side + gate][name], theirs, rtol=AGREEMENT, atol=AGREEMENT
          )
