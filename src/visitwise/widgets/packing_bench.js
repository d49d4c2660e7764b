// Figure 7: four patients padded and packed; how far apart are the states?

import { canvas, choice, h, host, toggle } from "./kit.js";
import { sum } from "./functional.js";
import { lstm } from "./lstm.js";

const NAMES = ["Ben", "Dan", "Ada", "Eve"];
const ROUNDING = 1e-12;

const upTo = (/** @type {number} */ n) => Array.from({ length: n }, (_, k) => k);

/** @param {number[]} numbers */
export const argsort = (numbers) => upTo(numbers.length).sort((a, b) => numbers[a] - numbers[b]);

/** @param {number[]} lengths */
export const longestFirst = (lengths) => argsort(lengths.map((n) => -n));

/** @param {number[]} lengths */
export const batchSizes = (lengths) => upTo(Math.max(...lengths)).map((k) => lengths.filter((n) => k < n).length);

/** Patient and visit of each row of `data`. @param {number[]} lengths */
export const packedRows = (lengths) => {
  const order = longestFirst(lengths);
  return batchSizes(lengths).flatMap((size, k) => order.slice(0, size).map((patient) => [patient, k]));
};

/** @param {import("./lstm.js").Weights} weights @param {number[][]} record @param {boolean} bidirectional */
export function run(weights, record, bidirectional) {
  const forward = lstm(weights, record);
  const backward = bidirectional ? lstm(weights, [...record].reverse(), "l0_reverse").reverse() : [];
  const both = (/** @type {any} */ one, /** @type {any} */ other) => [...one.state, ...(other?.state ?? [])];
  return {
    states: forward.map((one, k) => both(one, backward[k])),
    h_n: both(forward[forward.length - 1], backward[0]),
  };
}

/** @param {number[]} one @param {number[]} other */
const apart = (one, other) => Math.max(...one.map((number, k) => Math.abs(number - other[k])));

/**
 * @param {import("./lstm.js").Weights} weights @param {number[][]} record @param {number} columns @param {number} pad
 * @param {boolean} bidirectional
 */
export function difference(weights, record, columns, pad, bidirectional) {
  const filled = upTo(columns).map((k) => record[k] ?? [pad, pad]);
  const padded = run(weights, filled, bidirectional);
  const packed = run(weights, record, bidirectional);
  return {
    states: record.map((_, k) => apart(padded.states[k], packed.states[k])),
    h_n: apart(padded.h_n, packed.h_n),
  };
}

/** @typedef {{ lengths: number[], step: number, bidirectional: boolean, pad: number }} Bench */
/** @typedef {ReturnType<typeof out>} Shown */

/** @param {Bench} state @param {any} given */
export function out({ lengths, step, bidirectional, pad }, { visits, weights }) {
  const columns = Math.max(...lengths);
  const sorted = longestFirst(lengths);
  const sizes = batchSizes(lengths);
  const data = packedRows(lengths);
  const found = lengths.map((n, patient) =>
    difference(weights, visits[patient].slice(0, n), columns, pad, bidirectional),
  );
  const states = found.map((one) => one.states);
  const h_n = found.map((one) => one.h_n);
  return {
    batch_sizes: sizes,
    sorted_indices: sorted,
    unsorted_indices: argsort(sorted),
    data,
    row_of: lengths.map((_, patient) => upTo(data.length).filter((row) => data[row][0] === patient)),
    rows: data.length,
    cells: lengths.length * columns,
    columns,
    rows_so_far: sum(sizes.slice(0, step)),
    apart: states,
    most_apart: Math.max(...states.flat()),
    h_n_apart: h_n,
    h_n_most_apart: Math.max(...h_n),
    states_differ: states.map((one) => Math.max(...one) > ROUNDING),
    h_n_differs: h_n.map((one) => one > ROUNDING),
  };
}

const shown = (/** @type {number} */ number) => (number > ROUNDING ? number.toFixed(3) : "0");

/** @param {boolean[]} chosen */
const who = (chosen) => NAMES.filter((_, k) => chosen[k]).join(", ");

const ROW = 44;
const TOP = 84;
const BOTTOM = TOP + 4 * ROW;

/** @param {string} kind @param {number} x @param {number} y @param {string | number} text @param {string} [term] */
const write = (kind, x, y, text, term) => h("text", { class: kind, x, y, "data-term": term }, text);

/** A path for each kind. @param {any[][]} cells @param {number} wide @param {number} high */
const boxes = (cells, wide, high) =>
  h(
    "g",
    null,
    [...new Set(cells.map(([kind]) => kind))].map((kind) => {
      const alike = cells.filter((cell) => cell[0] === kind);
      return h("path", {
        class: kind > 0 ? "wrong" : kind,
        "fill-opacity": kind > 0 ? 0.1 + 0.2 * kind : null,
        d: alike.map(([, x, y]) => `M${x + 1} ${y}h${wide - 2}v${high}h${2 - wide}z`).join(""),
      });
    }),
  );

/** @param {any[][]} cells @param {number} wide */
const inside = (cells, wide) =>
  cells.map(([, x, y, text]) => text >= 0 && write("small middle", x + wide / 2, y + 16, text));

/** @param {Bench} state @param {Shown} numbers @param {import("./kit.js").Ui} ui */
function picture({ lengths, step, bidirectional, pad }, numbers, ui) {
  const { width, narrow } = ui;
  const { columns, row_of, unsorted_indices, sorted_indices } = numbers;
  const cell = Math.floor((width - 136) / 12);
  const box = 30;
  const bench = width - 6 * cell - 1;
  const from = box + 6 * cell + 8;
  const to = bench - 38;
  const edge = bench + Math.min(step, columns) * cell;
  const high = narrow ? 628 : 584;
  const half = bidirectional ? "forward " : ""; // the backward h_n is read at the first visit

  /** @param {number} patient @param {number} count @param {number} x @param {number} y */
  const cells = (patient, count, x, y) =>
    upTo(count).map((k) => {
      const row = row_of[patient].slice(0, step)[k];
      return [row >= 0 ? "visit" : k < lengths[patient] ? "visit waiting" : "padding", x + k * cell, y + 3, row];
    });
  /** @param {any[][]} row @param {boolean} [wrong] */
  const marked = (row, wrong) => {
    const [, x, y] = row[row.length - 1];
    return [
      wrong ? write("wrong middle", x + cell / 2, y + 33, "✗") : write("middle", x + cell / 2, y + 33, "●", "h_n"),
      inside(row, cell),
    ];
  };
  const all = lengths.map((_, patient) => cells(patient, columns, box, TOP + patient * ROW));
  const padded = lengths.map((n, patient) => {
    const y = TOP + patient * ROW;
    const end = box + n * cell;
    return h(
      "g",
      null,
      write("name", 0, y + 27, NAMES[patient]),
      h("path", {
        class: "axis",
        d: `M${from + 12} ${y + 22}L${to - 12} ${TOP + unsorted_indices[patient] * ROW + 22}`,
      }),
      write("", from, y + 27, unsorted_indices[patient], "unsorted_indices"),
      write("end", to, y + 27, sorted_indices[patient], "sorted_indices"),
      marked(all[patient], numbers.h_n_differs[patient]),
      ui.handle(
        {
          label: `${NAMES[patient]}'s visits`,
          text: `${NAMES[patient]} has ${n} visits`,
          value: n,
          from: 1,
          to: 6,
          step: 1,
          page: 1,
          sideways: true,
          x: end,
          y: y + 22,
          at: (x) => (x - box) / cell,
          set: (value) => ui.set({ lengths: lengths.with(patient, value) }),
        },
        h("rect", { class: "knob", x: end - 3.5, y: y + 21, width: 7, height: 22, rx: 3.5 }),
      ),
    );
  });
  const packed = lengths.map((n, patient) => {
    const row = cells(patient, n, 0, 0);
    return h(
      "g",
      { class: "moves", style: `transform: translate(${bench}px, ${TOP + unsorted_indices[patient] * ROW}px)` },
      write("name end", -4, 27, NAMES[patient]),
      boxes(row, cell, ROW - 6),
      marked(row),
    );
  });
  const sizes = numbers.batch_sizes.map((size, k) =>
    write("name middle", bench + (k + 0.5) * cell, BOTTOM + 16, size, "batch_sizes"),
  );
  return canvas(
    width,
    high,
    write("name", 0, 12, `padded with ${pad}`),
    write("quiet", 0, 30, `${numbers.cells} cells`),
    write("quiet", 0, 48, `${half}h_n at ●, wrong at ✗`),
    write("name", bench, 12, "packed"),
    write("quiet", bench, 30, `${numbers.rows} rows`),
    write("quiet", bench, 48, half + "h_n at ●"),
    boxes(all.flat(), cell, ROW - 6),
    padded,
    packed,
    write("small end", from + 8, TOP - 8, "unsorted_indices", "unsorted_indices"),
    write("small end", to, BOTTOM + 16, "sorted_indices", "sorted_indices"),
    write("small", bench, BOTTOM + 34, "batch_sizes", "batch_sizes"),
    h("g", null, sizes),
    ui.handle(
      {
        label: "columns in data",
        text: `${numbers.rows_so_far} of ${numbers.rows} rows are in data`,
        value: Math.min(step, columns),
        from: 0,
        to: columns,
        step: 1,
        page: 1,
        sideways: true,
        x: edge - 20,
        y: TOP - 22,
        at: (x) => (x + 20 - bench) / cell,
        set: (value) => ui.set({ step: value === columns ? 6 : value }),
      },
      h("path", { class: "knob", d: `M${edge} ${TOP - 18}V${BOTTOM}` }),
      h("rect", { class: "knob", x: edge - 23, y: TOP - 22, width: 24, height: 8, rx: 4 }),
    ),
    strip(BOTTOM + 60, numbers, narrow ? 12 : 24, width),
    heat(high - 182, numbers, width),
  );
}

/**
 * `data` so far, a gap before each batch.
 * @param {number} y @param {Shown} numbers @param {number} many in a line @param {number} width
 */
function strip(y, { data, rows, rows_so_far }, many, width) {
  const wide = width / many;
  let path = "";
  const words = data.slice(0, rows_so_far).map(([patient, visit], row) => {
    const gap = row && data[row - 1][1] === visit ? 0.5 : 4;
    const x = (row % many) * wide + gap;
    const top = y + 10 + 44 * Math.floor(row / many);
    const middle = ((row % many) + 0.5) * wide + 1;
    path += `M${x} ${top}h${wide - gap}v22h${gap - wide}z`;
    return [
      write("small middle", middle, top + 16, NAMES[patient][0] + visit),
      write("quiet small middle", middle, top + 36, row),
    ];
  });
  return h(
    "g",
    null,
    write("name", 0, y, `data, ${rows_so_far} of ${rows} rows: patient and visit`),
    h("path", { class: "visit", d: path }),
    words,
  );
}

/** @param {number} y @param {Shown} numbers @param {number} width */
function heat(y, numbers, width) {
  const wide = (width - 30) / 7;
  const visits = upTo(numbers.columns);
  /** @type {any[][][]} */
  const rows = NAMES.map((_, patient) =>
    [6, ...visits].map((k) => {
      const size = k < 6 ? numbers.apart[patient][k] : numbers.h_n_apart[patient];
      const place = [30 + k * wide, y + 28 + 25 * patient];
      return size === undefined ? ["padding", ...place] : [size > ROUNDING ? size : "visit", ...place, shown(size)];
    }),
  );
  const verdict = (/** @type {number} */ below, /** @type {string} */ what, /** @type {boolean[]} */ differ) =>
    who(differ)
      ? write("wrong name", 0, y + below, `✗ wrong: ${what} of ${who(differ)}`)
      : write("name", 0, y + below, `✓ ${what}: no difference but rounding`);
  return h(
    "g",
    null,
    write("name", 0, y, "largest difference, padded − packed"),
    write("middle", 30 + 6.5 * wide, y + 20, "h_n", "h_n"),
    boxes(rows.flat(), wide, 22),
    rows.map((row, patient) =>
      h("g", null, write("name", 0, y + 44 + 25 * patient, NAMES[patient]), inside(row, wide)),
    ),
    verdict(150, "states", numbers.states_differ),
    verdict(170, "h_n", numbers.h_n_differs),
    visits.map((k) => write("quiet middle", 30 + (k + 0.5) * wide, y + 20, `t = ${k}`)),
  );
}

/** @type {import("./kit.js").Figure} */
export const figure = {
  name: "packing_bench",
  claim: "Padding reaches no visit of a forward LSTM, and yet h_n is wrong for everybody with a shorter record",
  state: {
    lengths: { start: [2, 5, 3, 1], from: 1, to: 6, step: 1 },
    step: { start: 6, from: 0, to: 6, step: 1 },
    bidirectional: { start: false },
    pad: { start: 0, among: [0, 7] },
  },
  out: (state, given) => out(/** @type {Bench} */ (state), given),
  question: ({ visits, weights }) => {
    const ben = visits[0].slice(0, 2);
    const forward = difference(weights, ben, 5, 7, false);
    const both = difference(weights, ben, 5, 7, true);
    return {
      question:
        "Fill the padding with 7, not 0. At Ben's visits, how far are the padded states of a forward LSTM then from the packed ones?",
      options: [
        { label: shown(forward.h_n), why: "That is h_n, read behind the padding, where no visit stands." },
        {
          label: shown(Math.max(...forward.states)),
          why: "A forward LSTM reads the visits first: the padding comes too late.",
        },
        {
          label: shown(Math.max(...both.states)),
          why: "That is a bidirectional LSTM, whose backward half begins in the padding.",
        },
      ],
      truth: 1,
    };
  },
  picture: (state, numbers, ui) => picture(/** @type {Bench} */ (state), /** @type {any} */ (numbers), ui),
  controls: ({ bidirectional, pad }, _, ui) => [
    toggle({
      label: "bidirectional: read backwards, too",
      checked: bidirectional,
      set: (checked) => ui.set({ bidirectional: checked }),
    }),
    choice({
      legend: "Padding is filled with",
      options: [
        [0, "0"],
        [7, "7"],
      ],
      value: pad,
      set: (value) => ui.set({ pad: value }),
    }),
  ],
  lines: ({ lengths, bidirectional }, numbers) => [
    {
      term: "batch_sizes",
      formula: `still there at each visit: ${numbers.batch_sizes.join(", ")}`,
      code: "batch_sizes = torch.bincount(self.index).cpu()",
    },
    {
      term: "sorted_indices",
      formula: `who stands at each place: ${numbers.sorted_indices.map((/** @type {number} */ k) => `${NAMES[k]} ${k}`).join(", ")}`,
      code: "sorted_indices = length.argsort(descending=True, stable=True)",
    },
    {
      term: "unsorted_indices",
      formula: `everybody's place: ${NAMES.map((name, k) => `${name} ${numbers.unsorted_indices[k]}`).join(", ")}`,
      code: "rank = sorted_indices.argsort()",
    },
    {
      term: "h_n",
      formula: `${bidirectional ? "forward h_n: " : ""}own last visit, columns ${lengths.map((/** @type {number} */ n) => n - 1).join(", ")}`,
      code: "last_state = padded[torch.arange(64), batch.length - 1]",
    },
  ],
  sentence: ({ lengths, bidirectional, pad }, { cells, rows, columns, most_apart, h_n_most_apart }) =>
    `Ben, Dan, Ada and Eve have ${lengths.join(", ")} visits: ${cells} cells padded, ${rows} rows packed. ` +
    (cells === rows
      ? "Without padding nothing differs. "
      : `Padding of ${pad} moves ${most_apart > ROUNDING ? `states at visits by up to ${shown(most_apart)}` : "no state at a visit"}, and h_n by up to ${shown(h_n_most_apart)}. `) +
    `Either way the LSTM reads ${columns} column${columns > 1 ? "s" : ""}, one after the other: cells saved are no measure of time.`,
  table: ({ lengths }, numbers) => ({
    caption: `batch_sizes ${numbers.batch_sizes.join(", ")}; sorted_indices ${numbers.sorted_indices.join(", ")}; ${numbers.cells} cells; ${numbers.rows_so_far} of ${numbers.rows} rows.`,
    head: ["patient", "visits", "unsorted_indices", "rows of data", "states apart, visit by visit", "h_n apart"],
    rows: NAMES.map((name, k) => [
      name,
      lengths[k],
      numbers.unsorted_indices[k],
      numbers.row_of[k].join(", "),
      numbers.apart[k].map(shown).join(", "),
      shown(numbers.h_n_apart[k]),
    ]),
  }),
  style: `
.visit { fill: var(--vw-panel, #f6f7f9); stroke: var(--vw-muted, #5b6470); }
.waiting { fill: none; }
.wrong[fill-opacity] { stroke: var(--vw-wrong, #b3122e); }
.small { font-size: 12px; }
`,
};

export default host(figure);
