// Figure 3: patients' lines poured into rows; the BCE of the rows beside the survival loss of the patients.

import { censoredMark, eventMark, canvas, h, host, range, rect, start, text, toggle } from "./kit.js";
import { hazardNll, sum } from "./functional.js";

/** @typedef {{ stops: number[], observed: number[], poured: number, chosen: number, after: boolean, mean: boolean }} Pour */
/** @typedef {{ patients: string[], hazards: number[][] }} Given */
/** @typedef {ReturnType<typeof out>} Shown */
/** @typedef {Shown["rows"][0]} Row */
/** @typedef {(state: Pour, numbers: Shown, ui: import("./kit.js").Ui, given: Given) => any} View */
/** @typedef {(state: Pour, numbers: Shown, given: Given) => any} Words */

const VISITS = 4;
const ALL = 12;

/** @param {number} hazard @param {number} y */
export const binaryCrossEntropy = (hazard, y) => -(y * Math.log(hazard) + (1 - y) * Math.log1p(-hazard));

/** @param {Pick<Pour, "stops" | "observed" | "after">} state */
export const personPeriod = ({ stops, observed, after }) =>
  stops.flatMap((stop, patient) =>
    Array.from({ length: after ? VISITS : stop }, (_, visit) => ({
      patient,
      visit,
      event: observed[patient] && visit === stop - 1 ? 1 : 0,
      at_risk: visit < stop,
    })),
  );

/** @param {Pour} state @param {Given} given */
export function out(state, { hazards }) {
  const { stops, observed, mean } = state;
  const rows = personPeriod(state).map((row) => {
    const hazard = hazards[row.patient][row.visit];
    return { ...row, hazard, cost: binaryCrossEntropy(hazard, row.event) };
  });
  const seen = rows.filter((row) => row.at_risk);
  const cost = (/** @type {typeof rows} */ some) => sum(some.map((row) => row.cost));
  const events = sum(rows.map((row) => row.event));
  const each = stops.map((stop, patient) => hazardNll(hazards[patient], stop, observed[patient] === 1));
  const count = Math.min(state.poured, rows.length);
  const poured = cost(rows.slice(0, count));
  const left = sum(each) / (mean ? stops.length : 1);
  const right = poured / (mean ? rows.length : 1); // PyTorch's mean is over the rows
  return {
    rows,
    each,
    count,
    events,
    poured,
    left,
    right,
    n_rows: rows.length,
    n_seen: seen.length,
    nll: sum(each),
    bce: cost(seen),
    unseen: cost(rows.filter((row) => !row.at_risk)),
    learned: events / rows.length,
    best: events / seen.length,
    same: Math.abs(left - right) < 1e-12,
  };
}

const fixed = (/** @type {number} */ number, digits = 3) => number.toFixed(digits);

const rowsOf = (/** @type {number} */ n) => n + (n === 1 ? " row" : " rows");

const kindOf = (/** @type {Row} */ { at_risk, event }) => (at_risk ? (event ? "hazard" : "survived") : "wrong");

/** Where a word is missing, the next ones keep their elements. @param {any[][]} marks */
const sorted = (marks) =>
  [0, 1].map((part) =>
    h(
      "g",
      null,
      marks.map((mark) => mark[part]),
    ),
  );

/** @type {View} */
const picture = (state, numbers, ui, { patients, hazards }) => {
  const { stops, observed, chosen } = state;
  const { width, narrow } = ui;
  const { rows, n_rows, count } = numbers;
  const cell = narrow ? 28 : 54;
  const left = narrow ? 150 : 296;
  const right = width - 32;
  const columns = [0, 0.36, 0.58, 1].map((share) => left + 6 + share * (right - left - 12));
  const lineAt = (/** @type {number} */ patient) => 62 + 84 * patient;
  const rowAt = (/** @type {number} */ row) => 40 + 21 * row;
  const middle = (/** @type {number} */ k) => (k + 0.5) * cell - 1.5;
  const place = (/** @type {number} */ i, /** @type {number} */ k) =>
    rows.findIndex((row) => row.patient === i && row.visit === k);

  const lines = patients.map((name, i) => {
    const end = stops[i] * cell;
    const ending = observed[i] ? "event" : "censored";
    const y = lineAt(i);
    return [
      text(0, y - 8, [h("tspan", { class: "name" }, name), ": ", ending]),
      sorted(
        hazards[i].map((hazard, k) => {
          const at = place(i, k);
          const kind = at < 0 ? "padding" : kindOf(rows[at]);
          return [
            rect(
              k * cell,
              y,
              cell - 3,
              28,
              at === chosen ? `${kind} ring` : kind,
              at < 0 ? null : at === chosen ? "row" : "rows",
            ),
            at >= 0 &&
              text(middle(k), y + 19, kind === "wrong" ? "✗" : fixed(hazard, 2).slice(narrow ? 1 : 0), "on middle"),
          ];
        }),
      ),
      ui.handle(
        {
          label: `end of ${name}'s line`,
          value: stops[i],
          from: 1,
          to: VISITS,
          step: 1,
          page: 1,
          text: `${name} has ${rowsOf(stops[i])}, then ${ending}`,
          x: end,
          y: y + 44,
          sideways: true,
          at: (x) => x / cell,
          set: (value) => ui.set({ stops: stops.with(i, value) }),
        },
        h("path", { class: "axis", d: `M0 ${y + 44}H${end}` }),
        h("rect", { class: "knob", x: end - 12, y: y + 32, width: 24, height: 24, rx: 4 }),
        observed[i] ? eventMark(end, y + 44, 5) : censoredMark(end, y + 44),
      ),
    ];
  });

  // A group for every cell of the box, always in the same order: it moves from its line to its row.
  const cells = hazards.flatMap((line, i) =>
    line.map((_, k) => {
      const at = place(i, k);
      if (at < 0 || at >= count)
        return h("g", { class: "moves", transform: `translate(${k * cell - left} ${lineAt(i)})` });
      const { at_risk, event, cost } = rows[at];
      const kind = at_risk && !event ? "" : kindOf(rows[at]);
      return h(
        "g",
        { class: "moves", transform: `translate(0 ${rowAt(at)})` },
        [patients[i], k, at_risk ? event : `✗ ${event}`, fixed(cost, 4)].map((value, column) =>
          text(columns[column], 15, value, column ? `end ${column > 1 ? kind : ""}` : null),
        ),
        h("rect", {
          class: "hit",
          x: left,
          y: 0,
          width: right - left,
          height: 21,
          onclick: () => ui.set({ chosen: at }),
        }),
      );
    }),
  );

  const { patient, visit, event, cost } = rows[chosen];
  const y = rowAt(chosen);
  return canvas(
    width,
    448,
    text(0, 12, "h by interval", "name"),
    hazards[0].map((_, k) => text(middle(k), 30, k, "quiet middle")),
    text(left, 12, `${count} of ${n_rows} rows`, "name"),
    ["interval", "y", "cost"].map((name, k) => text(columns[k + 1], 30, name, "quiet end")),
    h("path", { class: "grid", d: `M${left} 38H${right}` }),
    cells,
    lines,
    ui.handle(
      {
        label: "chosen row",
        value: n_rows - 1 - chosen,
        from: 0,
        to: n_rows - 1,
        step: 1, // up is up the table
        text: `${patients[patient]}, interval ${visit}: label ${event}, cost ${fixed(cost)}`,
        x: width - 22,
        y: y + 10.5,
        term: "row",
        at: (_, y) => n_rows - 0.5 - (y - 40) / 21,
        set: (value) => ui.set({ chosen: n_rows - 1 - value }),
      },
      rect(left, y, right - left, 21, "ring hit"),
      h("rect", { class: "knob", x: right + 5, y: y - 2, width: 22, height: 25, rx: 4 }),
      text(right + 16, y + 15, "↕", "middle"),
    ),
    stacks(state, numbers, ui, { patients, hazards }),
  );
};

/** The two sums as bars of one scale. @type {View} */
const stacks = (
  { mean, chosen },
  { each, rows, n_rows, n_seen, count, nll, unseen, left, right, same },
  { width, narrow },
  { patients },
) => {
  const scale = width / Math.max(4.2, nll + unseen);
  const shrink = mean ? patients.length / n_rows : 1; // means have the scale of the mean per patient
  const verdict = unseen ? `✗ wrong: nobody saw ${rowsOf(n_rows - n_seen)}` : same ? "✓ the same number" : "";
  const by = (/** @type {string} */ one) => (mean ? `mean per ${one}` : "added up");
  return [
    bar(
      330,
      left,
      ` survival loss${narrow ? "" : " of chapter 1, one cost a patient"}, ${by("patient")}`,
      each.map((cost, i) => ({
        size: cost * scale,
        kind: "quiet",
        term: "nll",
        label: `${patients[i]} ${fixed(cost)}`,
      })),
    ),
    bar(
      392,
      right,
      ` BCE${narrow ? "" : ", one cost a row"}, ${by("row")}`,
      rows.slice(0, count).map((row, k) => ({
        size: row.cost * scale * shrink,
        kind: kindOf(row) + (k === chosen ? " ring" : ""),
        term: k === chosen ? "row" : "bce",
        label: row.at_risk ? fixed(row.cost) : "✗",
      })),
    ),
    h("path", { class: "axis", "stroke-dasharray": "3 3", d: `M${nll * scale} 326V426` }),
    text(0, 440, verdict, unseen ? "wrong name" : "name"),
  ];
};

/** @param {number} y @param {number} total @param {string} words @param {any[]} pieces */
function bar(y, total, words, pieces) {
  let x = 0;
  return [
    text(x, y - 8, [h("tspan", { class: "name", "font-size": 17 }, fixed(total, 6)), words]),
    sorted(
      pieces.map(({ size, label, kind, term }) => {
        x += size;
        return [
          rect(x - size, y, Math.max(size - 2, 1), 30, kind, term),
          size > 7.5 * label.length + 4 && text(x - size / 2 - 1, y + 20, label, "on middle"),
        ];
      }),
    ),
  ];
}

/** @type {View} */
const controls = ({ observed, after, mean }, { count, n_rows }, { set }, { patients }) => [
  range({
    label: "Rows poured",
    value: count,
    from: 0,
    to: n_rows,
    step: 1,
    set: (poured) => set({ poured: poured === n_rows ? ALL : poured }),
  }),
  h(
    "fieldset",
    null,
    h("legend", null, "Event seen"),
    patients.map((name, i) =>
      toggle({
        label: name,
        checked: observed[i] === 1,
        set: (seen) => set({ observed: observed.with(i, Number(seen)) }),
      }),
    ),
  ),
  toggle({ label: "Keep rows after the end", checked: after, term: "rows", set: (kept) => set({ after: kept }) }),
  toggle({ label: "Means, not sums", checked: mean, set: (on) => set({ mean: on }) }),
];

/** @type {Words} */
const lines = (
  { mean, chosen, stops },
  { rows, n_rows, n_seen, unseen, count, nll, poured, left, right },
  { patients },
) => {
  const { patient, visit, hazard, event, cost } = rows[chosen];
  const result = (/** @type {number} */ total, /** @type {number} */ by, /** @type {number} */ value) =>
    (mean ? `${fixed(total, 6)} / ${by} = ` : "") + fixed(value, 6);
  return [
    {
      term: "rows",
      formula: `${stops.join(" + ")} = ${rowsOf(n_seen)}${unseen ? `, ✗ wrong: ${n_rows - n_seen} more` : ""}`,
      code: unseen ? "torch.ones_like(hazard_logits, dtype=torch.bool)" : "rows = person_period(stop, observed)",
    },
    {
      term: "row",
      formula: `${patients[patient]}, interval ${visit}, y = ${event}: −log ${event ? fixed(hazard, 2) : `(1 − ${fixed(hazard, 2)})`} = ${fixed(cost, 4)}`,
      code: 'costs = binary_cross_entropy_with_logits(z, y, reduction="none")',
    },
    {
      term: "bce",
      formula: `BCE of ${rowsOf(count)}: ${result(poured, n_rows, right)}`,
      code: mean
        ? "per_row = binary_cross_entropy_with_logits(z, y)"
        : 'bce = binary_cross_entropy_with_logits(z, y, reduction="sum")',
    },
    {
      term: "nll",
      formula: `survival loss: ${result(nll, patients.length, left)}`,
      code: mean ? "hazard_nll(*three)" : 'nll = hazard_nll(*three, reduction="sum")',
    },
  ];
};

/** @type {Words} */
const sentence = (
  { mean },
  { n_rows, n_seen, count, events, poured, nll, unseen, left, right, learned, best },
  { patients },
) => {
  const learns = `A model with one hazard for all learns ${events} / ${n_rows} = ${fixed(learned)}`;
  if (count < n_rows)
    return `The table has ${count} of ${n_rows} rows, a BCE of ${fixed(poured)}; the survival loss is ${fixed(nll)}.`;
  if (unseen)
    return `Wrong: rows that nobody saw, ${n_rows - n_seen} of ${n_rows}, add ${fixed(unseen)} to the survival loss of ${fixed(nll)}. ${learns}, not ${events} / ${n_seen} = ${fixed(best)}.`;
  if (mean)
    return `One sum: divided by ${patients.length} patients it is ${fixed(left)}, by ${n_rows} rows ${fixed(right)}. ${learns} by both.`;
  return `The BCE of ${n_rows} rows is ${fixed(right, 6)}, the survival loss of ${patients.length} patients ${fixed(left, 6)}: the same number. ${learns}.`;
};

/** @type {Words} */
const table = (_, { rows, each, nll, bce, unseen }, { patients }) => ({
  caption: `BCE ${fixed(bce + unseen, 6)}; survival loss ${each.map((cost, i) => `${patients[i]} ${fixed(cost, 6)}`).join(" + ")} = ${fixed(nll, 6)}.`,
  head: ["row", "hazard", "label y", "at risk", "cost"],
  rows: rows.map(({ patient, visit, hazard, event, at_risk, cost }) => [
    `${patients[patient]}, interval ${visit}`,
    fixed(hazard, 2),
    event,
    at_risk ? "yes" : "✗ no, wrong",
    fixed(cost, 4),
  ]),
});

/** @param {Given} given */
function question(given) {
  const { rows, nll, poured } = out(/** @type {any} */ ({ ...start(figure), after: true }), given);
  const last = rows[rows.length - 1].cost; // Cleo's, after her last call
  return {
    question: `The 8 rows cost ${fixed(nll)}. What if the cells after each end are rows with y = 0, too?`,
    options: [
      { label: fixed(nll), why: "A label of 0 is not a cost of 0: it says survived and costs −log(1 − h)." },
      { label: fixed(poured - last), why: "You left out Cleo: her cell after the last call says survived, too." },
      { label: fixed(poured), why: "Each of 4 cells says survived and costs −log(1 − h), though nobody saw it." },
    ],
    truth: 2,
  };
}

export const figure = /** @type {import("./kit.js").Figure} */ (
  /** @type {any} */ ({
    name: "person_period",
    claim: "Patient by patient or row by row, you add up the same number: the survival loss is a BCE",
    state: {
      stops: { start: [3, 2, 3], from: 1, to: VISITS, step: 1 },
      observed: { start: [1, 1, 0], from: 0, to: 1, step: 1 },
      poured: { start: ALL, from: 0, to: ALL, step: 1 },
      chosen: { start: 2, from: 0, to: ALL - 1, step: 1 },
      after: { start: false },
      mean: { start: false },
    },
    mend: (/** @type {Pour} */ state) => ({ ...state, chosen: Math.min(state.chosen, personPeriod(state).length - 1) }),
    out,
    question,
    picture,
    controls,
    lines,
    sentence,
    table,
    style: ".ring { stroke: var(--vw-ink, #1b1f24); stroke-width: 2.5; }",
  })
);

export default host(figure);
