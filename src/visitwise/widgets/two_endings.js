// Figure 2: one record with two endings, three rules for its last row, and the hazard that each rule learns.

import { canvas, censoredMark, choice, eventMark, h, host, levels, range, rect, rounded, stamp, text } from "./kit.js";
import { eventNll, sum, survivedNll } from "./functional.js";

/** @typedef {"likelihood" | "drop" | "twice"} Rule how the last row counts */
/** @typedef {{ hazards: number[], ending: string, convention: Rule, truth: number, dropout: number }} Endings */
/** @typedef {{ patients: number, events: number[][], rows: number[][] }} Cohorts by dropout, then by true hazard */

/** @param {Rule} rule @param {number[]} hazard @param {boolean} observed */
export function rowNll(rule, hazard, observed) {
  const last = hazard[hazard.length - 1];
  const censored = rule === "drop" ? 0 : survivedNll(last);
  const event = rule === "twice" ? eventNll(last) + survivedNll(last) : eventNll(last);
  return [...hazard.slice(0, -1).map(survivedNll), observed ? event : censored];
}

/** @param {number} patients @param {number} events @param {number} rows */
export const rowsCounted = (patients, events, rows) => ({
  likelihood: rows,
  drop: rows - (patients - events),
  twice: rows + events,
});

/** @param {Endings} state @param {Cohorts} given */
export function out({ hazards, ending, convention, truth, dropout }, given) {
  const each = (/** @type {(rule: Rule) => any} */ make) => Object.fromEntries(ALL.map((rule) => [rule, make(rule)]));
  const events = given.events[Math.round(10 * dropout)];
  const rows = given.rows[Math.round(10 * dropout)];
  const here = Math.round(20 * truth) - 1;
  const costs = each((rule) => rowNll(rule, hazards, ending === "event"));
  const losses = each((rule) => sum(costs[rule]));
  const learned = each((rule) => events.map((d, k) => d / rowsCounted(given.patients, d, rows[k])[rule]));
  return {
    costs,
    losses,
    nll: losses[convention],
    events: events[here],
    rows: rowsCounted(given.patients, events[here], rows[here]),
    learned,
    estimates: each((rule) => learned[rule][here]),
    estimate: learned[convention][here],
    too_high_by: each((rule) => learned[rule][here] / truth - 1),
  };
}

const RULES = {
  likelihood: {
    name: "the likelihood",
    short: "the likelihood",
    mark: "m-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0",
    code: "events / rows",
  },
  drop: {
    name: "censored row dropped",
    short: "row dropped",
    mark: "m-5 4h10l-5-9z",
    code: "events / (rows - censored)",
  },
  twice: {
    name: "event row counted twice",
    short: "row twice",
    mark: "m-5-4h10l-5 9z",
    code: "events / (rows + events)",
  },
};
const ALL = /** @type {Rule[]} */ (Object.keys(RULES));
const TICKS = [0.05, 0.1, 0.2, 0.5, 1];
const ROWS = [272, 334, 396];
const LONGER = [0.1, 0.2, 0.3, 0.2, 0.2, 0.2]; // of a record made longer

const fixed = (/** @type {number} */ number, digits = 3) => number.toFixed(digits);
const counted = new Intl.NumberFormat("en-US").format;
const percent = (/** @type {number} */ share) => `${Math.round(100 * share)}%`;
const off = (/** @type {number} */ share) =>
  Math.abs(share) < 0.01 ? "less than 1% off" : `${percent(Math.abs(share))} too ${share > 0 ? "high" : "low"}`;

/** @param {Endings} state @param {any} numbers @param {import("./kit.js").Ui} ui @param {number} width */
function recordOf({ hazards, ending, convention }, numbers, ui, width) {
  const last = hazards.length - 1;
  const event = ending === "event";
  const column = (width - 42) / 6;
  const edge = (/** @type {number} */ k) => 28 + k * column;
  const up = (/** @type {number} */ p) => 150 - 116 * p;
  const end = edge(last + (event ? 0.5 : 1)) - (event ? 0 : 8);
  const term = (/** @type {number} */ k) => (k < last ? "survived" : ending);
  const wrong = event ? 2 : 1;
  /** @param {number[]} intervals @param {number[]} heights @param {string} kind */
  const cells = (intervals, heights, kind) => {
    const places = intervals.flatMap((k) => heights.map((y) => [k, y]));
    return [
      stamp(
        places.map(([k, y]) => [edge(k) + 1, y]),
        `h${column - 2}v26h${2 - column}z`,
        kind,
      ),
      places.map(([k, y]) =>
        text(
          edge(k + 0.5),
          y + 18,
          fixed(kind === "hazard" ? hazards[k] : 1 - hazards[k], 2),
          `middle ${kind === "padding" ? "quiet" : "on"}`,
        ),
      ),
    ];
  };
  return [
    text(0, 12, "hazard h of one patient", "hazard name"),
    levels([0, 0.5, 1], 28, width - 14, up),
    hazards.map((hazard, k) => [
      ui.handle(
        {
          label: `hazard after visit ${k}`,
          text: `hazard after visit ${k}: ${percent(hazard)}; ${percent(1 - hazard)} survive it`,
          value: hazard,
          from: 0.01,
          to: 0.99,
          step: 0.01,
          group: "hazard",
          place: k,
          count: last + 1,
          term: term(k),
          x: edge(k + 0.5),
          y: up(hazard),
          width: Math.min(column, 44),
          at: (_, y) => (150 - y) / 116,
          set: (value) => ui.set({ hazards: hazards.with(k, value) }),
        },
        rect(edge(k) + 5, up(hazard), column - 10, 116 * hazard, "hazard"),
        h("rect", { class: "knob", x: edge(k + 0.5) - 12, y: up(hazard) - 3, width: 24, height: 6, rx: 3 }),
        text(edge(k + 0.5), up(hazard) - 8, fixed(hazard, 2), "hazard name middle"),
      ),
      text(edge(k + 0.5), 168, k || "interval 0", "quiet middle"),
    ]),
    ui.handle(
      {
        label: "last interval",
        text: `the record ends with interval ${last}: ${ending}`,
        value: last,
        from: 0,
        to: 5,
        step: 1,
        page: 2,
        x: end,
        y: 196,
        sideways: true,
        term: ending,
        at: (x) => (x - end) / column + last,
        set: (value) => ui.set({ hazards: [...hazards, ...LONGER.slice(last + 1)].slice(0, value + 1) }),
      },
      h("path", { stroke: "currentColor", "stroke-width": 2, d: `M28 196H${end - (event ? 0 : 4)}` }),
      event ? eventMark(end, 196) : censoredMark(end + 4, 196),
    ),
    text(
      last < 3 ? end + 20 : end - 12,
      last < 3 ? 200 : 216,
      event ? "event" : "well at the last call",
      last < 3 ? null : "end",
    ),
    text(8, 238, "probability of each row", "quiet"),
    text(width - 8, 238, "− log of the product", "quiet end"),
    h("rect", {
      class: "chosen",
      x: 1,
      y: ROWS[ALL.indexOf(convention)] - 26,
      width: width - 2,
      height: event && convention === "twice" ? 88 : 58,
      rx: 4,
    }),
    ALL.map((rule, row) => [
      text(8, ROWS[row] - 8, RULES[rule].short, "name"),
      text(
        width - 8,
        ROWS[row] - 8,
        (row === wrong ? "✗ wrong " : "") + fixed(numbers.losses[rule], 6),
        row === wrong ? "end wrong name" : "end",
      ),
    ]),
    h("g", { "data-term": "survived" }, cells([...hazards.keys()].slice(0, -1), ROWS, "survived")),
    h(
      "g",
      { "data-term": ending },
      cells([last], event ? ROWS : [ROWS[0], ROWS[2]], event ? "hazard" : "survived"),
      cells([last], [event ? 425 : ROWS[1]], event ? "wrong" : "padding"),
    ),
    event
      ? text(last < 4 ? edge(last + 1) + 5 : edge(last) - 5, 443, "✗ survived, too", last < 4 ? "wrong" : "wrong end")
      : h("path", { class: "crossed", d: `M${edge(last) + 4} 337l${column - 8} 20m0-20l${8 - column} 20` }),
  ];
}

/** Learned against true hazards. @param {Endings} state @param {any} numbers @param {import("./kit.js").Ui} ui @param {number[]} place @param {Cohorts} given */
function estimatesOf({ convention, truth }, numbers, ui, [left, top, width, height], { patients }) {
  const [from, right, bottom] = [left + 34, left + width - 6, top + height - 52];
  const x = (/** @type {number} */ p) => right - (Math.log(p) / Math.log(0.045)) * (right - from);
  const y = (/** @type {number} */ p) => top + 92 + (Math.log(p) / Math.log(0.04)) * (bottom - top - 92);
  const kind = (/** @type {Rule} */ rule) =>
    `${rule === "likelihood" ? "survived" : "wrong"} ${rule === convention ? "name" : ""}`;
  return [
    text(left, top + 12, `hazard learned from ${counted(patients)} patients`, "name"),
    levels(TICKS, from, right, y),
    TICKS.map((p) => text(x(p), bottom + 22, p, "quiet middle")),
    h("path", { class: "axis", d: `M${x(truth)} ${bottom}V${y(numbers.estimates.drop)}` }),
    ALL.map((rule, row) => [
      h("path", {
        class: `learned ${rule} ${rule === convention ? "bold" : ""}`,
        d: `M${numbers.learned[rule].map((/** @type {number} */ p, /** @type {number} */ k) => `${x(0.05 * (k + 1))} ${y(p)}`).join("L")}`,
      }),
      h("path", {
        class: kind(rule),
        d: `M${x(truth)} ${y(numbers.estimates[rule])}${RULES[rule].mark}M${left + 6} ${top + 30 + 19 * row}${RULES[rule].mark}`,
      }),
      h(
        "text",
        { class: kind(rule), x: left + 17, y: top + 34 + 19 * row, "data-term": "estimate" },
        `${row ? "✗ wrong: " : ""}${RULES[rule].short} ${fixed(numbers.estimates[rule])}`,
      ),
    ]),
    ui.handle(
      {
        label: "true hazard",
        text: `true hazard ${fixed(truth, 2)}; learned ${fixed(numbers.estimate)}`,
        value: truth,
        from: 0.05,
        to: 0.95,
        step: 0.05,
        x: x(truth),
        y: bottom,
        sideways: true,
        term: "estimate",
        at: (place) => 0.045 ** ((right - place) / (right - from)),
        set: (value) => ui.set({ truth: value }),
      },
      h("circle", { class: "knob", cx: x(truth), cy: bottom, r: 8 }),
      text((from + right) / 2, bottom + 42, `true hazard ${fixed(truth, 2)}`, "name middle"),
    ),
  ];
}

/** @param {any} state @param {any} numbers @param {import("./kit.js").Ui} ui @param {Cohorts} given */
function picture(state, numbers, ui, given) {
  const { width, narrow } = ui;
  const half = narrow ? width : width / 2 - 12;
  const height = narrow ? 842 : 462;
  const place = narrow ? [0, 478, width, 364] : [half + 24, 0, half, height];
  return canvas(width, height, recordOf(state, numbers, ui, half), estimatesOf(state, numbers, ui, place, given));
}

/** @type {import("./kit.js").Figure} */
export const figure = {
  name: "two_endings",
  claim: "Leave out the last row of the censored, and every hazard learned comes out too high",
  state: {
    hazards: { start: [0.1, 0.2, 0.3], from: 0.01, to: 0.99, step: 0.01, fewest: 1, most: 6 },
    ending: { start: "censored", among: ["censored", "event"] },
    convention: { start: "drop", among: ["drop", "likelihood", "twice"] },
    truth: { start: 0.1, from: 0.05, to: 0.95, step: 0.05 },
    dropout: { start: 0.1, from: 0, to: 0.5, step: 0.1 },
  },
  mend: (state) => ({ ...state, truth: rounded(state.truth, 0.05), dropout: rounded(state.dropout, 0.1) }),
  out: (state, given) => out(/** @type {Endings} */ (state), given),
  question: (given) => {
    const learned = (/** @type {Rule} */ convention, /** @type {number} */ dropout) =>
      fixed(out({ hazards: [0.5], ending: "event", convention, truth: 0.1, dropout }, given).estimate);
    return {
      question:
        "The true hazard is 0.1, and now half are lost after each interval survived, not 10%. What does the loss learn if it drops the censored row?",
      options: [
        { label: learned("likelihood", 0.5), why: "So says the likelihood, however many are lost." },
        { label: learned("drop", 0.1), why: "That was with 10% lost; now more are censored." },
        { label: learned("drop", 0.5), why: "Most are censored early, and each loses one of few rows." },
        { label: learned("twice", 0.5), why: "Too low is the other mistake, the event's row counted twice." },
      ],
      truth: 2,
    };
  },
  picture,
  controls: ({ ending, convention, dropout }, _, ui) => [
    choice({
      legend: "The record ends",
      options: [
        ["censored", "censored"],
        ["event", "with the event"],
      ],
      value: ending,
      set: (value) => ui.set({ ending: value }),
    }),
    choice({
      legend: "The loss",
      options: ALL.map((rule) => [rule, RULES[rule].name]),
      value: convention,
      set: (value) => ui.set({ convention: value }),
    }),
    range({
      label: "Lost after each interval",
      value: dropout,
      from: 0,
      to: 0.5,
      step: 0.1,
      text: percent(dropout),
      term: "estimate",
      set: (value) => ui.set({ dropout: value }),
    }),
  ],
  lines: ({ hazards, ending, convention }, { costs, losses, events, rows, estimate }) => {
    const survived = (/** @type {number[]} */ some) => some.map((p) => `− log(1 − ${fixed(p, 2)})`).join(" ");
    const [end] = hazards.slice(-1);
    const event = ending === "event";
    const wrong =
      losses[convention] !== losses.likelihood && `, ✗ wrong: ${event ? `${survived([end])} as well` : "left out"}`;
    return [
      {
        term: "survived",
        formula: hazards[1]
          ? `${survived(hazards.slice(0, -1))} = ${fixed(sum(costs.likelihood.slice(0, -1)))}`
          : "no row before the last",
        code: "_survived_nll(hazard_logits.masked_fill(~survived, -torch.inf)).sum(-1)",
      },
      {
        term: ending,
        formula: [
          event
            ? `− log ${fixed(end, 2)} = ${fixed(eventNll(end))}`
            : `${survived([end])} = ${fixed(survivedNll(end))}`,
          wrong,
        ],
        code: event ? "_survived_nll(-last)" : "exposure * _survived_nll(last)",
      },
      {
        term: "estimate",
        formula: `${counted(events)} events / ${counted(rows[convention])} rows = ${fixed(estimate, 4)}`,
        code: RULES[/** @type {Rule} */ (convention)].code,
      },
    ];
  },
  sentence: ({ convention, truth, dropout }, { losses, estimate, too_high_by: by }) =>
    `The patient adds ${fixed(losses.likelihood, 6)} to the likelihood's loss` +
    (convention === "likelihood"
      ? ""
      : `, and ${fixed(losses[convention], 6)} with the ${RULES[/** @type {Rule} */ (convention)].name}`) +
    `. Where the true hazard is ${fixed(truth, 2)} and ${percent(dropout)} of those who survive an interval are then lost, ` +
    `this loss learns ${fixed(estimate, 4)}, ${off(by[convention])}.`,
  table: ({ hazards, ending, truth, dropout }, { costs, losses, estimates, too_high_by: by, events, rows }) => ({
    caption:
      `Hazards ${hazards.map((/** @type {number} */ p) => fixed(p, 2)).join(", ")}, ${ending}. True hazard ${fixed(truth, 2)}, ` +
      `${percent(dropout)} lost after each interval: ${counted(events)} events.`,
    head: ["loss", "cost of each row", "loss of the patient", "rows counted", "hazard learned", "against the truth"],
    rows: ALL.map((rule, row) => [
      (row ? "✗ wrong: " : "") + RULES[rule].name,
      costs[rule].map((/** @type {number} */ cost) => fixed(cost)).join(" + "),
      fixed(losses[rule], 6),
      counted(rows[rule]),
      fixed(estimates[rule], 4),
      off(by[rule]),
    ]),
  }),
  style: `
.chosen { fill: var(--vw-panel, #f6f7f9); stroke: var(--vw-muted, #5b6470); }
.crossed { stroke: var(--vw-wrong, #b3122e); stroke-width: 2; }
.learned { fill: none; stroke: var(--vw-wrong, #b3122e); stroke-width: 1.5; }
.learned.bold { stroke-width: 3; }
.learned.likelihood { stroke: var(--vw-survival, #1166cc); }
.learned.drop { stroke-dasharray: 7 4; } .learned.twice { stroke-dasharray: 2 4; }
`,
};

export default host(figure);
