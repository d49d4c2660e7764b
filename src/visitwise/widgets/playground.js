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
import { gruStep, modelFrom, run, visitVector } from "./survival_rnn.js";
import { logitsOf, recall } from "./teaching.js";

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

export const MOST_VISITS = 60;
export const LAST_DAY = 9999;

/** What one figure keeps from one state to the next, none of which changes a number. */
const kept = new WeakMap();

/** @param {any} given */
export function keptFor(given) {
  if (!kept.has(given)) kept.set(given, { models: {} });
  return kept.get(given);
}

// ------------------------------------------------------------------------------------------------------- the numbers

/** @type {Map<number, number[]>} */
const unpacked = new Map();

/** The codes of a visit by their place in the schema; a record of the reader's own codes has them so. @param {any} bits @returns {number[]} */
export function codesOf(bits) {
  if (Array.isArray(bits)) return bits;
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
  return (keptFor(given).models[name + epoch] ??= modelFrom(together(given.files[name][epoch])));
}

/** The file whose numbers were taken apart, first bytes first, to compress better. @param {string} text */
function together(text) {
  const apart = atob(text);
  const whole = new Uint8Array(apart.length);
  for (let k = 0; k < 8; k++) whole[k] = apart.charCodeAt(k);
  const begin = 8 + new DataView(whole.buffer).getUint32(0, true);
  const many = (apart.length - begin) / 4;
  for (let k = 8; k < begin; k++) whole[k] = apart.charCodeAt(k);
  for (let k = begin, place = 0; place < 4; place++)
    for (let j = 0; j < many; j++, k++) whole[begin + 4 * j + place] = apart.charCodeAt(k);
  return whole.buffer;
}

/** What a model says of a patient; visits before the first that was changed are not read again. @param {Model} model @param {Patient} patient @param {any} memory */
function read(model, patient, memory) {
  const last = memory.read;
  const same = last?.model === model && `${last.patient.static}` === `${patient.static}`;
  const stays = (/** @type {number} */ k) =>
    last.patient.day[k] === patient.day[k] &&
    `${last.patient.codes[k]}` === `${patient.codes[k]}` &&
    `${last.patient.measurements?.[k]}` === `${patient.measurements?.[k]}`;
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

/** What is remembered when each visit is about to be read, from either side. @param {Model} model @param {Result} result */
const memoriesOf = ({ layers }, { states }) =>
  states.map((_, k) => (layers.length === 1 ? [states[k - 1]] : [states[k - 1]?.both?.[0], states[k + 1]?.both?.[1]]));

/** The record so far: the visits to `k`, this one with other codes. @param {Patient} patient @param {number} k @param {number[]} codes */
const soFar = (patient, k, codes) => ({
  ...patient,
  codes: [...patient.codes.slice(0, k), codes],
  day: patient.day.slice(0, k + 1),
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
 * @param {Record<string, number>} reads @param {any} world @param {any} given
 */
function termsOf(reads, world, given) {
  const { effects, scale, intercepts } = world;
  return [intercepts[0], ...given.why.map((/** @type {any} */ [name]) => scale * effects[name] * reads[name])];
}

/** The record without each of the codes of a visit, to that visit. @param {Patient} patient @param {number} visit @returns {[number, Patient][]} */
const eachLeftOut = (patient, visit) =>
  patient.codes[visit].map((code) => [
    code,
    soFar(
      patient,
      visit,
      patient.codes[visit].filter((one) => one !== code),
    ),
  ]);

/** All that a model says of a record. @param {Model} model @param {Patient} patient @param {any} state @param {any} memory */
export function said(model, patient, { visit, observed }, memory) {
  const result = read(model, patient, memory);
  const memories = memoriesOf(model, result);
  const hazard = allTogether(result.hazard);
  const known_then =
    model.layers.length === 1
      ? hazard
      : hazard.map((_, k) => hazardAfter(model, visitVector(model, patient, k), [memories[k][0]]));
  const moved = hazard.map((risk, k) => Math.abs(risk - known_then[k]));
  return {
    hazard,
    cause_hazard: result.hazard,
    survival: survival(hazard),
    incidence: cumulativeIncidence(result.hazard),
    nll: recordNll(result.logits, observed),
    push: result.hazard.map(([risk], k) => risk - Number(observed && k === hazard.length - 1)),
    without: eachLeftOut(patient, visit).map(([code, other]) => [
      code,
      hazardAfter(model, visitVector(model, other, visit), memories[visit]),
    ]),
    known_then,
    most_moved: Math.max(...moved),
    moved_visit: moved.indexOf(Math.max(...moved)),
  };
}

/** Every number on show. @param {Play} state @param {any} given */
export function out(state, given) {
  const { visit, observed } = state;
  const named = nameOf(state, given);
  const model = modelOf(state, given);
  const patient = patientOf(state, given);
  const known = (!named && model.reads?.(state)) || patient.static; // of the reader's own model
  const learned = said(model, { ...patient, static: known }, state, keptFor(given));
  const world = given.worlds[model.head.bias.length === 1 ? "causal" : "competing"];
  const reads = recall(patient, world);
  const trueSaid = reads.map((one) => logitsOf(one, world));
  const truth = trueSaid.map(causeHazard);
  const true_hazard = allTogether(truth);
  const curve = named && given.curves[named.name];
  const trulyWithout = eachLeftOut(patient, visit).map(([, other]) =>
    sum(causeHazard(logitsOf(recall(other, world)[visit], world))),
  );
  return {
    ...learned,
    true_hazard,
    true_cause_hazard: truth,
    true_survival: survival(true_hazard),
    true_incidence: cumulativeIncidence(truth),
    oracle_nll: recordNll(trueSaid, observed),
    terms: termsOf(reads[visit], world, given),
    without: learned.without.map((row, k) => [...row, trulyWithout[k]]),
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

/** @param {number} code @param {any} given */
const called = (code, given) => (given.readable ?? readable)(given.codes[code]);

/** @param {number} learned @param {number} [truth] */
const both = (learned, truth) => `${percent(learned)} learned${truth === undefined ? "" : `, ${percent(truth)} true`}`;

const SPANS = Array.from({ length: 28 }, (_, k) => Math.round(30 * 1.25 ** k));
const TICKS = [7, 14, 30, 60, 90, 120, 180, 365, 730, 1095, 1825, 3650];
const DECADES = [1e-4, 1e-3, 1e-2, 0.1, 1];
const ROUNDING = 1e-9;

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
  let before = -Infinity;
  return [...places.keys()].filter((k) => {
    const fits = places[k] - before >= 24; // the others do not depend on which is chosen: they stay on screen
    if (fits) before = places[k];
    return k === chosen || (fits && Math.abs(places[k] - places[chosen]) >= 24);
  });
}

// ------------------------------------------------------------------------------------------- what the last change did

/**
 * @typedef {{ words: string, goesOn?: boolean, added?: number, removed?: number, other?: boolean }} Change
 *   `goesOn`: the next of the same words is the same change going on, as in a drag; `other`: nothing stays comparable
 */

const PARTS = ["measured", "static", "day", "codes", "age", "female", "observed", "epoch", "model"];

/** @type {Record<string, string>} */
const WORDS = {
  model: "another model",
  epoch: "the epochs trained",
  measured: "a measurement",
  static: "what is known from the start",
  age: "the age",
  female: "the sex",
  observed: "how the record ends",
};

/** What differs from one state to the next, if any number can. @param {any} old @param {any} now @param {any} given @returns {Change | null} */
export function changeOf(old, now, given) {
  const words = JSON.stringify;
  const unlike = PARTS.filter((part) => words(old[part]) !== words(now[part]));
  const [part] = unlike.slice(-1);
  if (!part) return null;
  if (part === "model" || (unlike.length === 1 && part in WORDS))
    return { words: WORDS[part], goesOn: part === "epoch" || part === "age" };
  const other = { words: "another patient", other: true };
  if (part in WORDS) return other;
  const without = (/** @type {any} */ { codes, visit }) => words(codes.toSpliced(visit, 1));
  const more = now.day.length - old.day.length;
  if (more === 1 && without(now) === words(old.codes)) return { words: `visit ${now.visit} added`, added: now.visit };
  if (more === -1 && without(old) === words(now.codes))
    return { words: `visit ${old.visit} deleted`, removed: old.visit };
  const [k, ...rest] = [...now.day.keys()].filter((j) => now.day[j] !== old.day[j] || now.codes[j] !== old.codes[j]);
  if (more || rest.length) return other;
  const [then, today] = [codesOf(old.codes[k]), codesOf(now.codes[k])];
  const [code, another] = [...then, ...today].filter((one) => !then.includes(one) || !today.includes(one));
  if (!code) return { words: `visit ${k} moved`, goesOn: true };
  const on = today.includes(code) ? "on" : "off";
  return { words: another ? `the codes of visit ${k}` : `${called(code, given)} ${on} at visit ${k}` };
}

/** The hazard that each visit had before the change; none for one that is new. @param {Change} change @param {number[]} before @param {number[]} now */
export const atSameVisit = ({ added = Infinity, removed = Infinity }, before, now) =>
  now.map((_, k) => (k === added ? undefined : before[k > added ? k - 1 : k >= removed ? k + 1 : k]));

/** How many visits from the first kept their hazards, and after which visit one moved most. @param {(number | undefined)[]} before @param {number[]} now */
export function traceOf(before, now) {
  const factors = now.map((p, k) => Math.abs(Math.log(p / (before[k] ?? p))));
  const stay = now.findIndex((p, k) => before[k] === undefined || Math.abs(p - before[k]) > ROUNDING);
  const most = Math.max(...factors);
  return { stay: stay < 0 ? now.length : stay, most: most > ROUNDING ? factors.indexOf(most) : null };
}

/**
 * What to draw beside the state on show, and what Undo goes back to. A change that goes on is one change.
 * @param {any} memory @param {Play} state @param {Shown} numbers @param {any} given
 */
export function follow(memory, state, numbers, given) {
  if (memory.away) return; // a figure of other codes is in the place of this one
  const old = memory.shown;
  memory.past ??= [];
  memory.shown = { state, hazard: numbers.hazard };
  const change = old && changeOf(old.state, state, given);
  const { undoing } = memory;
  memory.undoing = false;
  if (!change) return;
  const goesOn = !undoing && change.goesOn && memory.change?.words === change.words;
  if (undoing) change.words = `undone: ${change.words}`;
  else if (!goesOn) memory.past = [...memory.past.slice(-99), old.state];
  if (!goesOn) memory.before = change.other ? null : old;
  memory.change = change;
}

/** The hazards before the last change, visit by visit of now, and what it did to them. @param {any} memory @param {Shown} numbers */
function beforeOf({ before, change }, { hazard }) {
  if (!before) return null;
  const was = atSameVisit(change, before.hazard, hazard);
  const { stay, most } = traceOf(was, hazard);
  return most === null ? null : { ...before.state, hazard: before.hazard, was, stay, most };
}

/** What the last change did, in words. @param {any} memory @param {any} numbers */
export const effect = (memory, numbers) =>
  h("p", { class: "whole effect" }, effectOf(memory, numbers, beforeOf(memory, numbers)));

/** @param {any} memory @param {any} numbers @param {ReturnType<typeof beforeOf>} before */
function effectOf({ change }, { hazard }, before) {
  if (!change) return "Nothing changed yet. What you change is compared with what was: dotted in the picture.";
  if (change.other) return "Another patient.";
  const words = `Your last change: ${change.words}. `;
  if (!before) return `${words}No learned hazard has moved.`;
  const { was, stay, most } = before;
  const head = stay
    ? `Learned hazards after visit${stay > 1 ? `s 0 to ${stay - 1}` : " 0"}: unchanged; after visit `
    : "Learned hazard after visit ";
  return `${words}${head}${most}: ${percent(was[most])} → ${percent(hazard[most])}${hazard.length - stay > 1 ? ", the most" : ""}.`;
}

/**
 * The same tree while nothing that it shows changes: it is then not made again, nor compared with the screen.
 * @param {any} memory @param {string} name @param {any[]} parts what it shows @param {() => any} make
 */
export function same(memory, name, parts, make) {
  const trees = (memory.trees ??= {});
  const old = trees[name]?.parts;
  const stays = old?.length === parts.length && parts.every((part, k) => part === old[k]);
  return (stays ? trees[name] : (trees[name] = { parts, tree: make() })).tree;
}

/** Without true hazards, what a model alone says. @param {any} state @param {any} numbers @param {Ui} ui @param {any} given */
export function picture(state, numbers, ui, given) {
  const { day, codes, visit, observed } = state;
  const { width, narrow } = ui;
  const { hazard, true_hazard, known_then, incidence, true_incidence, push } = numbers;
  const memory = keptFor(given);
  const { drawn } = memory; // the same picture, while the rest of the figure catches up
  if (drawn?.numbers === numbers && drawn.width === width && drawn.handle === ui.handle) return drawn.tree;
  if (ui.live) follow(memory, state, numbers, given);
  const before = ui.live ? beforeOf(memory, numbers) : null;
  const last = day.length - 1;
  const span = spanOf(state, memory);
  const left = narrow ? 58 : 186;
  const tail = narrow ? 40 : 60;
  const scale = (width - 12 - tail - left) / span;
  /** @type {(days: number) => number} */
  const x = (days) => tenth(left + 8 + days * scale);
  const edgesOf = (/** @type {number[]} */ days) => [...days.map(x), x(days[days.length - 1]) + tail - 14];
  /** @type {number[]} */
  const places = day.map(x);
  const edges = edgesOf(day);
  const end = edges[last + 1];
  const here = places[visit];
  const byCause = numbers.cause_hazard[0].length > 1;
  const leaks = numbers.most_moved > ROUNDING;
  const firstCause = numbers.cause_hazard.map((/** @type {number[]} */ [risk]) => risk);

  const lines = [
    ["learned", "learned", hazard],
    true_hazard && ["true", "true", true_hazard],
    byCause && ["one", "cause 1", firstCause],
    leaks && ["then", "known then", known_then],
    before && ["before", "before", before.was],
  ].filter((line) => line);
  const top = narrow ? (lines.length > 4 ? 86 : 68) : 10;
  const floor = top + 108;
  const stairs = floor + (narrow ? 56 : 38);
  const foot = stairs + 64;
  const pushes = foot + (narrow ? 58 : 46);
  const line = pushes + 40;
  const raster = line + 26;
  const used = [...new Set(codes.flatMap(codesOf))].sort((a, b) => a - b);
  const high = narrow ? 30 : 20;
  const many = 4 * Math.ceil(Math.max(used.length, 1) / 4); // with room for some more, so that the page seldom moves
  const rowAt = (/** @type {number} */ row) => raster + high * row + (narrow ? 20 : 8);
  const rowOf = (/** @type {number} */ code) => rowAt(used.indexOf(code));
  const bottom = raster + high * many;
  const up = (/** @type {number} */ p) => tenth(floor - 27 * Math.log10(1e4 * Math.max(p, 1e-4)));
  const down = (/** @type {number} */ s) => tenth(stairs + 64 * (1 - s));

  const steps = (/** @type {any[]} */ values, /** @type {(value: number) => number} */ y, edge = edges) =>
    `M${edge[0]} ${values.map((value, k) => `${k ? "V" : ""}${y(value)}H${edge[k + 1]}`).join("")}`;
  const curve = (/** @type {any} */ kind, /** @type {string} */ d, /** @type {any} */ term = undefined) =>
    h("path", { class: kind, "data-term": term, d });
  /** Between two stairs. @param {string} kind @param {number[]} upper @param {number[]} lower */
  const between = (kind, upper, lower) => {
    const back = lower.map((s, k) => `V${down(s)}H${edges[k]}`).reverse();
    return curve(`area ${kind}`, `${steps(upper, down)}${back.join("")}Z`);
  };
  const rung = (/** @type {number} */ share, /** @type {number} */ y) => [
    h("path", { class: "grid", d: `M${left} ${y}H${width}` }),
    text(left - 6, y + 4, `${share === 1e-4 ? "≤" : ""}${100 * share}%`, "quiet end"),
  ];
  /** In the margin, or where there is none, above. @param {number} k @param {number} y */
  const beside = (k, y) => (narrow ? [(k % 2) * 164, y + 18 * (k >> 1)] : [0, y + 18 * k]);
  /** @param {number[]} at @param {any} words @param {any} [kind] */
  const say = ([at, y], words, kind) => text(at, y, words, kind);
  const size = last > 24 ? (narrow ? 3 : 5) : narrow && last > 12 ? 5 : 8;
  const marks = (/** @type {number[]} */ visits, /** @type {string} */ kind) =>
    stamp(
      visits.flatMap((k) => codesOf(codes[k]).map((code) => [places[k] - size / 2, rowOf(code) - 4])),
      `h${size}v8h-${size}z`,
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
  const one = (/** @type {number[][]} */ had) => had.map(([share]) => 1 - share);
  const really = true_incidence?.[last];
  const ended = byCause
    ? incidence[last].map((/** @type {number} */ share, /** @type {number} */ c) => [
        ["first", "second"][c],
        `cause ${c + 1} ${percent(share)}${really ? `, true ${percent(really[c])}` : ""}`,
      ])
    : [
        [null, `learned ${percent(numbers.survival[last])}`],
        [null, really ? `true ${percent(numbers.true_survival[last])}` : ""],
      ];
  const rows = used.map((code) => [code, rowOf(code), codesOf(codes[visit]).includes(code)]);
  const tree = canvas(
    width,
    bottom + 50,
    // First, because a handle that has the focus goes at no cost while nothing else has changed.
    h("path", { class: "axis", d: `M${places[0]} ${line}H${places[last]}` }),
    h("path", { class: "axis open", d: `M${places[last]} ${line}H${end - (observed ? 0 : 4)}` }),
    observed ? eventMark(end, line) : censoredMark(end + 4, line),
    h("g", null, visitHandles(state, numbers, ui, given, { places, line, scale, span, left })),
    h("path", { class: "axis", d: `M${here} ${line + 11}V${bottom}` }),
    rect(here, top - 4, Math.max(edges[visit + 1] - here, 1), line - top - 20, "band"),
    h(
      "g",
      { onclick: pick },
      rect(left, top - 4, width - left, line - top - 20, "hit"),
      same(memory, "scales", [width, top], () =>
        h(
          "g",
          null,
          DECADES.map((p) => rung(p, up(p))),
          [0, 1].map((s) => rung(s, down(s))),
          h("path", { class: "axis", d: `M${left} ${pushes}H${width}` }),
          text(0, stairs - (narrow ? 31 : -4), "survival S", "survived name"),
        ),
      ),
      h("text", { class: "hazard name", x: 0, y: narrow ? 12 : top + 4, "data-term": "hazard" }, "hazard h"),
      text(narrow ? 64 : 0, narrow ? 12 : top + 22, `after visit ${visit}, day ${day[visit]}`, "quiet"),
      h(
        "g",
        null,
        lines.map(([kind, words, values], k) => {
          const [at, y] = beside(k, narrow ? 32 : top + 42);
          const moved = kind === "then" && Math.abs(values[visit] - hazard[visit]) > ROUNDING;
          const said = values[visit] === undefined ? "–" : percent(values[visit]);
          return [
            stamp([[at, y - 4]], "h24", kind),
            h(
              "text",
              { class: moved && "wrong", x: at + 30, y, "data-term": kind === "true" && "true" },
              `${moved ? "✗ " : ""}${words} ${said}`,
            ),
          ];
        }),
      ),
      curve("before", before ? steps(before.hazard, up, edgesOf(before.day)) : ""),
      true_hazard && curve("true", steps(true_hazard, up), "true"),
      curve("learned", steps(hazard, up), "hazard"),
      curve("one", byCause ? steps(firstCause, up) : ""),
      curve("then", leaks ? steps(known_then, up) : ""),
      text(
        width,
        stairs - (narrow ? 31 : 10),
        `${narrow ? "NLL" : "this record costs"} ${numbers.nll.toFixed(4)}${really ? `, oracle ${numbers.oracle_nll.toFixed(4)}` : ""}`,
        "end",
      ),
      ended.map((/** @type {any} */ [kind, words], /** @type {number} */ k) => {
        const [at, y] = beside(k, stairs + (narrow ? -11 : 24));
        const side = kind ? 10 : 0;
        return [rect(at, y - 10, side, side, `area ${kind}`), text(at + 1.6 * side, y, words, byCause && "small")];
      }),
      // Each in its own place, so that no element is made anew because one before it came or went.
      h(
        "g",
        null,
        byCause && [
          between("second", one(incidence), numbers.survival),
          between(
            "first",
            hazard.map(() => 1),
            one(incidence),
          ),
          really && curve("true edge", steps(one(true_incidence), down)),
        ],
      ),
      really && curve("true s", steps(numbers.true_survival, down)),
      curve("learned s", steps(numbers.survival, down)),
      h(
        "text",
        { class: "name", x: 0, y: narrow ? foot + 28 : pushes - 10, "data-term": "push" },
        `push ${pushOf(numbers)}`,
      ),
      text(
        narrow ? width : 0,
        narrow ? foot + 28 : pushes + 8,
        `after visit ${visit}: ${minus(push[visit].toFixed(4))}`,
        narrow ? "quiet end" : "quiet",
      ),
      arrows(push, edges, pushes),
    ),
    same(memory, "names", [width, line, many, ...rows.flat()], () =>
      h(
        "g",
        null,
        h("path", {
          class: "grid",
          d: Array.from({ length: many }, (_, k) => `M${left} ${rowAt(k)}H${width}`).join(""),
        }),
        rows.map(([code, y, on]) =>
          text(0, Number(y) + (narrow ? -8 : 4), called(Number(code), given), on ? "code name" : "code"),
        ),
        !rows.length && text(0, raster + 12, "no code recorded", "code quiet"),
      ),
    ),
    marks(
      [...day.keys()].filter((k) => k !== visit),
      "quiet",
    ),
    marks([visit], "ink"),
    h(
      "g",
      { transform: `translate(0 ${bottom})` },
      same(memory, "days", [width, span], () =>
        h(
          "g",
          null,
          text(left - 6, 18, "day", "quiet end small"),
          Array.from({ length: Math.floor(span / days) + 1 }, (_, k) =>
            text(x(k * days), 18, k * days, "quiet middle small"),
          ),
          text(0, 44, given.caution ?? "Synthetic data, not medical advice.", "quiet"),
        ),
      ),
    ),
  );
  memory.drawn = { numbers, width, handle: ui.handle, tree };
  return tree;
}

/** @param {any} numbers */
export const pushOf = ({ cause_hazard }) => (cause_hazard[0].length > 1 ? "h₁ − y₁" : "h − y");

/** @param {number} one @param {number} other */
const longer = (one, other) => (Math.abs(other) > Math.abs(one) ? other : one);

/**
 * @param {any} state @param {any} numbers @param {Ui} ui @param {any} given
 * @param {{ places: number[], line: number, scale: number, span: number, left: number }} where
 */
function visitHandles({ day, codes, visit }, { hazard, true_hazard }, ui, given, { places, line, scale, span, left }) {
  const last = day.length - 1;
  const shown = withRoom(places, visit);
  const hidden = places.flatMap((x, k) => (shown.includes(k) ? [] : [[x, line - 5]]));
  const memory = keptFor(given);
  const now = () => memory.now.state;
  const handles = shown.map((k, place) => {
    const beside = [shown[place - 1], shown[place + 1]].filter((other) => other !== undefined);
    const about = {
      label: `visit ${k}`,
      text: `day ${day[k]}: ${named(codes[k], given)}; hazard after it ${both(hazard[k], true_hazard?.[k])}`,
      value: day[k],
      from: k ? day[k - 1] + 1 : 0,
      to: k === 0 ? 0 : k < last ? day[k + 1] - 1 : LAST_DAY,
      place: k,
      count: day.length,
      stop: k === visit,
      x: places[k],
      y: line,
      width: Math.min(44, ...beside.map((other) => Math.abs(places[other] - places[k]))),
    };
    return same(memory, `handle ${k}`, [...Object.values(about), scale, left, ui.handle], () =>
      ui.handle(
        {
          ...about,
          step: 1,
          page: 30,
          sideways: true,
          group: "visit",
          along: (next) => ui.set({ visit: next }),
          chosen: () => k !== now().visit && ui.set({ visit: k }),
          at: (x) => clamp((x - left - 8) / scale, 0, span),
          set: (value) => ui.set({ day: now().day.with(k, value), visit: k }),
        },
        h("circle", { class: k === visit ? "knob chosen" : "knob", cx: places[k], cy: line, r: 10 }),
        text(places[k], line + 4.5, k, k === visit ? "on middle small" : "middle small"),
      ),
    );
  });
  return [stamp(hidden, "v10", "axis"), handles];
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

/** What each code of the chosen visit changes: each column is one text, which is laid out at once. @param {any} state @param {any} numbers @param {Ui} ui @param {any} given */
export function changes({ visit }, { hazard, true_hazard, without }, { narrow }, given) {
  const far = (/** @type {number[]} */ row) => Math.abs(row[1] - hazard[visit]);
  const rows = [...without].sort((a, b) => far(b) - far(a));
  const all = [[0, hazard[visit], true_hazard?.[visit]], ...rows];
  const most = Math.max(...all.flatMap(([, one, other = 0]) => [one, other]));
  const bars = (/** @type {1 | 2} */ which) =>
    all
      .map(
        (row, k) =>
          `M0 ${(narrow ? 44 * k + 42 : 24 * k + 3) + 6 * which}h${Math.max(1, tenth((180 * row[which]) / most))}`,
      )
      .join("");
  const label = (/** @type {number} */ code) => (code ? `without ${called(code, given)}` : "as recorded");
  const column = (
    /** @type {string} */ kind,
    /** @type {string} */ head,
    /** @type {(row: number[]) => string} */ cell,
  ) => h("p", { class: kind }, [...(kind && narrow ? [] : [head]), ...all.map(cell)].join(narrow ? "\n\n" : "\n"));
  const words = all.map(([code, one, other]) => `${label(code)} ${both(one, other)}`);
  return h(
    "div",
    { class: narrow ? "whole sides narrow" : "whole sides", role: "img", "aria-label": words.join("; ") },
    h("b", null, `Hazard after visit ${visit}, with and without`),
    column("labels", "", ([code]) => label(code)),
    h(
      "svg",
      { width: 190, height: narrow ? 44 * all.length + 22 : 24 * all.length },
      h("path", { class: "learned bar", d: bars(1) }),
      true_hazard && h("path", { class: "true bar", d: bars(2) }),
    ),
    column("", "learned", ([, one]) => percent(one)),
    true_hazard && column("", "true", ([, , other]) => percent(other)),
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

/** @param {any} bits @param {any} given */
export const named = (bits, given) =>
  codesOf(bits)
    .map((code) => called(code, given))
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

const GROUPS = /** @type {[string, number, number][]} */ ([
  ["Conditions", 1, 10],
  ["Acute", 11, 16],
  ["Drugs", 17, 23],
  ["Other", 24, 29],
]);

/** The diagnoses and drugs of the chosen visit. @param {number} bits @param {any} given */
function recorded(bits, given) {
  const memory = keptFor(given);
  const flip = (/** @type {number} */ code) => (/** @type {any} */ event) => {
    const { state, ui } = memory.now;
    const top = () => event.target.getBoundingClientRect().top;
    const before = top();
    ui.set({ codes: state.codes.with(state.visit, state.codes[state.visit] ^ (1 << (code - 1))) });
    const moved = top() - before; // another row in the picture above it; it stays under the hand
    if (moved) scrollBy({ top: moved, behavior: "instant" });
  };
  const one = (/** @type {number} */ code) =>
    h(
      "label",
      { class: "toggle" },
      h("input", { type: "checkbox", checked: codesOf(bits).includes(code), onchange: flip(code) }),
      h("span", null, called(code, given)),
    );
  return h(
    "div",
    { class: "codes" },
    GROUPS.map(([group, first, until]) =>
      h(
        "fieldset",
        null,
        h("legend", null, group),
        Array.from({ length: until - first + 1 }, (_, k) => one(first + k)),
      ),
    ),
  );
}

/** A visit after the chosen one, with a check-up. @param {any} state @param {any} [fresh] its codes */
export function added({ day, codes, visit }, fresh = 1 << 23) {
  const next = visit + 1;
  const at = next < day.length ? Math.floor((day[visit] + day[next]) / 2) : Math.min(day[visit] + 60, LAST_DAY);
  const fits = day.length < MOST_VISITS && at > day[visit];
  return fits ? { day: day.toSpliced(next, 0, at), codes: codes.toSpliced(next, 0, fresh), visit: next } : null;
}

/** The record without the chosen visit; the first that is left is day 0. @param {any} state */
export function removed({ day, codes, visit }) {
  if (day.length === 1) return null;
  const left = day.toSpliced(visit, 1);
  return {
    day: left.map((/** @type {number} */ one) => one - left[0]),
    codes: codes.toSpliced(visit, 1),
    visit: Math.min(visit, left.length - 1),
  };
}

/** A file opened or a program copied: what that takes is loaded then. @param {"open" | "copy"} what @param {any} event @param {any} given */
async function beyond(what, event, given) {
  const memory = keptFor(given);
  const { currentTarget } = event; // gone later
  try {
    await (await import("./own_model.js"))[what](currentTarget, memory, given);
  } catch (error) {
    memory.said = `That did not work: ${/** @type {any} */ (error).message}.`;
  }
  memory.now.ui.set({});
}

/** Above the picture: whose record it is and who reads it. @param {Play} state @param {Ui} ui @param {any} given */
function above(state, ui, given) {
  const memory = keptFor(given);
  const set = (/** @type {any} */ change) => memory.now.ui.set(change);
  const sample = sampleOf(state, given);
  return [
    same(memory, "samples", [sample], () =>
      choice({
        legend: "Patient",
        options: given.samples.map((/** @type {any} */ { name }, /** @type {number} */ k) => [k, name]),
        value: sample,
        set: (k) => set(given.samples[k].state),
      }),
    ),
    h("p", { class: "whole story" }, told(state, sample, given)),
    same(memory, "models", [state.model], () =>
      choice({
        legend: "Model",
        options: [
          ["causal", "reads the past"],
          ["bidirectional", "reads ahead, too"],
          ["competing", "two causes"],
          ["mine", "yours"],
        ],
        value: state.model,
        set: (model) => set({ model }),
      }),
    ),
  ];
}

/**
 * To choose a visit, to add one and to delete it, and to go back.
 * @param {any} memory @param {(state: any) => any} more @param {(state: any) => any} fewer what changes then, if any can
 */
export function visitRow(memory, more, fewer) {
  const now = () => memory.now.state;
  const set = (/** @type {any} */ change) => memory.now.ui.set(change);
  const undo = () => {
    const past = memory.past.at(-1);
    memory.past = memory.past.slice(0, -1);
    memory.undoing = true;
    set(past);
  };
  const { visit, day } = now();
  const [noMore, noFewer] = [!more(now()), !fewer(now())];
  const lost = noMore && full(now());
  const nothing = !memory.past?.length;
  return same(memory, "visits", [visit, day[visit], day.length, lost, noFewer, nothing], () =>
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
        set: (value) => set({ visit: value }),
      }),
      button("Add a visit", () => set(more(now()) ?? {}), noMore),
      button("Delete this visit", () => set(fewer(now()) ?? {}), noFewer),
      button("Undo", undo, nothing),
      lost && h("span", { class: "quiet" }, `No visit fits in: ${lost}.`),
    ),
  );
}

/** How the record ends. @param {any} memory @param {boolean} observed @param {boolean} byCause */
export const ending = (memory, observed, byCause) =>
  same(memory, "end", [observed, byCause], () =>
    choice({
      legend: "The record ends with",
      options: [
        [true, byCause ? "the event, of cause 1" : "the event"],
        [false, "censoring"],
      ],
      value: observed,
      set: (value) => memory.now.ui.set({ observed: value }),
    }),
  );

/** @param {Play} state @param {Shown} numbers @param {Ui} ui @param {any} given */
function controls(state, numbers, ui, given) {
  const { codes, visit, age, female, observed, epoch, model } = state;
  const memory = keptFor(given);
  const which = nameOf(state, given);
  const { name, epoch: epochs } = which ?? {};
  const { later = (_, make) => make() } = ui;
  // What reacts asks for the state of then: these trees stay while what they show does.
  const set = (/** @type {any} */ change) => memory.now.ui.set(change);
  memory.now = { state, ui };
  return later("controls", () => [
    visitRow(memory, added, removed),
    same(memory, "toggles", [codes[visit]], () => recorded(codes[visit], given)),
    effect(memory, numbers),
    changes(state, numbers, ui, given),
    why(state, numbers, given),
    same(memory, "age", [age], () =>
      range({
        label: "age",
        value: age,
        from: 35,
        to: 85,
        step: 1,
        spoken: `${age} years`,
        set: (value) => set({ age: value }),
      }),
    ),
    same(memory, "sex", [female], () =>
      toggle({ label: "woman", checked: female, set: (checked) => set({ female: checked }) }),
    ),
    ending(memory, observed, model === "competing"),
    same(memory, "training", [epoch, name, epochs], () => {
      const trained = range({
        label: "epochs trained",
        value: epoch,
        from: 0,
        to: given.epochs.length - 1,
        step: 1,
        text: which ? `${epochs}${name === "causal" ? "" : ", kept at the end alone"}` : "–",
        spoken: which ? `after ${epochs} epochs` : "not known for your model",
        set: (value) => set({ epoch: value }),
      });
      /** @type {any} */ (trained.children[1]).attributes.disabled = name !== "causal"; // the others have one epoch
      return h("div", { class: "whole row" }, trained, which && losses(numbers, which.name, given));
    }),
    same(memory, "files", [], () => [
      h(
        "span",
        { "data-beside": "" },
        h(
          "button",
          { type: "button", onclick: (/** @type {any} */ event) => beyond("copy", event, given) },
          "Copy for Python",
        ),
      ),
      h(
        "label",
        { class: "file", "data-beside": "" },
        h("span", null, "Load your model"),
        h("input", {
          type: "file",
          accept: ".safetensors",
          onchange: (/** @type {any} */ event) => beyond("open", event, given),
        }),
      ),
    ]),
    h(
      "p",
      { class: "whole story", role: "status" },
      model === "mine" &&
        !given.mine &&
        "No model of yours is loaded: this one reads the past. Load yours again. A record with codes of its own is in no address. ",
      memory.said,
    ),
    memory.snippet && h("pre", { class: "whole", tabindex: 0 }, memory.snippet(state, numbers)),
  ]);
}

/** Why no visit fits after the chosen one. @param {Play} state */
const full = ({ day, visit }) =>
  day.length >= MOST_VISITS
    ? `a record has ${MOST_VISITS} at most`
    : visit < day.length - 1
      ? "the next one is a day later"
      : `day ${LAST_DAY} is the last`;

// --------------------------------------------------------------------------------------------------------- the figure

/** @param {any} state @param {any} numbers @param {any} given */
export function sentence(state, numbers, given) {
  const { day, codes, visit, observed, model } = state;
  const { hazard, true_hazard, known_then, most_moved, moved_visit: k } = numbers;
  const truth = true_hazard ? ` and ${percent(true_hazard[visit])} true` : "";
  const oracle = true_hazard ? `; with the true hazards ${numbers.oracle_nll.toFixed(4)}` : "";
  const risk = `the hazard is ${percent(hazard[visit])} learned${truth}. `;
  const leak =
    most_moved > ROUNDING
      ? `✗ Wrong: a later visit moved an earlier hazard. After visit ${k} this model says ${percent(hazard[k])}, and from the record up to it ${percent(known_then[k])}. `
      : "";
  return (
    `Visit ${visit} of 0 to ${day.length - 1}, day ${day[visit]}: ${named(codes[visit], given)}. After it ${risk}${leak}` +
    `The record ends with ${observed ? "the event" : "censoring"} and costs ${numbers.nll.toFixed(4)}${oracle}.` +
    (model === "mine" && !given.mine ? " No model of yours is loaded: this one reads the past." : "")
  );
}

/** @type {import("./kit.js").Figure} */
export const figure = {
  name: "playground",
  waits: true,
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
  above: (state, _, ui, given) => above(/** @type {Play} */ (state), ui, given),
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
.picture, .above, .lines, .sentence, .whole { contain: layout style; }
.band { fill: var(--vw-panel, #f6f7f9); }
.true { fill: none; stroke: var(--vw-hazard, #c2410c); stroke-width: 3; stroke-opacity: 0.45; }
.learned { fill: none; stroke: var(--vw-hazard, #c2410c); stroke-width: 2; stroke-dasharray: 5 3; }
.then { fill: none; stroke: var(--vw-ink, #1b1f24); stroke-width: 2; stroke-dasharray: 1 3; }
.before { fill: none; stroke: var(--vw-muted, #5b6470); stroke-width: 1.5; stroke-dasharray: 1.5 2.5; }
.s { stroke: var(--vw-survival, #1166cc); }
.bar { stroke-width: 4; }
.one { fill: none; stroke: var(--vw-event-probability, #522b64); stroke-width: 2; stroke-dasharray: 5 3; }
.area { stroke: none; fill-opacity: 0.35; }
.first { fill: var(--vw-event-probability, #522b64); }
.second { fill: var(--vw-muted, #5b6470); }
.edge { stroke: var(--vw-event-probability, #522b64); }
.push { fill: none; stroke-width: 2.5; }
.rises { stroke: var(--vw-hazard, #c2410c); }
.falls { stroke: var(--vw-survival, #1166cc); }
.open { stroke-dasharray: 3 3; }
.ink, .knob.chosen { fill: var(--vw-ink, #1b1f24); }
.fall { fill: none; stroke: var(--vw-ink, #1b1f24); stroke-width: 2; }
.oracle { fill: none; stroke: var(--vw-ink, #1b1f24); stroke-width: 3; stroke-opacity: 0.45; }
.small, .code { font-size: 12px; }
.code { paint-order: stroke; stroke: var(--vw-page, #fff); stroke-width: 4; }
.whole, .codes { flex: 1 1 100%; }
.codes { display: grid; gap: 6px; border: 1px solid var(--vw-line, #d5d9df); border-radius: 4px; padding: 8px 12px; }
.codes fieldset { position: relative; display: flex; flex-wrap: wrap; gap: 0 14px; padding-left: 6.6em; }
.codes legend { position: absolute; left: 0; top: 5px; }
.effect { min-height: 3em; }
.above .story { min-height: 4.5em; }
.sides { display: grid; grid-template-columns: 268px 200px 4.5em 4.5em; gap: 0 10px; white-space: pre; line-height: 24px; }
.sides b { grid-column: 1 / -1; }
.sides p { text-align: right; }
.sides .labels { text-align: left; }
.sides svg { margin-top: 24px; }
.sides.narrow { grid-template-columns: 190px 1fr 1fr; line-height: 22px; }
.narrow svg, .narrow p { grid-row: 2; margin: 0; }
.narrow .labels { grid-column: 1 / -1; margin-top: 22px; }
.narrow svg { grid-column: 1; }
ul { display: grid; grid-template-columns: 1fr 1fr; column-gap: 20px; margin: 4px 0 0; padding: 0; list-style: none; }
li.quiet { color: var(--vw-muted, #5b6470); }
.row { display: flex; flex-wrap: wrap; gap: 8px 20px; align-items: center; }
.file { position: relative; border: 1px solid var(--vw-muted, #5b6470); border-radius: 4px; padding: 2px 12px; cursor: pointer; }
.file input { position: absolute; inset: 0; width: 100%; opacity: 0; cursor: pointer; }
.file:focus-within { outline: 3px solid var(--vw-survival, #1166cc); outline-offset: 2px; }
[role="status"]:empty { display: none; }
pre { overflow: auto; max-height: 24em; margin: 0; padding: 8px 12px; background: var(--vw-panel, #f6f7f9); font-size: 13px; line-height: 1.4; }
@media (max-width: 600px) { .codes fieldset { padding: 28px 0 0; } ul { grid-template-columns: 1fr; } .effect { min-height: 4.5em; } .above .story { min-height: 10.5em; } }
`,
};

export default host(figure);
