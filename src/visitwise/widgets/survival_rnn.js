// The survival RNN's forward pass in float64, as model.py has it: a vector for each visit, a recurrence over the visits,
// and a head that reads a hazard from each state. What `hazardNll` in functional.js then makes of these hazards is where
// the loss meets the LSTM. One patient at a time, so there is no padding to mask.

import { causeHazard, sigmoid, sum } from "./functional.js";
import { dot, lstmStep } from "./lstm.js";
import { brief, expect, isObject, readSafetensors } from "./safetensors.js";

/**
 * @typedef {{ codes: number[][], day: number[], static: number[], measurements?: (number | null)[][] }} Patient codes of
 *   each visit by their place in the schema, days, what is known from the start, and what was measured at each visit
 * @typedef {import("./lstm.js").Memory} Memory
 * @typedef {object} Model weights are rows of numbers, by their names in torch's `state_dict`
 * @property {string} kind `SurvivalRNN`, or `CompetingRisksRNN` for two causes
 * @property {{ codes: string[], static: string[], measurements: string[] }} schema
 * @property {boolean} timeFeatures
 * @property {Float64Array[]} embedding a row for each code
 * @property {Float64Array} centre
 * @property {Float64Array} scale
 * @property {"lstm" | "gru"} cell
 * @property {string[]} layers `l0`, and `l0_reverse` where it reads backwards, too
 * @property {Record<string, any>} recurrence
 * @property {{ weight: Float64Array[], bias: Float64Array }} head
 * @property {(state: any) => number[]} [reads] what it knows from the start of a simulated patient, if not age and sex
 * @typedef {{ logits: number[][], hazard: number[][], states: (Memory & { both?: Memory[] })[] }} Result of each visit;
 *   `both` are the memories from either side, of a model that reads ahead
 */

// ------------------------------------------------------------------------------------------------ from visits to hazards

/**
 * The mean of the codes' embeddings, and beside it numbers: how many codes there are, times, measurements (the last
 * one taken; 0 before the first, and a flag that says so) and static features.
 * @param {Model} model @param {Patient} patient @param {number} k the visit, from 0
 */
export function visitVector(model, patient, k) {
  const { embedding, centre, scale } = model;
  const { day } = patient;
  const codes = patient.codes[k];
  const mean = new Array(embedding[0].length).fill(0);
  for (const code of codes) {
    for (let j = 0; j < mean.length; j++) mean[j] += embedding[code][j] / codes.length;
  }
  const gap = k ? day[k] - day[k - 1] : 0;
  const times = model.timeFeatures ? [gap / 30, (day[k] - day[0]) / 365.25, k] : [];
  const numbers = [codes.length, ...times].map(Math.log1p);
  const scaled = (/** @type {number} */ value, /** @type {number} */ j) => (value - centre[j]) / scale[j];
  const taken = patient.measurements?.slice(0, k + 1).reverse() ?? [[]];
  const last = taken[0].map((_, j) => taken.find((row) => row[j] !== null)?.[j] ?? null);
  const measured = last.map((value, j) => (value === null ? 0 : scaled(value, j)));
  const known = last.map((value) => Number(value !== null));
  const fixed = patient.static.map((value, j) => scaled(value, last.length + j));
  return [...mean, ...numbers, ...measured, ...known, ...fixed];
}

/**
 * One visit read by a GRU. Its reset gate r lets the old state into the new content n, z says how much of it stays.
 * @param {Record<string, any>} weights @param {string} layer @param {number[]} x @param {Memory} before @returns {Memory}
 */
export function gruStep(weights, layer, x, { state }) {
  const sums = (/** @type {string} */ from, /** @type {ArrayLike<number>} */ vector) =>
    weights[`weight_${from}_${layer}`].map(
      (/** @type {Float64Array} */ row, /** @type {number} */ k) =>
        dot(row, vector) + weights[`bias_${from}_${layer}`][k],
    );
  const [fromInput, fromState] = [sums("ih", x), sums("hh", state)];
  const size = state.length;
  const open = (/** @type {number} */ k) => sigmoid(fromInput[k] + fromState[k]);
  const r = state.map((_, k) => open(k));
  const z = state.map((_, k) => open(size + k));
  const n = state.map((_, k) => Math.tanh(fromInput[2 * size + k] + r[k] * fromState[2 * size + k]));
  return { state: state.map((old, k) => (1 - z[k]) * n[k] + z[k] * old), cell: [], gates: [r, z, n] };
}

/**
 * The memory after each vector, begun with nothing remembered unless `memory` says otherwise.
 * @param {Model} model @param {string} layer @param {number[][]} vectors @param {Memory} [memory]
 */
function recur({ cell, recurrence }, layer, vectors, memory) {
  const step = cell === "gru" ? gruStep : lstmStep;
  const nothing = Array.from(recurrence[`weight_hh_${layer}`][0], () => 0);
  let now = memory ?? { state: nothing, cell: nothing };
  return vectors.map((x) => (now = step(recurrence, layer, x, now)));
}

/**
 * What a model says at every visit. `hazard[k]` holds, for each cause, the risk in the interval after visit k.
 * @param {Model} model @param {Patient} patient
 * @param {Result} [before] an earlier result of the same model for a record that is the same before visit `first`: what
 *   was said there still holds, unless the model reads ahead
 * @param {number} [first] @returns {Result}
 */
export function run(model, patient, before, first = 0) {
  const [forwards, backwards] = model.layers;
  const old = before ?? { logits: [], hazard: [], states: [] };
  const kept = backwards ? 0 : Math.min(first, old.states.length, patient.day.length);
  const vectors = patient.day.slice(kept).map((_, k) => visitVector(model, patient, kept + k));
  /** @type {Result["states"]} */
  let states = recur(model, forwards, vectors, old.states[kept - 1]);
  if (backwards) {
    const ahead = recur(model, backwards, vectors.reverse()).reverse();
    states = states.map((one, k) => ({ state: [...one.state, ...ahead[k].state], cell: [], both: [one, ahead[k]] }));
  }
  const { weight, bias } = model.head;
  const logits = states.map(({ state }) => weight.map((row, j) => dot(row, state) + bias[j]));
  const hazard = logits.map(causeHazard); // of one cause against nothing: the sigmoid
  return {
    logits: [...old.logits.slice(0, kept), ...logits],
    hazard: [...old.hazard.slice(0, kept), ...hazard],
    states: [...old.states.slice(0, kept), ...states],
  };
}

// ----------------------------------------------------------------------------------------------------- a model on file

const MOST = { codes: 20001, static: 500, measurements: 500 }; // the padding is a code, too
const LARGEST = 1e30; // far beyond any weight that was learned, and products of a few stay finite

/** The bytes that a text in base64 stands for. @param {string} text @returns {ArrayBuffer} */
export const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;

/** What `save_model` wrote beside the weights. @param {Record<string, string>} metadata */
function described(metadata) {
  const tells = Object.hasOwn(metadata, "visitwise");
  expect(tells, 'the file does not say which model it holds; expected one of save_model(model, "name.safetensors")');
  try {
    const { kind, settings, schema } = JSON.parse(metadata.visitwise);
    if (isObject(settings) && isObject(schema)) return { kind, settings, schema };
  } catch {}
  throw new Error("what the file says of its model cannot be read; expected kind, settings and schema");
}

/** @param {any} schema the names of what it reads */
function checkSchema(schema) {
  for (const [part, most] of Object.entries(MOST)) {
    const names = schema[part];
    expect(Array.isArray(names), `the model's ${part} are ${brief(names)}; expected a list of names`);
    expect(names.length <= most, `the model has ${names.length} ${part}; expected at most ${most}`);
    const odd = names.findIndex((/** @type {any} */ name) => typeof name !== "string" || !name.trim());
    expect(odd < 0, `the model has ${brief(names[odd])} among its ${part}; expected names`);
    const seen = new Set();
    const twice = names.find((/** @type {string} */ name) => seen.has(name) || !seen.add(name));
    expect(twice === undefined, `the model has ${brief(twice)} twice among its ${part}; expected each name once`);
  }
  const [first] = schema.codes;
  expect(first === "<padding>", `the model's codes begin with ${brief(first)}; expected <padding>`);
}

/** How many outputs such a model has at each visit. @param {string} kind @param {any} settings */
function checkSettings(kind, settings) {
  const known = ["SurvivalRNN", "CompetingRisksRNN"];
  expect(known.includes(kind), `the file holds a model of the kind ${brief(kind)}; expected ${known.join(" or ")}`);
  const isSize = (/** @type {any} */ value) => Number.isSafeInteger(value) && value > 0;
  const isSwitch = (/** @type {any} */ value) => typeof value === "boolean";
  const isCell = (/** @type {any} */ value) => value === "lstm" || value === "gru";
  /** @type {[string, (value: any) => boolean, string][]} */
  const wanted = [
    ["embedding", isSize, "a whole number above 0"],
    ["hidden", isSize, "a whole number above 0"],
    ["cell", isCell, "lstm or gru"],
    ["bidirectional", isSwitch, "true or false"],
    ["time_features", isSwitch, "true or false"],
  ];
  for (const [name, fits, expected] of wanted) {
    expect(fits(settings[name]), `the model's ${name} is ${brief(settings[name])}; expected ${expected}`);
  }
  const rates = kind === "SurvivalRNN" ? [settings.base_rate] : settings.base_rates;
  const few = Array.isArray(rates) && (rates.length === 1 || rates.length === 2);
  expect(few, `the model's base_rates are ${brief(rates)}; expected one for each cause, of which there are 1 or 2`);
  return rates.length;
}

/** The shape of each weight that such a model has. @param {any} settings @param {any} schema @param {number} nOutputs */
function shapesOf({ embedding, hidden, cell, bidirectional, time_features }, schema, nOutputs) {
  const nNumbers = schema.measurements.length + schema.static.length;
  const nFeatures = embedding + 1 + (time_features ? 3 : 0) + schema.measurements.length + nNumbers;
  const nGates = (cell === "gru" ? 3 : 4) * hidden;
  const layers = bidirectional ? ["l0", "l0_reverse"] : ["l0"];
  /** @type {Record<string, number[]>} */
  const shapes = {
    "encoder.embedding.weight": [schema.codes.length, embedding],
    "encoder.centre": [nNumbers],
    "encoder.scale": [nNumbers],
    "head.weight": [nOutputs, hidden * layers.length],
    "head.bias": [nOutputs],
  };
  for (const layer of layers) {
    shapes[`recurrence.weight_ih_${layer}`] = [nGates, nFeatures];
    shapes[`recurrence.weight_hh_${layer}`] = [nGates, hidden];
    shapes[`recurrence.bias_ih_${layer}`] = [nGates];
    shapes[`recurrence.bias_hh_${layer}`] = [nGates];
  }
  return { shapes, layers };
}

/** A tensor's numbers, in a list for each row if it has rows. @param {import("./safetensors.js").Weight} tensor @returns {any} */
const listed = ({ shape: [n, size], values }) =>
  size === undefined ? values : Array.from({ length: n }, (_, k) => values.subarray(k * size, (k + 1) * size));

/**
 * The model in a file that `save_model` wrote, or the best one so far in a checkpoint of `fit`.
 * @param {ArrayBuffer} buffer the whole file @returns {Model}
 */
export function modelFrom(buffer) {
  const { tensors, metadata } = readSafetensors(buffer);
  const { kind, settings, schema } = described(metadata);
  const nOutputs = checkSettings(kind, settings);
  checkSchema(schema);
  const { shapes, layers } = shapesOf(settings, schema, nOutputs);

  const best = Object.keys(tensors).filter((name) => name.startsWith("best."));
  const names = best.length ? best : Object.keys(tensors);
  /** @type {Record<string, any>} */
  const weights = {};
  for (const stored of names) {
    const name = best.length ? stored.slice("best.".length) : stored;
    const { shape, values } = tensors[stored];
    expect(Object.hasOwn(shapes, name), `the file has a tensor ${brief(name)}; such a model has none of that name`);
    const fits = shape.length === shapes[name].length && shape.every((n, k) => n === shapes[name][k]);
    expect(
      fits,
      `the tensor ${name} has the shape ${brief(shape)}; expected ${brief(shapes[name])} for these settings`,
    );
    const learned = values.every((value) => Math.abs(value) < LARGEST);
    expect(learned, `the tensor ${name} holds NaN, or a number of ${LARGEST} or more; expected what was learned`);
    weights[name] = listed(tensors[stored]);
  }
  const missing = Object.keys(shapes).find((name) => !weights[name]);
  expect(
    !missing,
    `the file has no tensor ${missing}; expected ${Object.keys(shapes).length} tensors for such a model`,
  );
  const scale = weights["encoder.scale"];
  const positive = scale.every((/** @type {number} */ one) => one > 1 / LARGEST);
  expect(positive, `the tensor encoder.scale holds ${brief([...scale])}; expected numbers above 0`);

  const recurrence = Object.entries(weights).filter(([name]) => name.startsWith("recurrence."));
  return {
    kind,
    schema,
    timeFeatures: settings.time_features,
    embedding: weights["encoder.embedding.weight"],
    centre: weights["encoder.centre"],
    scale,
    cell: settings.cell,
    layers,
    recurrence: Object.fromEntries(recurrence.map(([name, one]) => [name.slice("recurrence.".length), one])),
    head: { weight: weights["head.weight"], bias: weights["head.bias"] },
  };
}
