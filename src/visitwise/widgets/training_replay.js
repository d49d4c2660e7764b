// Figure 10: a patient read after each kept epoch.

import { canvas, censoredMark, choice, eventMark, h, host, levels, rect, stamp, text, toggle } from "./kit.js";
import { hazardNll, sum, survival } from "./functional.js";
import { fromBase64, modelFrom, run } from "./survival_rnn.js";
import { trueHazard } from "./teaching.js";

const KEPT = [1, 16, 12, 8, 5, 3, 2, 0];
const VISITS = 10;

/** @type {Map<string, import("./survival_rnn.js").Model>} */
const models = new Map();

/** @param {string} file */
function modelOf(file) {
  const model = models.get(file) ?? modelFrom(fromBase64(file));
  models.set(file, model);
  return model;
}

/** @param {any} patient @param {number} length @param {number} visit @param {number} injury its code, or 0 */
export const recordOf = ({ codes, day, static: known }, length, visit, injury) => ({
  codes: codes
    .slice(0, length)
    .map((/** @type {number[]} */ here, /** @type {number} */ k) => (injury && k === visit ? [...here, injury] : here)),
  day: day.slice(0, length),
  static: known,
});

const gap = (/** @type {number} */ p, /** @type {number} */ q) => Math.abs(Math.log(p / q));

/** The largest factor at a visit. @param {number[]} one @param {number[]} other */
export const factor = (one, other) => Math.exp(Math.max(0, ...one.map((p, k) => gap(p, other[k]))));

/** @param {any} state @param {any} given */
export function out({ patient, model, epoch, length, visit, injury, observed }, given) {
  const { worlds, curves, patients } = given;
  const world = worlds[model];
  const weights = modelOf(given.files[model][epoch]);
  const code = injury ? world.code.kidney_injury : 0;
  const learned = (/** @type {number} */ upTo, /** @type {number} */ written) =>
    run(weights, recordOf(patients[patient], upTo, visit, written)).hazard.map(([p]) => p);
  const hazard = learned(length, code);
  const truth = trueHazard(recordOf(patients[patient], length, visit, code), world).map(([p]) => p);
  const uncut = learned(VISITS, code);
  const unharmed = learned(length, 0).slice(0, visit);
  const past = [uncut, unharmed].flatMap((list) => list.slice(0, length).map((p, k) => [p, hazard[k]]));
  const [moved] = past.toSorted(([a, b], [p, q]) => gap(p, q) - gap(a, b));
  return {
    hazard,
    true_hazard: truth,
    unedited: learned(VISITS, 0),
    mean_factor: Math.exp(sum(hazard.map((p, k) => gap(p, truth[k]))) / length),
    worst_factor: factor(hazard, truth),
    survival: survival(hazard),
    true_survival: survival(truth),
    nll: hazardNll(hazard, length, observed),
    oracle_nll: hazardNll(truth, length, observed),
    moved_by_cut: factor(hazard, uncut),
    moved_by_injury: factor(unharmed, hazard),
    moved: gap(moved[0], moved[1]) > 1e-9 ? moved : null,
    validation: curves[model].validation[epoch],
    oracle: curves[model].oracle,
  };
}

const last = (/** @type {any[]} */ list) => list[list.length - 1];

/** @param {number} number */
const fixed = (number) => number.toFixed(4);

/** @param {any} numbers */
const verdict = ({ moved_by_cut, moved_by_injury, moved }) =>
  moved
    ? `✗ the ${moved_by_cut > moved_by_injury ? "cut" : "injury"} turns a past ${moved.map((/** @type {number} */ p) => p.toPrecision(3)).join(" into ")}`
    : "✓ no hazard before a change has moved";

const times = (/** @type {number} */ factor) => `×${Number(factor.toPrecision(2))}`;
const apart = (/** @type {any} */ { mean_factor, worst_factor }) =>
  `off by ${times(mean_factor)} on average, ${times(worst_factor)} at most`;

const TOP = 74;
const AXIS = TOP + 160;
const INJURY = AXIS + 58;
const BELOW = INJURY + 142;
const FLOOR = BELOW + 240;
const CIRCLE = "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0";

/** @param {any} state @param {any} numbers @param {import("./kit.js").Ui} ui @param {any} given */
function picture({ patient, model, epoch, length, visit, injury, observed }, numbers, ui, { names, curves, patients }) {
  const { width, narrow } = ui;
  const left = narrow ? 128 : 150;
  const column = Math.floor((width - left - 14) / VISITS);
  const x = (/** @type {number} */ k) => left + k * column;
  const right = x(VISITS);
  /** @type {number[][]} */
  const record = patients[patient].codes;
  const rows = [...new Set(record.flat())].sort((a, b) => a - b);

  const up = (/** @type {number} */ p) => Math.round(TOP - 40 * Math.log10(Math.max(p, 1e-4)));
  const down = (/** @type {number} */ s) => Math.round(BELOW + 66 - 54 * s);
  const { validation } = curves[model];
  const [low, most] = model === "causal" ? [0.07, 0.078] : [0, 0.1];
  const high = (/** @type {number} */ nll) => Math.round(FLOOR - 80 * Math.min((nll - low) / (most - low), 1));
  const at = (/** @type {number} */ one) => Math.round(left + (one / (validation.length - 1)) * (right - left));
  const kept = model === "causal" ? KEPT.toSorted((a, b) => a - b) : [16];
  const drag = (/** @type {any} */ handle, /** @type {any[]} */ ...marks) =>
    ui.handle(
      {
        from: 0,
        step: 1,
        page: 1,
        sideways: true,
        at: (/** @type {number} */ place) => (place - left) / column,
        ...handle,
      },
      marks,
    );

  const path = (/** @type {string} */ kind, /** @type {string} */ d, /** @type {any} */ term = undefined) =>
    h("path", { class: kind, d, "data-term": term });
  /** @param {string} kind @param {number[]} values @param {(value: number) => number} y @param {any} [term] */
  const stairs = (kind, values, y, term) =>
    path(kind, `M${values.map((value, k) => `${x(k)} ${y(value)}H${x(k + 1)}`).join("L")}`, term);
  const key = (/** @type {number} */ from, /** @type {string} */ kind, /** @type {string} */ words) => [
    h("path", { class: kind, d: `M${from} 29h22` }),
    text(from + 27, 33, words),
  ];
  const places = (/** @type {boolean} */ within) =>
    rows.flatMap((code, row) =>
      record.flatMap((here, k) =>
        here.includes(code) && k < length === within ? [[x(k), INJURY + 38 + 18 * row]] : [],
      ),
    );
  return canvas(
    width,
    FLOOR + 24,
    text(0, 12, apart(numbers), "name"),
    key(0, "true", "true"),
    key(66, "learned", "learned"),
    key(156, "unedited", "record untouched"),
    text(
      0,
      54,
      numbers.moved || length !== 8 || visit !== 4 ? verdict(numbers) : "Cut the record: does a hazard before it move?",
      numbers.moved && "wrong",
    ),
    levels([1, 0.1, 0.01, 0.001], left, right, up),
    text(left - 5, AXIS + 4, "≤ 0.0001", "quiet end"),
    text(0, AXIS + 18, "visit k", "quiet"),
    text(0, TOP + 4, "hazard", "quiet"),
    path("axis", `M${left} ${AXIS}H${right}`),
    length < VISITS && rect(x(length), TOP, right - x(length), AXIS - TOP, "padding"),
    stairs("unedited", numbers.unedited, up),
    stairs("true", numbers.true_hazard, up, "true"),
    stairs("learned", numbers.hazard, up, "learned"),
    path("guide", `M${x(visit)} ${TOP}V${AXIS}m0 22V${INJURY - 12}`),
    h(
      "g",
      null,
      record.map((_, k) => k !== length && text(x(k), AXIS + 18, k, "quiet middle")),
    ),
    drag(
      {
        label: "end of the record",
        text: `the record ends after visit ${length - 1} with ${observed ? "the event" : "censoring"}`,
        value: length,
        from: 1,
        to: VISITS,
        term: "nll",
        x: x(length),
        y: AXIS + 14,
        set: (/** @type {number} */ value) => ui.set({ length: value }),
      },
      path("cut", `M${x(length)} ${TOP}V${AXIS}`),
      h("circle", { class: "knob", cx: x(length), cy: AXIS + 14, r: 10 }),
      observed ? eventMark(x(length), AXIS + 14, 4) : censoredMark(x(length), AXIS + 14),
    ),
    text(0, INJURY + 4, "kidney injury", "name small"),
    stamp(
      record.slice(0, length).map((_, k) => [x(k), INJURY]),
      CIRCLE,
      "free",
    ),
    drag(
      {
        label: "visit of the kidney injury",
        text: `${injury ? "kidney injury" : "no kidney injury"} at visit ${visit}`,
        value: visit,
        to: length - 1,
        x: x(visit),
        y: INJURY,
        set: (/** @type {number} */ value) => ui.set({ visit: value }),
      },
      h("circle", { class: injury ? "written knob" : "knob", cx: x(visit), cy: INJURY, r: 8 }),
    ),
    h(
      "g",
      null,
      rows.map((code, row) => text(0, INJURY + 42 + 18 * row, names[code], "small")),
    ),
    stamp(places(true), CIRCLE, "coded"),
    stamp(places(false), CIRCLE, "coded away"),
    text(
      0,
      BELOW,
      `survival: ${fixed(last(numbers.survival))} learned, ${fixed(last(numbers.true_survival))} true`,
      "name survived",
    ),
    levels([0, 1], left, right, down),
    stairs("true left", numbers.true_survival, down, "true"),
    stairs("learned left", numbers.survival, down, "learned"),
    text(0, BELOW + 88, `NLL, if it ends here: ${fixed(numbers.nll)} learned, ${fixed(numbers.oracle_nll)} true`),
    text(0, FLOOR - 118, `validation loss after epoch ${epoch}: ${fixed(numbers.validation)}`, "name"),
    levels([low, most], left, right, high),
    path("oracle", `M${left} ${high(numbers.oracle)}H${right}`),
    text(left + 9, high(numbers.oracle) - 6, `true hazards: ${fixed(numbers.oracle)}`),
    path(
      "fallen",
      `M${validation.map((/** @type {number} */ nll, /** @type {number} */ k) => `${at(k)} ${high(nll)}`).join("L")}`,
    ),
    [0, 5, 8, 12, 16].map((one) => text(at(one), FLOOR + 18, one || "epoch 0", "quiet middle")),
    stamp(
      kept.map((one) => [at(one), high(validation[one])]),
      CIRCLE,
      "kept",
    ),
    numbers.validation < numbers.oracle && text(right, FLOOR - 82, "✗ below the truth", "wrong end"),
    drag(
      {
        label: "epoch",
        text: `validation loss after epoch ${epoch}: ${fixed(numbers.validation)}`,
        value: kept.indexOf(epoch),
        to: kept.length - 1,
        term: "loss",
        x: at(epoch),
        y: high(numbers.validation),
        at: (/** @type {number} */ place) => {
          const away = kept.map((one) => Math.abs(at(one) - place));
          return away.indexOf(Math.min(...away));
        },
        set: (/** @type {number} */ place) => ui.set({ epoch: kept[place] }),
      },
      h("circle", { class: "knob", cx: at(epoch), cy: high(numbers.validation), r: 7 }),
    ),
  );
}

/** @type {import("./kit.js").Figure} */
export const figure = {
  name: "training_replay",
  claim: "After one epoch the loss looks finished; the hazards are not",
  state: {
    patient: { start: "Ben", among: ["Ben", "Ada", "Cleo", "Dan"] },
    model: { start: "causal", among: ["causal", "bidirectional"] },
    epoch: { start: 1, among: KEPT },
    length: { start: 8, from: 1, to: VISITS, step: 1 },
    visit: { start: 4, from: 0, to: VISITS - 1, step: 1 },
    injury: { start: true },
    observed: { start: true },
  },
  mend: (state) => ({
    ...state,
    epoch: state.model === "causal" ? state.epoch : 16,
    visit: Math.min(state.visit, state.length - 1),
  }),
  out,
  question: ({ curves: { causal, bidirectional } }) => ({
    question: `Other patients cost ${fixed(causal.oracle)} a row by the true hazards, ${fixed(last(causal.validation))} by the learned ones. What if a model reads ahead, too?`,
    options: [
      {
        label: fixed(last(causal.validation)),
        why: "Later visits say more: whoever comes again has had no event.",
      },
      {
        label: fixed(causal.oracle),
        why: "Nobody who reads the past alone gets below it.",
      },
      {
        label: fixed(last(bidirectional.validation)),
        why: "Leakage: at each visit but the last it has seen that another follows.",
      },
    ],
    truth: 2,
  }),
  picture,
  controls: ({ patient, model, visit, injury, observed }, _, ui, { patients }) => [
    choice({
      legend: "Patient",
      options: Object.keys(patients).map((name) => [name, `${name}: ${patients[name].story}`]),
      value: patient,
      set: (value) => ui.set({ patient: value }),
    }),
    choice({
      legend: "Model",
      options: [
        ["causal", "reads the past"],
        ["bidirectional", "reads ahead, too"],
      ],
      value: model,
      set: (value) => ui.set({ model: value }),
    }),
    choice({
      legend: "The record ends with",
      options: [
        [true, "the event"],
        [false, "censoring"],
      ],
      value: observed,
      set: (value) => ui.set({ observed: value }),
    }),
    toggle({
      label: `kidney injury at visit ${visit}`,
      checked: injury,
      set: (checked) => ui.set({ injury: checked }),
    }),
  ],
  lines: ({ length, observed }, numbers) => [
    {
      term: "learned",
      formula: `learned after visit ${length - 1}: ${fixed(last(numbers.hazard))}`,
      code: "says = replayed.predict(record).hazard[0]",
    },
    {
      term: "true",
      formula: `true after visit ${length - 1}: ${fixed(last(numbers.true_hazard))}`,
      code: "true = TEACHING.hazard(record)",
    },
    {
      term: "nll",
      formula: `${length > 1 ? "− Σ log(1 − hₖ) " : ""}− log${observed ? " h" : "(1 − h)"} = ${fixed(numbers.nll)}`,
      code: 'cost = outcome_nll(replayed(record), ending, "sum")',
    },
    {
      term: "loss",
      formula: `${fixed(numbers.validation)} per row of other patients; true hazards ${fixed(numbers.oracle)}`,
      code: "evaluate_nll(model, judges, loss=loss)",
    },
  ],
  sentence: ({ patient, epoch, length, observed }, numbers) =>
    `After epoch ${epoch}, ${patient}'s learned hazards are ${apart(numbers)}. ` +
    `If the record ends after visit ${length - 1} with ${observed ? "the event" : "censoring"}, it costs ${fixed(numbers.nll)}; by the true hazards, ${fixed(numbers.oracle_nll)}. ` +
    `Other patients cost ${fixed(numbers.validation)} a row; by the true hazards, ${fixed(numbers.oracle)}. ` +
    `${verdict(numbers).replace("✗", "Wrong:")}.`,
  table: ({ patient, length, visit, injury }, numbers, { names, patients, worlds }) => ({
    caption: `Learned: ${apart(numbers)}.`,
    head: ["visit", "day", "recorded", "hazard learned", "true", "record untouched", "survival learned", "true"],
    rows: recordOf(patients[patient], length, visit, injury && worlds.causal.code.kidney_injury).codes.map(
      (/** @type {number[]} */ here, /** @type {number} */ k) => [
        k,
        patients[patient].day[k],
        here.map((code) => names[code]).join(", "),
        fixed(numbers.hazard[k]),
        fixed(numbers.true_hazard[k]),
        fixed(numbers.unedited[k]),
        fixed(numbers.survival[k]),
        fixed(numbers.true_survival[k]),
      ],
    ),
  }),
  style: `
.true, .learned, .unedited { fill: none; stroke: var(--vw-hazard, #c2410c); stroke-width: 2; }
.true { stroke-width: 4; stroke-opacity: 0.45; }
.learned { stroke-dasharray: 7 3; }
.unedited { stroke-width: 1.5; stroke-dasharray: 1.5 3; }
.left { stroke: var(--vw-survival, #1166cc); }
.guide, .oracle { fill: none; stroke: var(--vw-muted, #5b6470); stroke-dasharray: 4 3; }
.cut, .fallen { fill: none; stroke: var(--vw-ink, #1b1f24); stroke-width: 2; }
.oracle { stroke-width: 2; }
.free { fill: none; stroke: var(--vw-line, #d5d9df); }
.coded { fill: var(--vw-muted, #5b6470); }
.away { fill-opacity: 0.3; }
.kept, .written { fill: var(--vw-ink, #1b1f24); }
.small { font-size: 12px; }
`,
};

export default host(figure);
