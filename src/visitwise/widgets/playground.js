// The playground: a patient of the reader's own, what a trained model says after each visit, and the truth beside it.

import {
  button,
  canvas,
  censoredMark,
  choice,
  clamp,
  eventMark,
  h,
  host,
  minus,
  range,
  rect,
  stamp,
  text,
  toggle,
} from "./kit.js";
import { causeHazard, sum, survival } from "./functional.js";
import { dot, lstmStep } from "./lstm.js";
import { fromBase64, gruStep, modelFrom, run, visitVector } from "./survival_rnn.js";
import { recall, trueHazard, trueLogits } from "./teaching.js";

/** @typedef {import("./survival_rnn.js").Model} Model */
/** @typedef {import("./survival_rnn.js").Patient} Patient */
/** @typedef {import("./survival_rnn.js").Memory} Memory */
/** @typedef {import("./survival_rnn.js").Result} Result */
/**
 * @typedef {{ day: number[], codes: number[], age: number, female: boolean, observed: boolean, visit: number,
 *   epoch: number, model: string }} Play
 * @typedef {ReturnType<typeof out>} Shown
 * @typedef {import("./kit.js").Ui} Ui
 */

const MOST_VISITS = 60;
const LAST_DAY = 9999;
const LARGEST_FILE = 5e6;

/** What one figure keeps from one state to the next, none of which changes a number. */
const kept = new WeakMap();

/** @param {any} given */
function keptFor(given) {
  if (!kept.has(given)) kept.set(given, { models: {} });
  return kept.get(given);
}

// ------------------------------------------------------------------------------------------------------- the numbers

/** @type {Map<number, number[]>} */
const unpacked = new Map();

/** The codes of a visit by their place in the schema. @param {number} bits */
export function codesOf(bits) {
  const codes = unpacked.get(bits) ?? [];
  if (bits && !codes.length) for (let code = 1; code <= 29; code++) if (bits & (1 << (code - 1))) codes.push(code);
  unpacked.set(bits, codes);
  return codes;
}

/** @param {Play} state @param {any} given @returns {Patient} */
const patientOf = ({ day, codes, age, female }, given) => ({
  codes: codes.map(codesOf),
  day,
  static: [Math.fround((age - 60) / 10), Number(female)],
});

/** Which of the models that came along is shown, and after how many epochs; none if it is the reader's own. @param {Play} state @param {any} given */
export function nameOf({ model, epoch }, given) {
  if (model === "mine" && given.mine) return null;
  const name = model === "mine" ? "causal" : model;
  return { name, epoch: given.epochs[name === "causal" ? epoch : given.epochs.length - 1] };
}

/** @param {Play} state @param {any} given @returns {Model} */
function modelOf(state, given) {
  const named = nameOf(state, given);
  if (!named) return given.mine;
  const { name, epoch } = named;
  return (keptFor(given).models[name + epoch] ??= modelFrom(together(given.files[name][epoch]), given.codes));
}

/** The file whose numbers were taken apart, first bytes first, to compress better. @param {string} text */
function together(text) {
  const apart = new Uint8Array(fromBase64(text));
  const begin = 8 + new DataView(apart.buffer).getUint32(0, true);
  const many = (apart.length - begin) / 4;
  return apart.map((byte, k) => (k < begin ? byte : apart[begin + ((k - begin) % 4) * many + ((k - begin) >> 2)]))
    .buffer;
}

/** What a model says of a patient; visits before the first that was changed are not read again. @param {Model} model @param {Patient} patient @param {any} memory */
function read(model, patient, memory) {
  const last = memory.read;
  const same = last?.model === model && `${last.patient.static}` === `${patient.static}`;
  const stays = (/** @type {number} */ k) =>
    last.patient.day[k] === patient.day[k] && `${last.patient.codes[k]}` === `${patient.codes[k]}`;
  let first = 0;
  while (same && first < patient.day.length && stays(first)) first++;
  const result = run(model, patient, same ? last.result : undefined, first);
  memory.read = { model, patient, result };
  return result;
}

/** @param {Model} model @param {string} layer @param {number[]} vector @param {Memory | undefined} before */
function step({ cell, recurrence }, layer, vector, before) {
  const nothing = { state: Array.from(recurrence[`weight_hh_${layer}`][0], () => 0), cell: [] };
  nothing.cell = /** @type {any} */ (nothing.state);
  return (cell === "gru" ? gruStep : lstmStep)(recurrence, layer, vector, before ?? nothing);
}

/**
 * The hazards after one visit that is read after these memories: of what came before it, and of what comes after it.
 * @param {Model} model @param {number[]} vector @param {(Memory | undefined)[]} memories
 */
function hazardAfter(model, vector, memories) {
  const state = model.layers.flatMap((layer, j) => step(model, layer, vector, memories[j]).state);
  return sum(causeHazard(model.head.weight.map((row, j) => dot(row, state) + model.head.bias[j])));
}

/**
 * What is remembered when each visit is about to be read, from either side.
 * @param {Model} model @param {number[][]} vectors @param {Result} result
 */
function memoriesOf(model, vectors, result) {
  if (model.layers.length === 1) return vectors.map((_, k) => [result.states[k - 1]]);
  const [ahead, back] = model.layers;
  /** @type {Memory | undefined} */
  let now;
  const before = vectors.map((vector) => [now, (now = step(model, ahead, vector, now))][0]);
  now = undefined;
  const after = [...vectors].reverse().map((vector) => [now, (now = step(model, back, vector, now))][0]);
  return vectors.map((_, k) => [before[k], after[vectors.length - 1 - k]]);
}

/** The record so far: the visits to `k`, this one with other codes. @param {Patient} patient @param {number} k @param {number[]} codes */
const soFar = (patient, k, codes) => ({
  codes: [...patient.codes.slice(0, k), codes],
  day: patient.day.slice(0, k + 1),
  static: patient.static,
});

/** @param {number[][]} causes the hazard of each cause after each visit */
const allTogether = (causes) => causes.map(sum);

/** The cost of an interval without any event: log(1 + sum exp z), without overflow. @param {number[]} logits */
export function nothingNll(logits) {
  const top = Math.max(0, ...logits);
  return top + Math.log(Math.exp(-top) + sum(logits.map((z) => Math.exp(z - top))));
}

/** The cost of a record, which an event of cause 1 may end. @param {number[][]} logits of each cause after each visit @param {boolean} observed */
export const recordNll = (logits, observed) =>
  sum(logits.map(nothingNll)) - (observed ? logits[logits.length - 1][0] : 0);

/** Probability of having had each cause by the end of each interval. @param {number[][]} causes */
export function cumulativeIncidence(causes) {
  const left = survival(allTogether(causes));
  let had = causes[0].map(() => 0);
  return causes.map((hazard, k) => (had = had.map((total, c) => total + hazard[c] * (k ? left[k - 1] : 1))));
}

/**
 * What the true log-odds of cause 1 are the sum of: the base, and then what each effect adds.
 * @param {Patient} patient @param {number} visit @param {any} world @param {any} given
 */
function termsOf(patient, visit, world, given) {
  const reads = recall(patient, world)[visit];
  const { effects, scale, intercepts } = world;
  return [intercepts[0], ...given.why.map((/** @type {any} */ [name]) => scale * effects[name] * reads[name])];
}

/** Every number on show. @param {Play} state @param {any} given */
export function out(state, given) {
  const { visit, observed } = state;
  const named = nameOf(state, given);
  const model = modelOf(state, given);
  const patient = patientOf(state, given);
  const result = read(model, patient, keptFor(given));
  const vectors = patient.day.map((_, k) => visitVector(model, patient, k));
  const memories = memoriesOf(model, vectors, result);
  const hazard = allTogether(result.hazard);
  const world = given.worlds[model.head.bias.length === 1 ? "causal" : "competing"];
  const trueSaid = trueLogits(patient, world);
  const truth = trueSaid.map(causeHazard);
  const true_hazard = allTogether(truth);
  const known_then =
    model.layers.length === 1 ? hazard : vectors.map((vector, k) => hazardAfter(model, vector, [memories[k][0]]));
  const moved = hazard.map((risk, k) => Math.abs(risk - known_then[k]));
  const curve = named && given.curves[named.name];
  return {
    hazard,
    cause_hazard: result.hazard,
    true_hazard,
    true_cause_hazard: truth,
    survival: survival(hazard),
    true_survival: survival(true_hazard),
    incidence: cumulativeIncidence(result.hazard),
    nll: recordNll(result.logits, observed),
    oracle_nll: recordNll(trueSaid, observed),
    push: result.hazard.map(([risk], k) => risk - Number(observed && k === hazard.length - 1)),
    terms: termsOf(patient, visit, world, given),
    without: patient.codes[visit].map((code) => {
      const other = soFar(
        patient,
        visit,
        patient.codes[visit].filter((one) => one !== code),
      );
      return [
        code,
        hazardAfter(model, visitVector(model, other, visit), memories[visit]),
        sum(trueHazard(other, world)[visit]),
      ];
    }),
    known_then,
    most_moved: Math.max(...moved),
    moved_visit: moved.indexOf(Math.max(...moved)),
    epochs: named ? named.epoch : null,
    loss: curve ? curve.validation[/** @type {any} */ (named).epoch] : null,
    oracle_loss: curve ? curve.oracle : null,
  };
}

// --------------------------------------------------------------------------------------------------------- the picture

/** A probability as a percentage, with the digits that it needs. @param {number} share */
export const percent = (share) => {
  const hundred = 100 * share;
  const digits = hundred >= 99.95 || hundred === 0 ? 0 : hundred >= 9.95 ? 1 : hundred >= 0.995 ? 1 : 2;
  return hundred > 0 && hundred < 0.005 ? "<0.01%" : `${hundred.toFixed(digits)}%`;
};

/** The part of a code's name that is made to be read. @param {string} code */
const readable = (code) => code.replace(/^.*?\/\/(\S*\d\S* )?/, "");

const GROUPS = /** @type {[string, number, number][]} */ ([
  ["Conditions", 1, 10],
  ["Acute", 11, 16],
  ["Drugs", 17, 23],
  ["Other", 24, 29],
]);
const SPANS = Array.from({ length: 28 }, (_, k) => Math.round(30 * 1.25 ** k));
const TICKS = [7, 14, 30, 60, 90, 120, 180, 365, 730, 1095, 1825, 3650];
const DECADES = [1e-4, 1e-3, 1e-2, 0.1, 1];
const LEFT = 66;
const ROUNDING = 1e-9;

const groupOf = (/** @type {number} */ code) => GROUPS.findIndex(([, , until]) => code <= until);
const tenth = (/** @type {number} */ number) => Math.round(10 * number) / 10;
const leastAbove = (/** @type {number[]} */ steps, /** @type {number} */ size) =>
  steps.find((one) => one >= size) ?? steps[steps.length - 1];

/** How many days are in view: as many as before while that is no waste, so that a visit stays under the hand that moves it. @param {Play} state @param {any} memory */
function spanOf({ day }, memory) {
  const last = day[day.length - 1];
  const stays = memory.visits === day.length && last <= memory.span && 4 * last >= memory.span;
  memory.visits = day.length;
  return (memory.span = stays ? memory.span : leastAbove(SPANS, last));
}

/** The visits that have room for a handle; the chosen one has it first. @param {number[]} places @param {number} chosen */
export function withRoom(places, chosen) {
  /** @type {number[]} */
  const shown = [];
  places.forEach((x, k) => {
    const before = shown.length ? places[shown[shown.length - 1]] : -Infinity;
    if (k === chosen || (x - before >= 24 && Math.abs(x - places[chosen]) >= 24)) shown.push(k);
  });
  return shown;
}

/** @param {Play} state @param {Shown} numbers @param {Ui} ui @param {any} given */
function picture(state, numbers, ui, given) {
  const { day, codes, visit, observed } = state;
  const { width, narrow } = ui;
  const { hazard, true_hazard, known_then, survival, true_survival, incidence, push } = numbers;
  const last = day.length - 1;
  const span = spanOf(state, keptFor(given));
  const tail = narrow ? 40 : 60;
  const scale = (width - 12 - tail - LEFT) / span;
  const x = (/** @type {number} */ days) => tenth(LEFT + 8 + days * scale);
  const places = day.map(x);
  const end = places[last] + tail - 14;
  const edges = [...places, end];
  const here = places[visit];
  const byCause = numbers.cause_hazard[0].length > 1;
  const ahead = numbers.most_moved > ROUNDING;

  const top = narrow ? 64 : 44;
  const floor = top + 108;
  const stairs = floor + 38;
  const foot = stairs + 52;
  const pushes = foot + 42;
  const line = pushes + 54;
  const raster = line + 24;
  const rowOf = (/** @type {number} */ code) => raster + 5 * (code - 1) + 8 * groupOf(code);
  const bottom = rowOf(given.codes.length - 1) + 8;
  const up = (/** @type {number} */ p) => tenth(floor - 27 * Math.log10(1e4 * Math.max(p, 1e-4)));
  const down = (/** @type {number} */ s) => tenth(stairs + 52 * (1 - s));

  const steps = (/** @type {number[]} */ values, /** @type {(value: number) => number} */ y) =>
    `M${edges[0]} ${values.map((value, k) => `${k ? "V" : ""}${y(value)}H${edges[k + 1]}`).join("")}`;
  const curve = (/** @type {string} */ kind, /** @type {string} */ d, /** @type {any} */ term) =>
    h("path", { class: kind, "data-term": term, d });
  const rung = (/** @type {number} */ share, /** @type {number} */ y) => [
    h("path", { class: "grid", d: `M${LEFT} ${y}H${width}` }),
    text(LEFT - 6, y + 4, `${share === 1e-4 ? "≤" : ""}${100 * share}%`, "quiet end"),
  ];
  const size = last > 24 ? (narrow ? 2 : 4) : narrow && last > 12 ? 4 : 8;
  const marks = (/** @type {number[]} */ visits, /** @type {string} */ kind) =>
    stamp(
      visits.flatMap((k) => codesOf(codes[k]).map((code) => [places[k] - size / 2, rowOf(code)])),
      `h${size}v4h-${size}z`,
      kind,
    );
  const pick = (/** @type {any} */ event) => {
    const box = event.currentTarget.ownerSVGElement.getBoundingClientRect();
    const at = ((event.clientX - box.left) * width) / box.width;
    ui.set({
      visit: Math.max(
        0,
        places.findLastIndex((place) => place <= at),
      ),
    });
  };
  const days = leastAbove(TICKS, span / (narrow ? 4 : 8));
  return canvas(
    width,
    bottom + 46,
    h(
      "g",
      { onclick: pick },
      rect(here, top - 4, Math.max(edges[visit + 1] - here, 1), line - top, "band"),
      rect(LEFT, top - 4, width - LEFT, line - top - 20, "hit"),
      h("text", { class: "hazard name", x: 0, y: 12, "data-term": "hazard" }, "hazard h of the next interval"),
      legend(narrow ? 0 : 232, narrow ? 31 : 12, ahead, byCause),
      said(narrow ? 50 : 31, state, numbers, narrow),
      DECADES.map((p) => rung(p, up(p))),
      byCause &&
        curve(
          "one",
          steps(
            numbers.cause_hazard.map((causes) => causes[0]),
            up,
          ),
          null,
        ),
      curve("true", steps(true_hazard, up), "true"),
      ahead && curve("then", steps(known_then, up), null),
      curve("learned", steps(hazard, up), "hazard"),
      text(
        0,
        stairs - 12,
        byCause && !narrow ? "survival S; above it, who had cause 1" : "survival S",
        "survived name",
      ),
      text(
        width,
        stairs - 12,
        `${narrow ? "NLL" : "this record costs"} ${numbers.nll.toFixed(4)}, oracle ${numbers.oracle_nll.toFixed(4)}`,
        "end",
      ),
      [0, 1].map((s) => rung(s, down(s))),
      byCause &&
        curve(
          "cause",
          `${steps(
            incidence.map((had) => 1 - had[0]),
            down,
          )}V${stairs}H${edges[0]}Z`,
          null,
        ),
      curve("true s", steps(true_survival, down), null),
      curve("learned s", steps(survival, down), null),
      h("text", { class: "name", x: 0, y: foot + 26, "data-term": "push" }, `push ${pushOf(numbers)}`),
      text(width, foot + 26, `after visit ${visit}: ${minus(push[visit].toFixed(4))}`, "quiet end"),
      h("path", { class: "axis", d: `M${LEFT} ${pushes + 16}H${width}` }),
      arrows(push, edges, pushes + 16),
    ),
    h("path", { class: "axis", d: `M${here} ${line}V${bottom}M${places[0]} ${line}H${places[last]}` }),
    h("path", { class: "axis open", d: `M${places[last]} ${line}H${end - (observed ? 0 : 4)}` }),
    observed ? eventMark(end, line) : censoredMark(end + 4, line),
    GROUPS.map(([name, first, until], group) => [
      text(0, (rowOf(first) + rowOf(until)) / 2 + 6, name.toLowerCase(), "quiet small"),
      group > 0 && h("path", { class: "grid", d: `M${LEFT} ${rowOf(first) - 6}H${width}` }),
    ]),
    marks(
      [...day.keys()].filter((k) => k !== visit),
      "quiet",
    ),
    marks([visit], "ink"),
    text(LEFT - 6, bottom + 18, "day", "quiet end small"),
    Array.from({ length: Math.floor(span / days) + 1 }, (_, k) =>
      text(x(k * days), bottom + 18, k * days, "quiet middle small"),
    ),
    text(0, bottom + 42, "Synthetic data, not medical advice.", "quiet"),
    visitHandles(state, numbers, ui, given, { places, line, scale, span }),
  );
}

/** @param {any} numbers */
const pushOf = ({ cause_hazard }) => (cause_hazard[0].length > 1 ? "h₁ − y₁" : "h − y");

/** @param {number} one @param {number} other */
const longer = (one, other) => (Math.abs(other) > Math.abs(one) ? other : one);

/**
 * @param {Play} state @param {Shown} numbers @param {Ui} ui @param {any} given
 * @param {{ places: number[], line: number, scale: number, span: number }} where
 */
function visitHandles({ day, codes, visit }, { hazard, true_hazard }, ui, given, { places, line, scale, span }) {
  const last = day.length - 1;
  const shown = withRoom(places, visit);
  const hidden = places.flatMap((x, k) => (shown.includes(k) ? [] : [[x, line - 5]]));
  const handles = shown.map((k, place) => {
    const beside = [shown[place - 1], shown[place + 1]].filter((other) => other !== undefined);
    return ui.handle(
      {
        label: `visit ${k}`,
        text: `day ${day[k]}: ${named(codes[k], given)}; hazard after it ${percent(hazard[k])} learned, ${percent(true_hazard[k])} true`,
        value: day[k],
        from: k ? day[k - 1] + 1 : 0,
        to: k === 0 ? 0 : k < last ? day[k + 1] - 1 : LAST_DAY,
        step: 1,
        page: 30,
        sideways: true,
        group: "visit",
        place: k,
        count: day.length,
        stop: k === visit,
        along: (next) => ui.set({ visit: next }),
        chosen: () => k !== visit && ui.set({ visit: k }),
        x: places[k],
        y: line,
        width: Math.min(44, ...beside.map((other) => Math.abs(places[other] - places[k]))),
        at: (x) => clamp((x - LEFT - 8) / scale, 0, span),
        set: (value) => ui.set({ day: day.with(k, value), visit: k }),
      },
      h("circle", { class: k === visit ? "knob chosen" : "knob", cx: places[k], cy: line, r: 10 }),
      text(places[k], line + 4.5, k, k === visit ? "on middle small" : "middle small"),
    );
  });
  return [stamp(hidden, "v10", "axis"), handles];
}

/** @param {number} x @param {number} y @param {boolean} ahead @param {boolean} byCause */
const legend = (x, y, ahead, byCause) => [
  stamp([[x, y - 4]], "h24", "learned"),
  text(x + 30, y, "learned"),
  stamp([[x + 86, y - 4]], "h24", "true"),
  h("text", { x: x + 116, y, "data-term": "true" }, "true"),
  ahead && [stamp([[x + 154, y - 4]], "h24", "then"), text(x + 184, y, "known then")],
  byCause && [stamp([[x + 154, y - 4]], "h24", "one"), text(x + 184, y, "learned, cause 1")],
];

/** The chosen visit's hazards, in words. @param {number} y @param {Play} state @param {Shown} numbers @param {boolean} narrow */
function said(y, { visit }, { hazard, true_hazard, known_then }, narrow) {
  const [learned, truth, then] = [hazard, true_hazard, known_then].map((all) => percent(all[visit]));
  const where = narrow ? `visit ${visit}` : `after visit ${visit}`;
  return Math.abs(hazard[visit] - known_then[visit]) > ROUNDING
    ? text(0, y, `✗ ${where}: learned ${learned}, known then ${then}${narrow ? "" : `, true ${truth}`}`, "wrong")
    : text(0, y, `${where}: learned ${learned}, true ${truth}`);
}

/** Down where a hazard is to fall, up where it is to rise. @param {number[]} push @param {number[]} edges @param {number} zero */
function arrows(push, edges, zero) {
  const most = Math.abs(push.reduce(longer));
  const path = (/** @type {boolean} */ rises) =>
    push
      .map((size, k) => {
        if (size < 0 !== rises) return "";
        const up = rises ? -1 : 1;
        const long = Math.max(1.5, tenth((16 * Math.abs(size)) / most));
        const wing = Math.min(4, tenth((edges[k + 1] - edges[k]) / 3));
        const head = long > 5 ? `m${-wing} ${-up * wing}l${wing} ${up * wing}l${wing} ${-up * wing}` : "";
        return `M${tenth((edges[k] + edges[k + 1]) / 2)} ${zero}v${up * long}${head}`;
      })
      .join("");
  const observed = push[push.length - 1] < 0;
  return [
    h("path", { class: "push rises", "data-term": observed && "push", d: path(true) }),
    h("path", { class: "push falls", "data-term": !observed && "push", d: path(false) }),
  ];
}

/** What each code of the chosen visit changes. @param {Play} state @param {Shown} numbers @param {Ui} ui @param {any} given */
function changes({ visit }, { hazard, true_hazard, without }, { narrow, width }, given) {
  const [from, long, second, third, high] = narrow ? [0, 170, 236, 300, 38] : [236, 220, 540, 620, 24];
  const most = Math.max(hazard[visit], true_hazard[visit], ...without.flatMap(([, ...both]) => both));
  const rows = [...without].sort((a, b) => Math.abs(b[1] - hazard[visit]) - Math.abs(a[1] - hazard[visit]));
  const all = [["as recorded", hazard[visit], true_hazard[visit]], ...rows];
  const at = (/** @type {number} */ row) => 42 + row * high;
  const bar = (/** @type {number} */ row) => at(row) + (narrow ? 8 : -8);
  const bars = (/** @type {number} */ which) =>
    all
      .map((row, k) => `M${from} ${bar(k) + 6 * (which - 1)}h${Math.max(1, tenth((long * Number(row[which])) / most))}`)
      .join("");
  const label = (/** @type {any} */ code) => (code > 0 ? `without ${readable(given.codes[code])}` : code);
  return h(
    "svg",
    {
      viewBox: `0 0 ${narrow ? 304 : 620} ${at(Math.max(3, all.length)) - 8}`,
      width: narrow ? 304 : 620,
    },
    text(0, 14, `hazard after visit ${visit}, with and without`, "name"),
    text(second, narrow ? 32 : 14, "learned", "quiet end small"),
    text(third, narrow ? 32 : 14, "true", "quiet end small"),
    h("path", { class: "learned bar", d: bars(1) }),
    h("path", { class: "true bar", d: bars(2) }),
    all.map(([code, one, other], row) => [
      text(0, at(row), label(code), row ? "" : "name"),
      text(second, bar(row) + 8, percent(+one), "end"),
      text(third, bar(row) + 8, percent(+other), "end"),
    ]),
  );
}

/** Why the true hazard is what it is. @param {Play} state @param {Shown} numbers @param {any} given */
const why = ({ visit }, { terms, cause_hazard }, given) =>
  h(
    "div",
    { class: "whole" },
    h("b", null, "Why? "),
    `True log-odds${cause_hazard[0].length > 1 ? " of cause 1" : ""} after visit ${visit}: ${signed(sum(terms))} =`,
    h(
      "ul",
      null,
      [["", "the base"], ...given.why].map(([, words], k) =>
        h("li", { class: terms[k] ? "" : "quiet" }, `${signed(terms[k])} ${words}`),
      ),
    ),
  );

/** @param {number} size */
const signed = (size) => (size > 0 ? "+" : "") + minus(size.toFixed(2));

/** How the loss of other patients fell. @param {Shown} numbers @param {string} name @param {any} given */
function losses({ epochs, loss, oracle_loss }, name, given) {
  const { validation, oracle } = given.curves[name];
  const [low, most] = [Math.min(oracle, ...validation), Math.max(oracle, ...validation)];
  const x = (/** @type {number} */ epoch) => tenth(6 + (108 * epoch) / (validation.length - 1));
  const y = (/** @type {number} */ nll) => tenth(48 - (40 * (nll - low)) / (most - low));
  const truth = `oracle ${oracle_loss.toFixed(4)}`;
  const below = loss < oracle_loss && `✗ beats ${truth}`;
  return h(
    "svg",
    {
      class: "losses",
      viewBox: "0 0 300 56",
      width: 300,
    },
    h("path", { class: "oracle", d: `M0 ${y(oracle)}h120` }),
    h("path", {
      class: "fall",
      d: `M${validation.map((/** @type {number} */ nll, /** @type {number} */ k) => `${x(k)} ${y(nll)}`).join("L")}`,
    }),
    h("circle", { class: "ink", cx: x(epochs), cy: y(loss), r: 5 }),
    text(132, 14, "loss of other patients", "name"),
    text(132, 32, `after ${epochs} epochs ${loss.toFixed(4)}`),
    text(132, 50, below || truth, below ? "wrong" : "quiet"),
  );
}

// ------------------------------------------------------------------------------------------------------- the controls

/** @param {number} bits @param {any} given */
const named = (bits, given) =>
  codesOf(bits)
    .map((code) => readable(given.codes[code]))
    .join(", ") || "no code";

/** @param {Play} state @param {any} given */
const sampleOf = (state, given) =>
  given.samples.findIndex((/** @type {any} */ { state: one }) =>
    ["day", "codes", "age", "female", "observed"].every(
      (key) => `${one[key]}` === `${/** @type {any} */ (state)[key]}`,
    ),
  );

/** The story of the sample that the patient is or was; it is about one model. @param {Play} state @param {number} sample @param {any} given */
function told(state, sample, given) {
  const memory = keptFor(given);
  if (sample >= 0) memory.begun = sample;
  const begun = given.samples[memory.begun];
  const which = nameOf(state, given);
  const about = given.about[which?.name ?? "mine"];
  if (about || !begun) return about ?? "A patient of your own.";
  const [now, last] = [which?.epoch, given.epochs.at(-1)];
  const early = now === last ? "" : ` (So after ${last} epochs.)`;
  return `${sample < 0 ? `Begun from “${begun.name}”, changed. ` : ""}${begun.story}${early}`;
}

/** The diagnoses and drugs of the chosen visit; the same tree while they stay. @param {Play} state @param {Ui} ui @param {any} given */
function recorded(state, ui, given) {
  const memory = keptFor(given);
  memory.now = { state, ui };
  const bits = state.codes[state.visit];
  if (memory.bits === bits) return memory.toggles;
  const flip = (/** @type {number} */ code) => () => {
    const { state: now, ui: shown } = memory.now;
    shown.set({ codes: now.codes.with(now.visit, now.codes[now.visit] ^ (1 << (code - 1))) });
  };
  memory.bits = bits;
  memory.toggles = h(
    "div",
    { class: "codes" },
    GROUPS.map(([group, first, until]) =>
      h(
        "fieldset",
        null,
        h("legend", null, group),
        Array.from({ length: until - first + 1 }, (_, k) =>
          toggle({
            label: readable(given.codes[first + k]),
            checked: Boolean(bits & (1 << (first + k - 1))),
            set: flip(first + k),
          }),
        ),
      ),
    ),
  );
  return memory.toggles;
}

/** A visit after the chosen one, with a check-up. @param {Play} state */
export function added({ day, codes, visit }) {
  const next = visit + 1;
  const at = next < day.length ? Math.floor((day[visit] + day[next]) / 2) : Math.min(day[visit] + 60, LAST_DAY);
  const fits = day.length < MOST_VISITS && at > day[visit];
  return fits ? { day: day.toSpliced(next, 0, at), codes: codes.toSpliced(next, 0, 1 << 23), visit: next } : null;
}

/** The record without the chosen visit; the first that is left is day 0. @param {Play} state */
export function removed({ day, codes, visit }) {
  if (day.length === 1) return null;
  const left = day.toSpliced(visit, 1);
  return {
    day: left.map((one) => one - left[0]),
    codes: codes.toSpliced(visit, 1),
    visit: Math.min(visit, left.length - 1),
  };
}

/** @param {any} event @param {Ui} ui @param {any} given */
async function load(event, ui, given) {
  const field = event.target;
  const file = field.files[0];
  const memory = keptFor(given);
  if (!file) return;
  try {
    if (file.size > LARGEST_FILE)
      throw new Error(`the file has ${Math.ceil(file.size / 1e6)} MB; expected at most ${LARGEST_FILE / 1e6}`);
    given.mine = modelFrom(await file.arrayBuffer(), given.codes);
    memory.said = `${file.name} is loaded. It stays in this page.`;
    ui.set({ model: "mine" });
  } catch (error) {
    memory.said = `${file.name} was not loaded: ${/** @type {any} */ (error).message}.`;
    ui.set({});
  }
  field.value = ""; // so that the same file can be chosen again
}

/** @param {Play} state @param {Ui} ui @param {any} given */
async function copy(state, ui, given) {
  const memory = keptFor(given);
  memory.snippet = true;
  try {
    await navigator.clipboard.writeText(snippet(state, given));
    memory.said = "Copied, as below.";
  } catch {
    memory.said = "Not copied: select the lines below.";
  }
  ui.set({});
}

/** @param {Play} state @param {Shown} numbers @param {Ui} ui @param {any} given */
function controls(state, numbers, ui, given) {
  const { day, visit, age, female, observed, epoch, model } = state;
  const memory = keptFor(given);
  const sample = sampleOf(state, given);
  const more = added(state);
  const fewer = removed(state);
  const which = nameOf(state, given);
  const trained = range({
    label: "epochs trained",
    value: epoch,
    from: 0,
    to: given.epochs.length - 1,
    step: 1,
    text: which ? `${which.epoch}${which.name === "causal" ? "" : ", kept at the end alone"}` : "–",
    spoken: which ? `after ${which.epoch} epochs` : "not known for your model",
    set: (value) => ui.set({ epoch: value }),
  });
  /** @type {any} */ (trained.children[1]).attributes.disabled = which?.name !== "causal"; // the others have one epoch
  return [
    choice({
      legend: "Patient",
      options: given.samples.map((/** @type {any} */ { name }, /** @type {number} */ k) => [k, name]),
      value: sample,
      set: (k) => ui.set(given.samples[k].state),
    }),
    h("p", { class: "whole story" }, told(state, sample, given)),
    choice({
      legend: "Model",
      options: [
        ["causal", "reads the past"],
        ["bidirectional", "reads ahead, too"],
        ["competing", "two causes"],
        ["mine", "yours"],
      ],
      value: model,
      set: (value) => ui.set({ model: value }),
    }),
    h(
      "div",
      { class: "whole row" },
      range({
        label: "visit",
        value: visit,
        from: 0,
        to: day.length - 1,
        step: 1,
        text: `${visit}, day ${day[visit]}`,
        spoken: `visit ${visit} of 0 to ${day.length - 1}, day ${day[visit]}`,
        set: (value) => ui.set({ visit: value }),
      }),
      button("Add a visit", () => ui.set(more ?? {}), !more),
      button("Delete this visit", () => ui.set(fewer ?? {}), !fewer),
    ),
    recorded(state, ui, given),
    changes(state, numbers, ui, given),
    why(state, numbers, given),
    range({
      label: "age",
      value: age,
      from: 35,
      to: 85,
      step: 1,
      spoken: `${age} years`,
      set: (value) => ui.set({ age: value }),
    }),
    toggle({ label: "woman", checked: female, set: (checked) => ui.set({ female: checked }) }),
    choice({
      legend: "The record ends with",
      options: [
        [true, model === "competing" ? "the event, of cause 1" : "the event"],
        [false, "censoring"],
      ],
      value: observed,
      set: (value) => ui.set({ observed: value }),
    }),
    h("div", { class: "whole row" }, trained, which && losses(numbers, which.name, given)),
    h(
      "span",
      { "data-beside": "" },
      button("Copy for Python", () => copy(state, ui, given)),
    ),
    h(
      "label",
      { class: "file", "data-beside": "" },
      h("span", null, "Load your model"),
      h("input", {
        type: "file",
        accept: ".safetensors",
        onchange: (/** @type {any} */ event) => load(event, ui, given),
      }),
    ),
    h(
      "p",
      { class: "whole story", role: "status" },
      model === "mine" && !given.mine && "No model of yours is loaded: this one reads the past. ",
      memory.said,
    ),
    memory.snippet && h("pre", { class: "whole", tabindex: 0 }, snippet(state, given)),
  ];
}

/** Python that rebuilds the patient, loads the model and prints what is on show. @param {Play} state @param {any} given */
export function snippet(state, given) {
  const { day, codes, age, female } = state;
  const which = nameOf(state, given);
  const { hazard } = out(state, given);
  const names = codes.map(
    (bits) =>
      `    [${codesOf(bits)
        .map((code) => JSON.stringify(given.codes[code]))
        .join(", ")}],`,
  );
  return [
    which ? "from visitwise import trained" : "from visitwise.training import load_model",
    "from visitwise.simulate import SCHEMA",
    "from visitwise.visits import Visits",
    "",
    "codes = [",
    ...names,
    "]",
    `day = [${day.join(", ")}]`,
    `static = [${(age - 60) / 10}, ${Number(female)}.0]`,
    "visits = Visits.from_lists([codes], [day], schema=SCHEMA, static=[static])",
    which
      ? `model = trained.load("${which.name}", ${which.epoch}).double()`
      : 'model = load_model("your-file.safetensors").double()',
    `hazard = model.predict(visits).${modelOf(state, given).kind === "SurvivalRNN" ? "hazard" : "cause_hazard.sum(-1)"}`,
    "for visit, risk in enumerate(hazard[0].tolist()):",
    '    print(f"visit {visit}, day {day[visit]}: {risk:.6f}")',
    ...hazard.map((risk, k) => `# visit ${k}, day ${day[k]}: ${risk.toFixed(6)}`),
    "",
  ].join("\n");
}

// --------------------------------------------------------------------------------------------------------- the figure

/** @param {any} state @param {any} numbers @param {any} given */
function sentence(state, numbers, given) {
  const { day, codes, visit, observed, model } = state;
  const { hazard, true_hazard, known_then, most_moved, moved_visit: k } = numbers;
  const risk = `the hazard is ${percent(hazard[visit])} learned and ${percent(true_hazard[visit])} true. `;
  const leak =
    most_moved > ROUNDING
      ? `✗ Wrong: a later visit moved an earlier hazard. After visit ${k} this model says ${percent(hazard[k])}, and from the record up to it ${percent(known_then[k])}. `
      : "";
  return (
    `Visit ${visit} of 0 to ${day.length - 1}, day ${day[visit]}: ${named(codes[visit], given)}. After it ${risk}${leak}` +
    `The record ends with ${observed ? "the event" : "censoring"} and costs ${numbers.nll.toFixed(4)}; with the true hazards ${numbers.oracle_nll.toFixed(4)}.` +
    (model === "mine" && !given.mine ? " No model of yours is loaded: this one reads the past." : "")
  );
}

/** @type {import("./kit.js").Figure} */
export const figure = {
  name: "playground",
  claim: "Edit a visit: hazards before it stay where they are, unless the model reads ahead",
  state: {
    day: { start: [0, 60, 130, 190, 250, 330], from: 0, to: LAST_DAY, step: 1, fewest: 1, most: MOST_VISITS },
    codes: {
      start: [4, 5, 1024, 8388608, 131076, 8388608],
      from: 0,
      to: 2 ** 29 - 1,
      step: 1,
      fewest: 1,
      most: MOST_VISITS,
    },
    age: { start: 74, from: 35, to: 85, step: 1 },
    female: { start: false },
    observed: { start: false },
    visit: { start: 2, from: 0, to: MOST_VISITS - 1, step: 1 },
    epoch: { start: 7, from: 0, to: 7, step: 1 },
    model: { start: "causal", among: ["causal", "bidirectional", "competing", "mine"] },
  },
  // As many days as visits, rising from 0.
  mend: (state) => {
    const many = Math.min(state.day.length, state.codes.length);
    /** @type {number[]} */
    const day = [];
    for (let k = 0; k < many; k++) day.push(k ? Math.max(state.day[k], day[k - 1] + 1) : 0);
    const late = Math.max(0, day[many - 1] - LAST_DAY);
    return {
      ...state,
      day: late ? day.map((one, k) => Math.min(one, LAST_DAY - (many - 1 - k))) : day,
      codes: state.codes.slice(0, many),
      visit: Math.min(state.visit, many - 1),
    };
  },
  out: (state, given) => out(/** @type {Play} */ (state), given),
  question: (given) => {
    const begin = { ...given.samples[0].state, epoch: given.epochs.length - 1, model: "causal" };
    const k = begin.day.length - 2;
    const cut = { ...begin, visit: k, day: begin.day.slice(0, -1), codes: begin.codes.slice(0, -1) };
    const now = out(begin, given).hazard;
    return {
      question: `This model reads the past. After visit ${k} it says ${percent(now[k])}, after visit ${k + 1}, the last, ${percent(now[k + 1])}. Delete visit ${k + 1}: what does it say after visit ${k} then?`,
      options: [
        {
          label: percent(now[k + 1]),
          why: "That was about the interval after the visit that is gone; its hazard went with it.",
        },
        {
          label: percent(out(cut, given).hazard[k]),
          why: "What is recorded later is not read for an earlier hazard: nothing moves.",
        },
        {
          label: percent(out({ ...cut, model: "bidirectional" }, given).hazard[k]),
          why: "That is what the model says that reads ahead, too: to it, a record that goes on is good news.",
        },
      ],
      truth: 1,
    };
  },
  picture: (state, numbers, ui, given) =>
    picture(/** @type {Play} */ (state), /** @type {Shown} */ (numbers), ui, given),
  controls: (state, numbers, ui, given) =>
    controls(/** @type {Play} */ (state), /** @type {Shown} */ (numbers), ui, given),
  lines: ({ visit, observed, day }, numbers) => {
    const { hazard, true_hazard, cause_hazard, push } = numbers;
    const byCause = cause_hazard[0].length > 1;
    const both = byCause ? "h₁ + h₂" : "h";
    const last = day.length - 1;
    return [
      {
        term: "hazard",
        formula: `learned: ${both} = ${percent(hazard[visit])} after visit ${visit}`,
        code: "logits = model(patient)",
      },
      {
        term: "true",
        formula: `true: ${both} = ${percent(true_hazard[visit])} after visit ${visit}`,
        code: "truth = trained.world(play.model).cause_hazard(patient)",
      },
      {
        term: "push",
        formula: `last ${pushOf(numbers)} = ${cause_hazard[last][0].toFixed(4)} − ${Number(observed)} = ${minus(push[last].toFixed(4))}${byCause ? `; of cause 2 h₂ = ${cause_hazard[last][1].toFixed(4)}` : ""}`,
      },
    ];
  },
  sentence,
  table: ({ day, codes }, numbers, given) => ({
    caption: `NLL ${numbers.nll.toFixed(6)}, the oracle's ${numbers.oracle_nll.toFixed(6)}.`,
    head: [
      "visit",
      "day",
      "codes",
      "hazard",
      "true hazard",
      "known then",
      "survival",
      "true survival",
      pushOf(numbers),
    ],
    rows: day.map((/** @type {number} */ one, /** @type {number} */ k) => [
      k,
      one,
      named(codes[k], given),
      ...["hazard", "true_hazard", "known_then", "survival", "true_survival", "push"].map((key) =>
        minus(numbers[key][k].toFixed(4)),
      ),
    ]),
  }),
  style: `
.band { fill: var(--vw-panel, #f6f7f9); }
.true { fill: none; stroke: var(--vw-hazard, #c2410c); stroke-width: 3; stroke-opacity: 0.45; }
.learned { fill: none; stroke: var(--vw-hazard, #c2410c); stroke-width: 2; stroke-dasharray: 5 3; }
.then { fill: none; stroke: var(--vw-ink, #1b1f24); stroke-width: 2; stroke-dasharray: 1 3; }
.s { stroke: var(--vw-survival, #1166cc); }
.bar { stroke-width: 4; }
.one { fill: none; stroke: var(--vw-event-probability, #522b64); stroke-width: 2; stroke-dasharray: 5 3; }
.cause { fill: var(--vw-event-probability, #522b64); fill-opacity: 0.25; }
.push { fill: none; stroke-width: 2.5; }
.rises { stroke: var(--vw-hazard, #c2410c); }
.falls { stroke: var(--vw-survival, #1166cc); }
.open { stroke-dasharray: 3 3; }
.ink, .knob.chosen { fill: var(--vw-ink, #1b1f24); }
.fall { fill: none; stroke: var(--vw-ink, #1b1f24); stroke-width: 2; }
.oracle { fill: none; stroke: var(--vw-ink, #1b1f24); stroke-width: 3; stroke-opacity: 0.45; }
.small { font-size: 12px; }
.whole, .codes { flex: 1 1 100%; }
.codes { display: grid; gap: 6px; border: 1px solid var(--vw-line, #d5d9df); border-radius: 4px; padding: 8px 12px; }
.codes fieldset { position: relative; display: flex; flex-wrap: wrap; gap: 0 14px; padding-left: 6.6em; }
.codes legend { position: absolute; left: 0; top: 5px; }
ul { contain: content; columns: 18em; font-variant-numeric: tabular-nums; margin: 4px 0 0; padding: 0; list-style: none; }
li.quiet { color: var(--vw-muted, #5b6470); }
.row { display: flex; flex-wrap: wrap; gap: 8px 20px; align-items: center; }
.file { position: relative; border: 1px solid var(--vw-muted, #5b6470); border-radius: 4px; padding: 2px 12px; cursor: pointer; }
.file input { position: absolute; inset: 0; width: 100%; opacity: 0; cursor: pointer; }
.file:focus-within { outline: 3px solid var(--vw-survival, #1166cc); outline-offset: 2px; }
[role="status"]:empty { display: none; }
pre { overflow: auto; max-height: 24em; margin: 0; padding: 8px 12px; background: var(--vw-panel, #f6f7f9); font-size: 13px; line-height: 1.4; }
@media (max-width: 600px) { .codes fieldset { padding: 28px 0 0; } }
`,
};

export default host(figure);
