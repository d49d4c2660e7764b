// An LSTM in float64, with the weights of torch's `nn.LSTM` by their names in its `state_dict`.

import { sigmoid } from "./functional.js";

/**
 * @typedef {Record<string, any>} Weights such as `weight_ih_l0`: a row for each gate of each unit
 * @typedef {{ state: number[], cell: number[], gates?: number[][] }} Memory
 */

/** @param {ArrayLike<number>} row @param {ArrayLike<number>} column */
export function dot(row, column) {
  let total = 0;
  for (let k = 0; k < row.length; k++) total += row[k] * column[k];
  return total;
}

/**
 * One visit read: what is remembered then, and how far each gate was open.
 * @param {Weights} weights @param {string} layer @param {number[]} x @param {Memory} before @returns {Memory}
 */
export function lstmStep(weights, layer, x, before) {
  const [fromInput, fromState, inputBias, stateBias] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(
    (name) => weights[`${name}_${layer}`],
  );
  const size = before.state.length;
  const sums = fromInput.map(
    (/** @type {number[]} */ row, /** @type {number} */ k) =>
      dot(row, x) + inputBias[k] + dot(fromState[k], before.state) + stateBias[k],
  );
  // In torch's order: input, forget, new content, output.
  const gates = [sigmoid, sigmoid, Math.tanh, sigmoid].map((squash, k) =>
    sums.slice(k * size, (k + 1) * size).map(squash),
  );
  const [i, f, g, o] = gates;
  const cell = before.cell.map((c, k) => f[k] * c + i[k] * g[k]);
  return { state: cell.map((c, k) => o[k] * Math.tanh(c)), cell, gates };
}

/**
 * A record read from its first input to its last: the memory after each.
 * @param {Weights} weights @param {number[][]} inputs @param {string} [layer] such as `l0` or `l0_reverse`
 */
export function lstm(weights, inputs, layer = "l0") {
  const nothing = weights[`weight_hh_${layer}`][0].map(() => 0);
  /** @type {Memory} */
  let memory = { state: nothing, cell: nothing };
  return inputs.map((x) => (memory = lstmStep(weights, layer, x, memory)));
}
