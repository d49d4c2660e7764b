// Figure 6: shapes meet from the right, in a division and in a loss.

import { canvas, choice, clamp, h, host, rect, stamp, text, toggle } from "./kit.js";
import { eventNll, sum, survivedNll } from "./functional.js";
import { broadcastShapes, padded, places, readAt } from "./shapes.js";

/** @typedef {import("./kit.js").Figure["picture"]} View */

/** @param {number[]} sizes @param {boolean} keepdim */
const countsShape = ([b, v], keepdim) => (keepdim ? [b, v, 1] : [b, v]);

/** @param {number[]} a @param {number[]} b */
const same = (a, b) => a.every((number, k) => number === b[k]);

/** A place in `KINDS`. @param {number[]} sizes @param {boolean} keepdim */
export function outcome(sizes, keepdim) {
  const counts = countsShape(sizes, keepdim);
  const shape = broadcastShapes(sizes, counts);
  if (shape.includes(null)) return 0;
  if (!same(shape, sizes)) return 1;
  return places(sizes).every((place) => same(readAt(counts, place).slice(0, 2), place)) ? 3 : 2;
}

/** @param {number[]} predictions @param {number[]} labels @param {number[]} shape */
export const pairs = (predictions, labels, shape) =>
  places(broadcastShapes([3], shape)).map((place) => {
    const [[p], [y]] = [readAt([3], place), readAt(shape, place)];
    return { p, y, cost: (labels[y] ? eventNll : survivedNll)(predictions[p]) };
  });

/** @param {{ cost: number }[]} some */
const meanCost = (some) => sum(some.map(({ cost }) => cost)) / some.length;

const CROSS = "m-4-4l4 3 4-3-3 4 3 4-4-3-4 3 3-4z";
const KINDS = [
  ["m-3-.5h6v1h-6z", "an error", "grid"],
  [CROSS, "a wrong shape", "padding"],
  [CROSS, "wrong numbers", "wrong"],
  ["m-4 0l3 4 5-8-5 5z", "right numbers", "survived"],
];
const FIVE = [0, 1, 2, 3, 4];
const SIZES = places([5, 5, 5]).map((place) => place.map((k) => k + 1));
const OUTCOMES = [false, true].map((keepdim) => SIZES.map((sizes) => outcome(sizes, keepdim)));
const TALLY = OUTCOMES.map((all) => KINDS.map((_, kind) => all.filter((one) => one === kind).length));
const [, longer, wrong, right] = TALLY[0];

/** @type {import("./kit.js").Figure["out"]} */
export const out = ({ sizes, keepdim, cell, predictions, column }, given) => {
  const counts = countsShape(sizes, keepdim);
  const shape = broadcastShapes(sizes, counts);
  const clash = shape.lastIndexOf(null);
  const at = (/** @type {number[]} */ place) => {
    const [b, v, e] = readAt(sizes, place);
    const below = readAt(counts, place).slice(0, 2);
    const total = 10 + 5 * ((b * sizes[1] + v) * sizes[2] + e);
    const divisor = given.counts[below[0]][below[1]];
    const own = same(place, [b, v, e]) ? given.counts[b][v] : null;
    return { below, total, divisor, value: total / divisor, own, right: own && total / own };
  };
  const all = clash < 0 ? places(shape).map(at) : [];
  const labels = column ? [3, 1] : [3];
  const costs = pairs(predictions, given.labels, labels);
  return {
    counts,
    shape,
    clash,
    ...(clash < 0 && at(cell)),
    cells: all.length,
    wrong: all.filter(({ value, right }) => value !== right).length,
    outcome: outcome(sizes, keepdim),
    map: OUTCOMES[+keepdim],
    tally: TALLY[+keepdim],
    labels,
    costs,
    loss: meanCost(costs),
    meant: meanCost(costs.filter(({ p, y }) => p === y)),
    reactions: given.reactions[+column],
  };
};

const NAMES = ["Ada", "Ben", "Cleo", "Dan", "Eve"];
const list = (/** @type {any[]} */ shape) => `[${shape.map((size) => size ?? "error").join(", ")}]`;
const short = (/** @type {number} */ number) => +number.toFixed(4);

/** @param {any} state @param {any} numbers @returns {any[]} */
function said({ panel, sizes, cell }, { counts, clash, below, total, divisor, value, own, right, ...numbers }) {
  const { labels, costs, loss, meant } = numbers;
  if (panel === "loss")
    return [
      `Predictions [3] by labels ${list(labels)} make ${costs.length} costs`,
      `${short(loss) === short(meant) ? "✓ right" : "✗ wrong"}: their mean is ${short(loss)}`,
      `By each one’s own label it is ${short(meant)}`,
    ];
  const gives = `${list(sizes)} / ${list(counts)} gives ${KINDS[numbers.outcome][1]}`;
  if (!below) return [gives, `${sizes[clash]} does not match ${padded(counts, 3)[clash]} at axis ${clash}`];
  const whose = `${divisor} is the count of ${NAMES[below[0]]}’s visit ${below[1]}`;
  return [
    gives,
    `Place ${list(cell)} is ${total} / ${divisor} = ${short(value)}`,
    value !== right ? `✗ wrong: ${whose}` : same(below, cell) ? `✓ right: ${whose}` : `Right by chance: ${whose}`,
    value !== right && (own ? `By its own count, ${own}, it is ${short(right)}` : "There should be no such place"),
    `Numbers wrong: ${numbers.wrong} of ${numbers.cells}`,
  ].filter(Boolean);
}

const moved = (/** @type {number} */ x, /** @type {number} */ y, /** @type {any[]} */ ...marks) =>
  h("g", { transform: `translate(${x} ${y})` }, marks);

/** @param {number[]} corner @param {number} wide @param {any} words @param {string} kind */
const tile = ([x, y], wide, words, kind) => [
  rect(x, y, wide - 2, 18, kind),
  text(x + wide / 2 - 1, y + 13.5, words, `middle ${/wrong|ved/.test(kind) ? "on" : ""}`),
];

/** Full where read, dotted where a 1 is read again. @type {View} */
const aligned = ({ sizes, keepdim, cell }, { counts, shape, below, own, value, right, outcome }, ui, given) => {
  const column = Math.floor((ui.width - 62) / 3);
  const unit = Math.min((column - 12) / 5, 24);
  const kind = value === right ? "survived" : "wrong";
  const rows = [
    ["sums", sizes, "patients", "visits", "entries"],
    ["counts", padded(counts, 3), ...(keepdim ? ["patients", "visits", "kept"] : ["put there", "patients", "visits"])],
    ["result", shape, "size", "size", "size"],
  ];
  return moved(
    0,
    0,
    rows.map(([term, tensor, ...names], row) => {
      const y = 24 + 54 * row;
      const read = readAt(tensor, cell);
      const squares = (/** @type {any} */ which, /** @type {string} */ kind) =>
        stamp(
          places([3, 5])
            .filter(which)
            .map(([k, i]) => [62 + column * k + i * unit, y]),
          `h${unit - 3}v${unit - 3}h${3 - unit}z`,
          kind,
          term,
        );
      return [
        text(0, y + 13, term, "name"),
        squares((/** @type {number[]} */ [k, i]) => i < tensor[k], "axis"),
        squares((/** @type {number[]} */ [k, i]) => i >= tensor[k] && i < shape[k], "padding"),
        below && squares((/** @type {number[]} */ [k, i]) => i === read[k], row ? kind : ""),
        names.map((name, k) => {
          const [x, size] = [62 + column * k, tensor[k]];
          const [value, to] = row ? [read[k] + 1, row > 1 && below && size] : [size, 5];
          const middle = x + 2.5 * unit;
          return [
            text(x, y - 6, `${name}: ${size ?? "error"}`),
            to > 1 &&
              ui.handle(
                {
                  label: `${term}, axis ${k - 3}`,
                  text: `${value} of ${to}; ${KINDS[outcome][1]}`,
                  value,
                  from: 1,
                  to,
                  step: 1,
                  x: middle,
                  y: y + 4,
                  width: 5 * unit + 8,
                  sideways: true,
                  term,
                  at: (x) => value + (x - middle) / unit,
                  set: (value) => ui.set(row ? { cell: cell.with(k, value - 1) } : { sizes: sizes.with(k, value) }),
                },
                rect(x + value * unit - 4, y - 2, 5, unit + 1, "knob"),
              ),
          ];
        }),
      ];
    }),
    moved(
      0,
      336,
      text(0, -28, "Number of codes", "name"),
      text(0, -8, "visit", "quiet"),
      places(sizes.slice(0, 2)).map((place) => {
        const [b, v] = place;
        const [x, y] = [62 + 30 * v, 22 * b];
        return [
          !b && text(x + 14, -8, v, "quiet middle"),
          !v && text(0, y + 14, NAMES[b]),
          tile(
            [x, y],
            30,
            given.counts[b][v],
            below && same(below, place) ? kind : own && same(place, cell) ? "survival" : "grid",
          ),
        ];
      }),
    ),
  );
};

/** @type {View} */
const atlas = ({ sizes, keepdim }, { map, tally }, ui) => {
  const pitch = Math.floor((ui.width - 20) / 5);
  const wide = Math.floor(pitch / 5.3);
  const corner = (/** @type {number[]} */ [b, v, e]) => [18 + (b - 1) * pitch + (e - 1) * wide, 58 + v * 20];
  const place = (/** @type {number} */ k) => clamp(Math.floor(k), 0, 4);
  const value = 25 * sizes[0] + 5 * sizes[1] + sizes[2] - 31;
  const [x, y] = corner(sizes);
  return moved(
    0,
    472,
    text(0, 0, `All ${map.length} shapes ${keepdim ? "with" : "without"} keepdim=True`, "name"),
    KINDS.map(([sign, words, fill], kind) => {
      const key = [2 + (kind % 2) * (ui.width / 2), 8 + 20 * (kind >> 1)];
      const corners = [key, ...SIZES.filter((_, k) => map[k] === kind).map(corner)];
      return [
        stamp(corners, `h${wide - 2}v18h${2 - wide}z`, fill),
        stamp(corners, `m${wide / 2 - 1} 9${sign}`, kind > 1 && "on"),
        text(key[0] + wide + 4, key[1] + 13, `${words}: ${tally[kind]}`),
      ];
    }),
    FIVE.map((k) => [text(12, 91 + 20 * k, k + 1, "quiet end"), text(18 + k * pitch, 70, `B = ${k + 1}`, "quiet")]),
    text(0, 70, "V", "quiet"),
    text(18, 192, "E →", "quiet"),
    ui.handle(
      {
        label: "shape in the map",
        text: `${list(sizes)}: ${KINDS[map[value]][1]}`,
        value,
        from: 0,
        to: 124,
        step: 1,
        x: x + wide / 2,
        y: y + 9,
        at: (x, y) => 25 * place((x - 18) / pitch) + 5 * place((y - 78) / 20) + place(((x - 18) % pitch) / wide),
        set: (k) => ui.set({ sizes: SIZES[k] }),
      },
      rect(x - 2, y - 2, wide + 2, 22, "lit grid"),
    ),
  );
};

/** @type {View} */
const paired = ({ predictions, column }, { costs, loss }, ui, { labels }) => {
  const wide = Math.min(ui.width / 4, 120);
  return moved(
    0,
    0,
    text(0, 128, "predictions", "name hazard"),
    [0, 1, 2].map((k) => {
      const value = predictions[k];
      const [x, y] = [wide * (k + 1.5), 132 - 100 * value];
      return [
        tile(column ? [0, 160 + 20 * k] : [wide * (k + 1), 140], wide, `label ${labels[k]}`, "grid"),
        ui.handle(
          {
            label: `prediction for ${NAMES[k]}`,
            text: `${value}; the loss is ${short(loss)}`,
            value,
            from: 0.01,
            to: 0.99,
            step: 0.01,
            x,
            y,
            at: (_, y) => (132 - y) / 100,
            set: (value) => ui.set({ predictions: predictions.with(k, value) }),
          },
          rect(x - 22, y, 44, 100 * value, "hazard"),
          rect(x - 12, y - 3, 24, 6, "knob"),
          text(x, y - 8, value, "name hazard middle"),
        ),
      ];
    }),
    costs.map((/** @type {any} */ { p, y, cost }) =>
      tile(
        [wide * (p + 1), 160 + column * 20 * y],
        wide,
        `${p === y ? "✓" : "✗"} ${short(cost)}`,
        p === y ? "survived" : "wrong",
      ),
    ),
  );
};

/** @param {any} state @param {any} numbers */
const shapesOf = ({ sizes, keepdim }, { counts, shape }) => [
  ["sums", list(sizes), "embedded.sum(2)"],
  ["counts", list(counts), keepdim ? "mask.sum(2, keepdim=True)" : "code_mask.sum(2)"],
  ["result", list(shape), "sums / counts"],
];

/** @type {import("./kit.js").Figure} */
export const figure = {
  name: "broadcasting",
  claim: "Without keepdim most shapes stop you, and most that run are wrong",
  state: {
    panel: { start: "mean", among: ["mean", "loss"] },
    sizes: { start: [3, 3, 3], from: 1, to: 5, step: 1 },
    keepdim: { start: false },
    cell: { start: [0, 0, 1], from: 0, to: 4, step: 1 },
    predictions: { start: [0.9, 0.2, 0.7], from: 0.01, to: 0.99, step: 0.01 },
    column: { start: true },
  },
  mend: (state) => {
    const shape = broadcastShapes(state.sizes, countsShape(state.sizes, state.keepdim));
    return { ...state, cell: shape.map((size, k) => Math.min(state.cell[k], (size ?? state.sizes[k]) - 1)) };
  },
  out,
  question: () => ({
    question: `B, V and E are 1 to 5 each. For how many of these ${SIZES.length} shapes is sums / counts right without keepdim?`,
    options: [
      { label: `${longer + wrong + right}`, why: "So many run; most of them are wrong." },
      { label: `${right}`, why: "Only one patient with one visit is safe: there is a single count." },
      { label: `${SIZES.length}`, why: "So it would be if shapes met from the left." },
    ],
    truth: 1,
  }),
  picture: (state, numbers, ui, given) => {
    const lines = said(state, numbers).map((line, k) => text(0, 20 * k, line, line[0] === "✗" ? "name wrong" : ""));
    return state.panel === "loss"
      ? canvas(ui.width, 290, paired(state, numbers, ui, given), moved(0, 244, lines))
      : canvas(
          ui.width,
          672,
          aligned(state, numbers, ui, given),
          moved(0, 204, lines),
          atlas(state, numbers, ui, given),
        );
  },
  controls: ({ panel, keepdim, column }, _, { set }) => [
    choice({
      legend: "Panel",
      options: [
        ["mean", "a mean"],
        ["loss", "a loss"],
      ],
      value: panel,
      set: (panel) => set({ panel }),
    }),
    panel === "loss"
      ? toggle({ label: "labels in a column", checked: column, set: (column) => set({ column }) })
      : toggle({ label: "keepdim=True", checked: keepdim, term: "counts", set: (keepdim) => set({ keepdim }) }),
  ],
  lines: (state, numbers) =>
    state.panel === "loss"
      ? numbers.reactions
      : shapesOf(state, numbers).map(([term, shape, code]) => ({ term, formula: `${term} ${shape}`, code })),
  sentence: (state, numbers) => `${said(state, numbers).join(". ")}.`,
  table: (state, numbers, given) => ({
    caption: "The numbers of the picture",
    head: ["what", "numbers"],
    rows:
      state.panel === "loss"
        ? [
            ...numbers.costs.map((/** @type {any} */ { p, y, cost }) => [
              `${NAMES[p]}, by ${NAMES[y]}’s label`,
              short(cost),
            ]),
            ["mean", short(numbers.loss)],
            ["by their own", short(numbers.meant)],
          ]
        : [
            ...shapesOf(state, numbers).map((row) => row.slice(0, 2)),
            ...NAMES.slice(0, state.sizes[0]).map((name, k) => [
              name,
              given.counts[k].slice(0, state.sizes[1]).join(", "),
            ]),
            ...KINDS.map(([, words], k) => [words, numbers.tally[k]]),
          ],
  }),
};

export default host(figure);
