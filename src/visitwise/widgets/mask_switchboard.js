// Figure 8: which of four masks moves the loss, which its slopes?

import { canvas, choice, clamp, h, host, minus, rect, stamp, text, toggle } from "./kit.js";
import { sigmoid, sum } from "./functional.js";
import { lstm } from "./lstm.js";

/**
 * @typedef {{ name: string, stop: number[], padding_idx: number | null, bidirectional: boolean }} World
 * @typedef {{ names: string[], records: number[][][], observed: boolean[], worlds: World[], eps: number,
 *   weights: Record<string, number[][]>, heads: Record<string, { weight: number[], bias: number }>,
 *   gradient_changes: number[][] }} Given
 */

const upTo = (/** @type {number} */ n) => Array.from({ length: n }, (_, k) => k);

/** Which masks are on; the first way has all. */
const WAYS = upTo(16).map((way) => [8, 4, 2, 1].map((bit) => !(way & bit)));

/**
 * The loss with these masks, and what becomes of each patient's visits.
 * @param {Given} given @param {World} world @param {boolean[]} on
 */
export function run({ records, observed, weights, heads, eps }, world, [inSum, inCount, inHazard, inLoss]) {
  const visits = upTo(Math.max(...records.map((record) => record.length)));
  const cells = upTo(Math.max(...records.flat().map((codes) => codes.length)));
  const { weight, bias } = heads[world.bidirectional ? "both" : "forward"];
  const table = weights.embedding.map((vector, code) => vector.map((e) => (code === world.padding_idx ? 0 : e)));
  const patients = records.map((record, patient) => {
    const counts = visits.map((k) => (inCount ? Math.max(1, record[k]?.length ?? 0) : cells.length));
    const inputs = visits.map((k) => {
      const codes = record[k] ?? [];
      const added = inSum ? codes : cells.map((c) => codes[c] ?? 0);
      return table[0].map((_, j) => sum(added.map((code) => table[code][j])) / counts[k]);
    });
    const forward = lstm(weights, inputs);
    const backward = world.bidirectional ? lstm(weights, inputs.toReversed(), "l0_reverse").toReversed() : [];
    const rows = visits.map((k) => {
      const state = [...forward[k].state, ...(backward[k]?.state ?? [])];
      const logit = sum(state.map((number, u) => number * weight[u])) + bias;
      const padded = !record[k];
      const hazard = padded && inHazard ? 0 : sigmoid(logit);
      const out = k >= world.stop[patient] || (padded && inLoss);
      const event = observed[patient] && k === world.stop[patient] - 1;
      const held = clamp(hazard, eps, 1 - eps);
      return {
        hazard,
        charged: out ? "no row" : event ? "event" : "survived",
        cost: out ? 0 : -Math.log(event ? held : 1 - held),
      };
    });
    return { counts, rows };
  });
  const costs = patients.flatMap(({ rows }) => rows.map(({ cost }) => cost));
  return { loss: sum(costs) / records.length, patients };
}

/** @type {WeakMap<Given, ReturnType<typeof run>[][]>} */
const known = new WeakMap();

/** @param {Given} given */
function runs(given) {
  const found = known.get(given) ?? given.worlds.map((world) => WAYS.map((on) => run(given, world, on)));
  known.set(given, found);
  return found;
}

/** 0 nothing, 1 the loss alone, 2 the slopes, too. @param {Given} given */
const moves = (given) =>
  runs(given).map((row, j) =>
    row.map(({ loss }, way) => (loss === row[0].loss ? 0 : given.gradient_changes[j][way] === 0 ? 1 : 2)),
  );

const MASKS = ["mask_code_sum", "mask_code_count", "mask_hazard", "mask_loss"];

/** @param {Record<string, any>} state @param {Given} given */
export function out(state, given) {
  const table = runs(given);
  const world = given.worlds.findIndex(({ name }) => name === state.world);
  const way = sum(MASKS.map((mask, k) => (state[mask] ? 0 : 8 >> k)));
  const patient = given.names.indexOf(state.patient);
  const { loss, patients } = table[world][way];
  const { counts, rows } = patients[patient];
  const loss_changes = table.map((row) => row.map((one) => one.loss - row[0].loss));
  return {
    world,
    patient,
    way,
    loss,
    loss_change: loss_changes[world][way],
    gradient_change: given.gradient_changes[world][way],
    counts,
    hazards: rows.map((row) => row.hazard),
    charged: rows.map((row) => row.charged),
    costs: rows.map((row) => row.cost),
    loss_changes,
    moves: moves(given),
  };
}

// Its place, the equation with it and without, the code.
const STATIONS = [
  ["in the sum", "Σ m·e", "Σ e", "embedded = embedded * code_mask[..., None]"],
  ["in the count", "÷ max(1, Σ m)", "÷ Σ 1", "embedded.sum(2) / counted.sum(2, keepdim=True).clamp(min=1)"],
  ["on the hazards", "h·m", "h", "hazard * visit_mask"],
  ["in the loss", "m·log h, m·log(1 − h)", "log h, log(1 − h)", "event & visit_mask, survived & visit_mask"],
];

const MOVES = [
  ["quiet", "m-2-2h4v4h-4z", "nothing"],
  ["alone", "m-4.5-4.5h9v9h-9z", "loss alone"],
  ["wrong", "m-5.5-5.5h11v11h-11z", "loss and slopes"],
];

const size = (/** @type {number} */ change) => (change === 0 ? "0" : change.toFixed(4));
const signed = (/** @type {number} */ change) => (change > 0 ? "+" : "") + minus(size(change));
const places = (/** @type {(k: number) => any} */ chosen) =>
  STATIONS.flatMap(([place], k) => (chosen(k) ? place : [])).join(", ");
const off = (/** @type {number} */ way) => places((k) => !WAYS[way][k]) || "none";

const spaced = (/** @type {string} */ name) => name.replace("-", " ");
const told = (/** @type {any} */ { way, loss_change, gradient_change }) =>
  `left out: ${off(way)}; the loss moves by ${signed(loss_change)}; largest change of a slope ${size(gradient_change)}`;

/** @param {Record<string, any>} state @param {ReturnType<typeof out>} numbers @param {import("./kit.js").Ui} ui @param {Given} given */
function picture(state, numbers, { width, narrow, handle, set }, { records, worlds }) {
  const { world, patient, way, loss, loss_change, gradient_change, counts, hazards, charged, costs } = numbers;
  const record = records[patient];
  const stop = worlds[world].stop[patient];
  const left = narrow ? 0 : 198;
  const wide = (width - left + 12) / 3;
  const step = narrow ? 52 : 36;
  const first = narrow ? 42 : 22;
  const result = first + 4 * step + 20;
  const map = result + 82;
  const edge = left || 110;
  const column = (width - edge - 6) / 16;
  const x = (/** @type {number} */ k) => edge + (k + 0.5) * column;
  const y = (/** @type {number} */ k) => map + 20 * k + (k > 3 ? 22 : 0);
  const frame = (/** @type {number} */ top, /** @type {number} */ high) =>
    rect(x(way) - column / 2, top - 11, column, high, "frame");

  const visits = hazards.map((hazard, k) => {
    const codes = record[k] ?? [];
    const padded = k >= record.length;
    const part = (wide - 12) / 6;
    /** @param {number} station @param {string} words */
    const cell = (station, words, look = padded ? "padding" : "real", at = left + k * wide, share = wide - 12) => [
      rect(at, first + station * step, share, 26, look),
      text(at + share / 2, first + station * step + 18, words, `middle ${station === 2 && !padded ? "hazard" : ""}`),
    ];
    const row = `${charged[k]} ${costs[k].toFixed(2)}`;
    return [
      upTo(6).map((c) => {
        const code = codes[c] ?? 0;
        const vector = worlds[world].padding_idx === code ? "0" : `e${String.fromCharCode(8320 + code)}`;
        const added = code || !WAYS[way][0] ? vector : "";
        const look = code ? "real" : added > "0" ? "spoilt" : "padding";
        return cell(0, added, look, left + k * wide + c * part, part - 2);
      }),
      padded || counts[k] === codes.length ? cell(1, `÷ ${counts[k]}`) : cell(1, `✗ ÷ ${counts[k]}`, "spoilt"),
      cell(2, hazard ? hazard.toFixed(3) : "0"),
      padded && k < stop
        ? cell(3, costs[k] ? `✗ ${row}` : "✗ event erased", "spoilt")
        : cell(3, padded ? "no row" : row),
    ];
  });
  return canvas(
    width,
    map + 204,
    hazards.map((_, k) => text(left + k * wide, 12, record[k] ? `${state.patient}'s visit ${k}` : "padding", "quiet")),
    STATIONS.map(([place], k) =>
      h(
        "g",
        { "data-term": MASKS[k] },
        visits.map((parts) => parts[k]),
        text(0, first + k * step + (narrow ? -6 : 18), `${WAYS[way][k] ? "● mask" : "○ no mask"} ${place}`, "name"),
      ),
    ),
    [
      ["loss", loss.toFixed(4)],
      ["moves by", signed(loss_change)],
      ["largest slope change", size(gradient_change)],
    ].map(([what, number], k) => [
      text(k * 0.28 * width, result, what, "quiet"),
      text(k * 0.28 * width, result + 24, number, "big name"),
    ]),
    text(0, map - 26, "16 ways, one a column; filled: mask on", "quiet"),
    text(0, map + 83, "what moves:", "quiet"),
    STATIONS.map(([place], k) => text(0, y(k) + 4, place)),
    worlds.map(({ name }, k) => [
      text(0, y(k + 4) + 4, spaced(name), k === world && "name"),
      state.all_worlds ||
        k === world ||
        text(WAYS.map((_, way) => x(way)).join(" "), y(k + 4) + 4, "?".repeat(16), "quiet middle"),
    ]),
    [true, false].map((on) =>
      stamp(
        WAYS.flatMap((masks, k) => masks.flatMap((mask, j) => (mask === on ? [[x(k) - 5, y(j)]] : []))),
        "a5 5 0 1 0 10 0a5 5 0 1 0-10 0",
        on ? "quiet" : "open",
      ),
    ),
    MOVES.map(([look, path, words], kind) => {
      const at = [0, 0.28, 0.6][kind] * width;
      const spots = numbers.moves.flatMap((row, j) =>
        row.flatMap((move, k) => (move === kind && (state.all_worlds || j === world) ? [[x(k), y(j + 4)]] : [])),
      );
      return [stamp([...spots, [at + 6, map + 194]], path, look), text(at + 18, map + 198, words, "quiet")];
    }),
    frame(y(world + 4), 22),
    handle(
      {
        label: "masks left out",
        text: told(numbers),
        value: way,
        from: 0,
        to: 15,
        step: 1,
        page: 4,
        sideways: true,
        x: x(way),
        y: map + 30,
        height: 82,
        at: (place) => (place - edge) / column - 0.5,
        set: (value) => set(Object.fromEntries(MASKS.map((mask, k) => [mask, WAYS[value][k]]))),
      },
      frame(map, 82),
      rect(x(way) - 8, map - 15, 16, 8, "knob"),
    ),
  );
}

/** @type {import("./kit.js").Figure} */
export const figure = {
  name: "mask_switchboard",
  claim:
    "With valid labels two of the four masks change not one bit; with a label one row too late, a mask erases an event",
  state: {
    patient: { start: "Ben", among: ["Ben", "Ada", "Cleo"] },
    world: { start: "usual", among: ["usual", "no-padding_idx", "bidirectional", "late-label"] },
    mask_code_sum: { start: true },
    mask_code_count: { start: true },
    mask_hazard: { start: false },
    mask_loss: { start: false },
    all_worlds: { start: false },
  },
  out,
  question: (given) => {
    const moved = moves(given).map((row) => places((k) => row[8 >> k]));
    const table = runs(given)[3];
    return {
      question:
        "Ben's event is labelled one row too late, in the padding. Which masks, each left out alone, move the loss?",
      options: [
        {
          label: moved[0],
          why: "So it is with valid labels. This one asks for a row that a mask takes out.",
        },
        {
          label: moved[1],
          why: "So it is if the padding has a vector. Here it is zero.",
        },
        {
          label: moved[3],
          why: `Without the mask in the loss the event is charged, at the clamp: ${signed(table[1].loss - table[0].loss)} of loss, and no slope moves.`,
        },
        {
          label: "all four",
          why: "Not the one on the hazards: the mask in the loss takes that row out.",
        },
      ],
      truth: 2,
    };
  },
  picture: (state, numbers, ui, given) => picture(state, /** @type {any} */ (numbers), ui, given),
  controls: (state, _, ui) => [
    ["world", "patient"].map((part) =>
      choice({
        legend: part,
        options: (figure.state[part].among ?? []).map((name) => [name, spaced(name)]),
        value: state[part],
        set: (name) => ui.set({ [part]: name }),
      }),
    ),
    h(
      "fieldset",
      null,
      h("legend", null, "masks"),
      MASKS.map((term, k) =>
        toggle({ label: STATIONS[k][0], checked: state[term], term, set: (on) => ui.set({ [term]: on }) }),
      ),
    ),
    h(
      "fieldset",
      null,
      h("legend", null, "map"),
      toggle({ label: "show all worlds", checked: state.all_worlds, set: (all_worlds) => ui.set({ all_worlds }) }),
    ),
  ],
  lines: (state) =>
    STATIONS.map(([place, on, without, code], k) => ({
      term: MASKS[k],
      formula: `${place}: ${state[MASKS[k]] ? on : without}`,
      code,
    })),
  sentence: (state, numbers) =>
    `World: ${spaced(state.world)}; ${told(numbers)}. The loss is ${numbers.loss.toFixed(4)}.` +
    (state.world === "late-label"
      ? ` Wrong: Ben's event is ${state.mask_loss ? "erased, as if censored" : "charged where no visit was"}.`
      : ""),
  table: (_, { way, loss_changes }, { worlds, gradient_changes }) => ({
    caption: "The loss moves by; largest change of a slope. A 0 is exact.",
    head: ["left out", ...worlds.map((/** @type {World} */ { name }) => spaced(name))],
    rows: WAYS.map((_, k) => [
      off(k) + (k === way ? " (on show)" : ""),
      ...worlds.map(
        (/** @type {any} */ _, /** @type {number} */ j) =>
          `${signed(loss_changes[j][k])}, ${size(gradient_changes[j][k])}`,
      ),
    ]),
  }),
  style: `
.real { fill: var(--vw-panel, #f6f7f9); stroke: var(--vw-muted, #5b6470); }
.spoilt { fill: var(--vw-wrong, #b3122e); fill-opacity: 0.15; stroke: var(--vw-wrong, #b3122e); }
.alone, .open, .frame { fill: none; stroke: var(--vw-muted, #5b6470); stroke-width: 2; }
.alone { stroke: var(--vw-wrong, #b3122e); }
.frame, svg g.lit > rect { stroke: var(--vw-ink, #1b1f24); }
.frame, .knob { rx: 4px; }
.big { font-size: 18px; }
`,
};

export default host(figure);
