// Figure 9: a risk score made from hazards, and how many pairs of patients it puts in order.

import { canvas, choice, clamp, h, host, minus, range, rect, stamp, text } from "./kit.js";
import { sum, survival } from "./functional.js";

/** @typedef {{ model: string, score: string, horizon: number, ties: string, person: number, rows: number }} Leak */
/** @typedef {{ hazards: Record<string, number[][]>, stop: number[], observed: boolean[] }} Given */

/** @param {string} score @param {number[]} hazard @param {number} stop own rows @param {number} horizon */
export function risk(score, hazard, stop, horizon) {
  const own = hazard.slice(0, stop);
  if (score === "horizon") return 1 - survival(hazard)[horizon - 1];
  if (score === "largest") return Math.max(...own);
  if (score === "last") return own[stop - 1];
  const total = sum(own);
  return score === "mean" ? total / stop : score === "minus" ? -total : total;
}

/** Those apart by rounding alone share a place. @param {number[]} numbers */
export function places(numbers) {
  const order = [...numbers.keys()].sort((a, b) => numbers[a] - numbers[b]);
  let place = 0;
  /** @type {number[]} */
  const found = [];
  order.forEach((k, at) => {
    const gap = at ? numbers[k] - numbers[order[at - 1]] : 0;
    found[k] = gap > 8 * Number.EPSILON * Math.abs(numbers[k]) ? ++place : place;
  });
  return found;
}

/** Whether one's event is known to come before the other's. @param {number[]} stop @param {boolean[]} observed */
export const isFirst = (stop, observed) => (/** @type {number} */ a, /** @type {number} */ b) =>
  observed[a] && (stop[a] < stop[b] || (stop[a] === stop[b] && !observed[b]));

/** @param {(number | null)[]} orders 1 right, 0 tied, -1 wrong */
const counted = (orders) => {
  const many = (/** @type {number} */ order) => orders.filter((one) => one === order).length;
  const [right, tied, wrong] = [1, 0, -1].map(many);
  return { right, tied, wrong, pairs: right + tied + wrong };
};

/** @param {Leak} state @param {Given} given */
export function out({ model, score, horizon, ties, person, rows }, given) {
  const { observed } = given;
  const stop = given.stop.with(person, rows || given.stop[person]);
  const scores = stop.map((n, k) => risk(score, given.hazards[model][k], n, horizon));
  const place = places(scores);
  const level = ties === "exact" ? scores : place;
  const known = isFirst(stop, observed);
  const order = (/** @type {number} */ a, /** @type {number} */ b) => Math.sign(level[a] - level[b]);
  const everybody = [...stop.keys()];
  const all = everybody.flatMap((a) => everybody.filter((b) => known(a, b)).map((b) => [a, b]));
  const of_person = everybody.map((k) =>
    known(person, k) ? order(person, k) : known(k, person) ? order(k, person) : null,
  );
  const counts = counted(all.map(([a, b]) => order(a, b)));
  return {
    stop,
    scores,
    ...counts,
    c: (counts.right + (ties === "wrong" ? 0 : counts.tied / 2)) / counts.pairs,
    by_rounding: all.filter(([a, b]) => place[a] === place[b] && level[a] !== level[b]).length,
    of_person,
    own: counted(of_person),
  };
}

/** @type {Record<string, string>} */
const MODELS = { true: "the true hazards", same: "0.1 for everybody", lots: "random" };
/** @type {Record<string, string[]>} */
const SCORES = {
  sum: ["sum", "total = each.cumsum(1).gather(1, end)[:, 0]"],
  minus: ["minus the sum", "-total"],
  mean: ["mean", "total / last"],
  largest: ["largest", "evaluation.highest(each, last)"],
  last: ["last", "each.gather(1, end)[:, 0]"],
  horizon: ["within a horizon", "1 - (1 - each).cumprod(1)[:, leak.horizon - 1]"],
};
/** @type {Record<string, string[]>} */
const TIES = {
  half: ["one half", "metrics.concordance(score, ended)"],
  wrong: ["as wrong", "evaluation.ties_lose(rounded, last, seen)"],
  exact: ["as rounding has it", "concordance_index(last, -score, seen)"],
};
const KINDS = ["✓ right", "= tied", "✗ wrong"];
const ROWS = 12;
const [TOP, BOTTOM] = [107, 366];

const fixed = (/** @type {number} */ number) => minus(number.toFixed(3));
const rowsOf = (/** @type {number} */ n) => (n === 1 ? "1 row" : `${n} rows`);

/** What the score is, in words. @param {any} state */
const named = ({ score, horizon }) =>
  score === "horizon" ? `risk within ${rowsOf(horizon)}` : `${SCORES[score][0]} in each record`;

/** @param {any} state @param {any} numbers */
const verdicts = ({ model, score, ties }, { by_rounding, tied }) =>
  [
    score === "horizon"
      ? "✓ the same rows for everybody"
      : score === "sum" || score === "minus" || model === "lots"
        ? "✗ wrong: it reads each record to its end"
        : "~ harmless only because each hazard is constant",
    by_rounding
      ? `✗ wrong: rounding decides ${by_rounding} ties`
      : ties === "wrong" && tied && "✗ wrong: a tie is no mistake",
  ].filter(Boolean);

/** @param {any} state @param {ReturnType<typeof out>} numbers @param {import("./kit.js").Ui} ui @param {Given} given */
function picture(state, numbers, ui, given) {
  const { score, horizon, person } = state;
  const { stop, scores, of_person, own } = numbers;
  const { width } = ui;
  const left = 46;
  const column = (width - left - 12) / ROWS;
  // Within a row the events come first; a dragged patient keeps that place.
  const within = given.stop.map((n, k) => {
    const first = given.stop.indexOf(n);
    return (k - first + 1) / (given.stop.lastIndexOf(n) - first + 2);
  });
  const most = Math.max(...scores.map(Math.abs));
  const top = [0.1, 0.2, 0.4, 0.6, 1, 1.5, 2, 2.5, 3, 4, 6, 8].find((level) => level >= most) ?? 12;
  const low = score === "minus" ? -top : 0;
  const up = (/** @type {number} */ value) => BOTTOM - ((value - low) / top) * (BOTTOM - TOP);
  const spots = scores.map((value, k) => [left + (stop[k] - 1 + within[k]) * column, up(value)].map(Math.round));
  const [x, y] = spots[person];
  const mark = (/** @type {boolean} */ seen, /** @type {boolean} */ mine) =>
    stamp(
      spots.filter((_, k) => given.observed[k] === seen && (k === person) === mine),
      seen ? "m-4-4l8 8m0-8l-8 8" : "m4 0a4 4 0 1 0-8 0a4 4 0 1 0 8 0h4",
      seen ? "event slim" : "censored",
    );
  const edge = Math.round(left + horizon * column);
  const chosen = score === "horizon";
  const ticks = [low, low + top / 2, low + top];
  return canvas(
    width,
    560,
    h("text", { class: "hazard name", x: 0, y: 12, "data-term": "score" }, `score: ${named(state)}`),
    verdicts(state, numbers).map((said, k) => text(0, 30 + 17 * k, said, said[0] === "✗" && "wrong")),
    text(0, TOP - 14, "score", "quiet"),
    h("path", { class: "grid", d: ticks.map((tick) => `M${left} ${up(tick)}H${width}`).join("") }),
    ticks.map((tick) => text(left - 5, up(tick) + 4, minus(tick), "quiet end")),
    [...Array(ROWS).keys()].map((k) => text(Math.round(left + (k + 0.5) * column), BOTTOM + 18, k + 1, "quiet middle")),
    text(left, BOTTOM + 36, "rows of the record", "quiet"),
    text(width, BOTTOM + 36, "× event  ○ censored", "quiet end"),
    KINDS.map((kind, place) => {
      const from = Math.round((place * width) / 3);
      const [sign, name] = kind.split(" ");
      const lines = spots.filter((_, k) => of_person[k] === 1 - place).map((spot) => `M${x} ${y}L${spot}`);
      return [
        h("path", { class: `pair ${name}`, d: `${lines.join("")}M${from} 446h20` }),
        text(from + 26, 451, `${sign} ${[own.right, own.tied, own.wrong][place]} ${name}`, `name ${name}`),
      ];
    }),
    h("text", { x: 0, y: 429, "data-term": "known" }, `patient ${person}'s ${own.pairs} pairs`),
    mark(false, false),
    mark(true, false),
    ui.handle(
      {
        label: "horizon",
        text: `a horizon of ${rowsOf(horizon)}${chosen ? "" : ", not the score yet"}; C is ${fixed(numbers.c)}`,
        value: horizon,
        from: 1,
        to: ROWS,
        step: 1,
        page: 3,
        sideways: true,
        x: edge,
        y: 63,
        at: (place) => (place - left) / column,
        set: (value) => ui.set({ horizon: value, score: "horizon" }),
      },
      h("path", { class: chosen ? "limit" : "limit off", d: `M${edge} 63V${BOTTOM}` }),
      h("circle", { class: "knob", cx: edge, cy: 63, r: 8 }),
      text(edge + (horizon > 5 ? -14 : 14), 68, chosen ? "horizon" : "horizon: sets the score", horizon > 5 && "end"),
    ),
    ui.handle(
      {
        label: "last visit",
        text: `patient ${person} has ${rowsOf(stop[person])} and the score ${fixed(scores[person])}`,
        value: stop[person],
        from: 1,
        to: ROWS,
        step: 1,
        page: 3,
        sideways: true,
        x,
        y,
        at: (place) => (place - left) / column + 1 - within[person],
        set: (value) => ui.set({ rows: value }),
      },
      h("circle", { class: "knob", cx: x, cy: y, r: 10 }),
      mark(given.observed[person], true),
    ),
    gauge(numbers, width),
  );
}

/** All pairs beside each other. @param {any} numbers @param {number} width */
function gauge({ right, tied, wrong, pairs, c }, width) {
  const along = (/** @type {number} */ share) => Math.round(share * width);
  const [one, two] = [along(right / pairs), along((right + tied) / pairs)];
  return h(
    "g",
    null,
    text(0, 480, `all ${pairs} pairs: ✓ ${right}, = ${tied}, ✗ ${wrong}`),
    text(0, 500, "0", "quiet"),
    text(width / 2, 500, "0.5, a coin", "quiet middle"),
    text(width, 500, "1", "quiet end"),
    rect(0, 506, one, 26, "ordered"),
    rect(one, 506, two - one, 26, "padding"),
    rect(two, 506, width - two, 26, "wrong"),
    h("path", { class: "limit", d: `M${width / 2} 504V534` }),
    h("path", { class: "point", d: `M${along(c)} 526l7 14h-14z` }),
    h(
      "text",
      { class: "name middle", x: clamp(along(c), 42, width - 42), y: 555, "data-term": "c" },
      `C = ${fixed(c)}`,
    ),
  );
}

/** @type {import("./kit.js").Figure} */
export const figure = {
  name: "length_leak",
  claim: "Add up a perfect model's hazards, and it ranks patients worse than a coin",
  state: {
    model: { start: "true", among: ["true", "same", "lots"] },
    score: { start: "sum", among: ["sum", "minus", "mean", "largest", "last", "horizon"] },
    horizon: { start: 5, from: 1, to: 12, step: 1 },
    ties: { start: "half", among: ["half", "wrong", "exact"] },
    person: { start: 4, from: 0, to: 29, step: 1 },
    rows: { start: 0, from: 0, to: 12, step: 1 },
  },
  out: (state, given) => out(/** @type {Leak} */ (state), given),
  question: (given) => {
    const c = (/** @type {string} */ model, /** @type {string} */ score) =>
      fixed(out({ model, score, horizon: 5, ties: "half", person: 0, rows: 0 }, given).c);
    return {
      question: "A model has the same hazard for everybody, and the score is minus the sum. What is C?",
      options: [
        { label: c("same", "horizon"), why: "So it would be within a horizon." },
        { label: c("same", "sum"), why: "That is the sum, before its sign is turned." },
        { label: c("true", "horizon"), why: "Those are the true hazards, within a horizon." },
        {
          label: c("same", "minus"),
          why: "The score is minus the length, and early events make short records.",
        },
      ],
      truth: 3,
    };
  },
  picture: (state, numbers, ui, given) => picture(state, /** @type {any} */ (numbers), ui, given),
  controls: (state, _, ui) => [
    /** @type {[string, string, Record<string, any>][]} */ ([
      ["Hazards", "model", MODELS],
      ["Score", "score", SCORES],
      ["Equal scores count", "ties", TIES],
    ]).map(([legend, part, names]) =>
      choice({
        legend,
        options: Object.keys(names).map((key) => [key, [names[key]].flat()[0]]),
        value: state[part],
        set: (value) => ui.set({ [part]: value }),
      }),
    ),
    range({
      label: "Patient",
      value: state.person,
      from: 0,
      to: 29,
      step: 1,
      term: "known",
      set: (value) => ui.set({ person: value, rows: 0 }),
    }),
  ],
  lines: (state, { scores, right, tied, pairs, c, own }) => [
    {
      term: "score",
      formula: `patient ${state.person}, ${named(state)}: ${fixed(scores[state.person])}`,
      code: SCORES[state.score][1],
    },
    {
      term: "known",
      formula: `${own.pairs} of ${pairs} pairs include patient ${state.person}`,
      code: "known = later & observed[:, None]",
    },
    {
      term: "c",
      formula: `C = ${state.ties === "wrong" ? right : `(${right} + ${tied} / 2)`} / ${pairs} = ${fixed(c)}`,
      code: TIES[state.ties][1],
    },
  ],
  sentence: (state, numbers) =>
    `Hazards: ${MODELS[state.model]}. Score: ${named(state)}. ` +
    `Of ${numbers.pairs} pairs ${numbers.right} are right, ${numbers.tied} tied, ${numbers.wrong} wrong: C is ${fixed(numbers.c)}. ` +
    `Of patient ${state.person}'s, with ${rowsOf(numbers.stop[state.person])}, ${numbers.own.wrong} are wrong. ${verdicts(state, numbers).join("; ")}.`,
  table: ({ person }, { c, right, tied, wrong, stop, scores, of_person }, given) => ({
    caption: `C ${fixed(c)}: ${right} pairs right, ${tied} tied, ${wrong} wrong.`,
    head: ["patient", "true hazard", "rows", "then", "score", `pair with patient ${person}`],
    rows: stop.map((/** @type {number} */ n, /** @type {number} */ k) => [
      k,
      given.hazards.true[k][0],
      n,
      given.observed[k] ? "event" : "censored",
      fixed(scores[k]),
      KINDS[1 - (of_person[k] ?? 9)] ?? "–",
    ]),
  }),
  style: `
.event.slim { stroke-width: 2; }
.pair { fill: none; stroke: var(--vw-ink, #1b1f24); }
.pair.tied { stroke: var(--vw-muted, #5b6470); stroke-width: 2; stroke-dasharray: 1 4; }
.pair.wrong { stroke: var(--vw-wrong, #b3122e); stroke-dasharray: 6 3; }
.limit { fill: none; stroke: var(--vw-ink, #1b1f24); stroke-width: 2; }
.limit.off { stroke: var(--vw-muted, #5b6470); stroke-dasharray: 3 4; }
.ordered { fill: var(--vw-muted, #5b6470); }
`,
};

export default host(figure);
