// Figure 4: the push on each logit of four patients, through a clamp or from the logit.

import { canvas, censoredMark, choice, clamp, eventMark, h, host, levels, minus, text } from "./kit.js";
import { sigmoid, softplus, sum } from "./functional.js";

const VISITS = 6;

/**
 * @typedef {{ logits: number[], path: string, eps: number, cell: number }} Push
 * @typedef {{ patients: string[], stop: number[], observed: boolean[] }} Records
 */

/** For each cell 1 for the event, 0 for a row survived, null for no row. @param {Records} records */
export const rowLabels = ({ stop, observed }) =>
  stop.flatMap((rows, patient) =>
    Array.from({ length: VISITS }, (_, visit) => {
      const event = observed[patient] && visit === rows - 1;
      return visit < rows ? Number(event) : null;
    }),
  );

/** A row's loss and its slope, from the logit. @param {number} z @param {number} label */
export const fromLogit = (z, label) =>
  label ? { loss: softplus(-z), gradient: -sigmoid(-z) } : { loss: softplus(z), gradient: sigmoid(z) };

/**
 * The same by sigmoid, clamp and logarithm: once the clamp has changed a hazard it lets no slope through.
 * @param {number} z @param {number} label @param {number} eps
 */
export function clampAndLog(z, label, eps) {
  const hazard = sigmoid(z);
  const kept = clamp(hazard, eps, 1 - eps);
  const loss = -Math.log(label ? kept : 1 - kept);
  if (kept !== hazard) return { loss, gradient: 0 };
  return { loss, gradient: (label ? -1 / kept : 1 / (1 - kept)) * hazard * (1 - hazard) };
}

/** @param {string} path @param {number} z @param {number} label @param {number} eps */
const costOf = (path, z, label, eps) => (path === "clamp" ? clampAndLog(z, label, eps) : fromLogit(z, label));

/** Every number on show. @param {Push} state @param {Records} records */
export function out({ logits, path, eps, cell }, records) {
  const labels = rowLabels(records);
  const rows = logits.map((z, k) => {
    const label = labels[k];
    if (label === null) return { loss: 0, gradient: 0, closed: 0 };
    return { ...costOf(path, z, label, eps), closed: sigmoid(z) - label };
  });
  return {
    hazards: logits.map(sigmoid),
    labels,
    losses: rows.map(({ loss }) => loss),
    closed: rows.map(({ closed }) => closed),
    gradients: rows.map(({ gradient }) => gradient),
    without_push: rows.map(({ gradient }) => gradient === 0),
    nll: sum(rows.map(({ loss }) => loss)),
    loss: rows[cell].loss,
    gradient: rows[cell].gradient,
    edges: [eps, 1 - eps].map((hazard) => Math.log(hazard / (1 - hazard))), // beyond these logits the clamp acts
  };
}

const power = (/** @type {number} */ number) => minus(number.toExponential(1).replace(".0", ""));

/** Four decimals; as a power of ten what they would hide; 0 only if it is exactly that. @param {number} number */
const written = (number) => (number && Math.abs(number) < 5e-5 ? power(number) : minus(number ? number.toFixed(4) : 0));

/** @param {Records} records @param {number} k */
const nameOf = ({ patients }, k) => `${patients[Math.floor(k / VISITS)]}, interval ${k % VISITS}`;

/** @param {number | null} label */
const kindOf = (label) => (label === null ? "no row" : label ? "event" : "survived");

/** @param {any} numbers @param {number} k */
const closedOf = ({ labels, closed }, k) => (labels[k] === null ? "no row" : `h − y = ${written(closed[k])}`);

/** Whether a row stands still that hazard minus label would push. @param {any} numbers @param {number} k */
const stuck = ({ closed, gradients }, k) => Math.abs(closed[k] - gradients[k]) > 0.5;

/** @param {Push} state @param {any} numbers @param {import("./kit.js").Ui} ui @param {Records} records */
function picture(state, numbers, ui, records) {
  const { width } = ui;
  const beside = width >= 600;
  const across = beside ? 0.52 * width : width;
  const column = across / VISITS;
  const height = beside ? 362 : 598;
  return canvas(
    width,
    height,
    text(0, 13, "the push, − gradient, by interval; below it the logit z", "quiet"),
    records.stop.map((stop, i) => [
      text(0, 54 + 80 * i, [
        h("tspan", { class: "name" }, records.patients[i]),
        `: ${records.observed[i] ? "event in" : "censored after"} interval ${stop - 1}`,
      ]),
      state.logits.some((_, k) => stuck(numbers, k) && Math.floor(k / VISITS) === i) &&
        text(across, 54 + 80 * i, "✗ wrong: no push", "wrong end"),
    ]),
    state.logits.slice(0, VISITS).map((_, t) => text(column * (t + 0.5), 34, t, "quiet middle")),
    state.logits.map((_, k) => pushed(state, numbers, ui, records, k, column)),
    beside
      ? curve(state, numbers, ui, records, across + 28, 0, width, 264)
      : curve(state, numbers, ui, records, 0, 374, width, 138),
  );
}

/** @param {Push} state @param {number} cell @param {number} value */
const changed = ({ logits }, cell, value) => ({ logits: logits.map((z, k) => (k === cell ? value : z)), cell });

/**
 * One cell of the grid.
 * @param {Push} state @param {any} numbers @param {import("./kit.js").Ui} ui @param {Records} records
 * @param {number} k @param {number} column
 */
function pushed(state, numbers, ui, records, k, column) {
  const { logits, cell } = state;
  const z = logits[k];
  const label = numbers.labels[k];
  const t = k % VISITS;
  const i = Math.floor(k / VISITS);
  const x = column * t;
  const y = 60 + 80 * i;
  const center = x + column / 2;
  const corner = x + column - 15;
  const gradient = numbers.gradients[k];
  return ui.handle(
    {
      label: `logit of ${nameOf(records, k)}`,
      text: `${nameOf(records, k)}, ${kindOf(label)}: logit ${z}, gradient ${written(gradient)}`,
      value: z,
      from: -20,
      to: 20,
      step: 0.5,
      group: records.patients[i],
      place: t,
      count: VISITS,
      x: center,
      y: y + 28,
      width: column,
      height: 56,
      chosen: () => k !== cell && ui.set({ cell: k }),
      at: (_, at) => z + (y + 28 - at) / 8,
      set: (value) => ui.set(changed(state, k, value)),
    },
    [label === null ? "padding" : "grid", k === cell ? "chosen" : "hit"].map(
      (kind) => kind && h("rect", { class: kind, x: x + 1.5, y, width: column - 3, height: 56, rx: 4 }),
    ),
    label !== null && [
      h("path", { class: "axis", d: `M${center - 9} ${y + 22}h18` }),
      stuck(numbers, k) && [
        arrow(-numbers.closed[k], center, y + 22, "missing"),
        text(center - 8, y + 16, "✗", "wrong end"),
      ],
      arrow(-gradient, center, y + 22, gradient < 0 ? "hazard" : "survived"),
      text(center, y + 53, minus(z), "middle"),
    ],
    label === 1 && eventMark(corner + 4, y + 10, 4),
    label === 0 && t === records.stop[i] - 1 && censoredMark(corner, y + 10),
  );
}

/** @param {number} push @param {number} x @param {number} y @param {string} kind */
function arrow(push, x, y, kind) {
  const head = -Math.sign(push) * Math.min(19 * Math.abs(push), 9);
  const shaft = -19 * push - head;
  return (
    push &&
    h("path", {
      class: kind,
      "data-term": "gradient",
      d: `M${x - 2.5} ${y}v${shaft}h-4.5l7 ${head}l7 ${-head}h-4.5v${-shaft}z`,
    })
  );
}

/**
 * The loss of the chosen cell by its logit, both ways.
 * @param {Push} state @param {any} numbers @param {import("./kit.js").Ui} ui @param {Records} records
 * @param {number} x @param {number} y @param {number} to @param {number} tall
 */
function curve(state, numbers, ui, records, x, y, to, tall) {
  const { path, eps, cell, logits } = state;
  const { loss, gradient, edges } = numbers;
  const z = logits[cell];
  const label = numbers.labels[cell];
  const name = nameOf(records, cell);
  const base = y + 62 + tall;
  const unit = (to - x - 32) / 44;
  const across = (/** @type {number} */ logit) => x + 22 + (logit + 22) * unit;
  const up = (/** @type {number} */ cost) => base - (cost / 22) * tall;
  const drawn = (/** @type {string} */ way) =>
    Array.from({ length: 89 }, (_, k) => {
      const at = k / 2 - 22;
      const cost = label === null ? 0 : costOf(way, at, label, eps).loss;
      return `${k ? "L" : "M"}${across(at).toFixed(1)} ${up(cost).toFixed(1)}`;
    }).join("");
  const wrong = stuck(numbers, cell);
  const side = label ? -1 : 1; // where the surest wrong answers are
  const flat = edges[label ? 0 : 1];
  const zone = side * flat < 12 ? side * 22 : flat + side * 0.7;
  /** @type {(role: string, logit: number, height: number, text: string) => any} */
  const beside = (role, logit, height, words) =>
    text(across(logit) - side * 12, height, words, label ? role : `${role} end`);
  return [
    text(x, y + 13, `${name}: ${kindOf(label)}, z = ${minus(z)}`, "name"),
    text(x, y + 31, `loss ${written(loss)}, ${closedOf(numbers, cell)}`),
    text(x, y + 49, `gradient ${written(gradient)}${wrong ? " ✗ wrong" : ""}`, wrong && "wrong"),
    levels([0, 10, 20], x + 22, to, up),
    [-20, 0, 20].map((logit) => text(across(logit), base + 19, logit ? minus(logit) : "z = 0", "quiet middle")),
    label !== null && [
      [-22, edges[1]].map((edge) =>
        h("rect", {
          class: "quiet",
          "fill-opacity": 0.18,
          "data-term": "clamp",
          x: across(edge),
          y: up(22),
          width: (22 - edges[1]) * unit,
          height: tall,
        }),
      ),
      h(
        "path",
        path === "clamp"
          ? { class: "axis", "stroke-dasharray": "5 4", d: drawn("logits") }
          : { class: "missing", d: drawn("clamp") },
      ),
      beside("", side * 21.5, up(21.5) + 6, "from the logit"),
      beside(
        "wrong",
        side * Math.min(side * flat, 17),
        Math.max(up(clampAndLog(side * 22, label, eps).loss) + 6, up(22) + 30),
        "✗ wrong: clamped",
      ),
      beside("quiet", zone, base - 24, "dead zone"),
      beside("quiet", zone, base - 8, `z ${label ? "<" : ">"} ${minus(flat.toFixed(2))}`),
    ],
    ui.handle(
      {
        label: "logit of the chosen row",
        text: `${name}: logit ${z}, loss ${written(loss)}`,
        value: z,
        from: -20,
        to: 20,
        step: 0.5,
        sideways: true,
        x: across(z),
        y: up(loss),
        term: "loss",
        at: (at) => (at - x - 22) / unit - 22,
        set: (value) => ui.set(changed(state, cell, value)),
      },
      h("path", { class: label ? "rise" : "survival", d: drawn(path) }),
      h("circle", { class: "knob", cx: across(z), cy: up(loss), r: 7 }),
    ),
  ];
}

/** @type {import("./kit.js").Figure} */
export const figure = {
  name: "push_map",
  claim: "Behind the clamp the surest wrong answer gets no push; from the logit it gets the hardest",
  state: {
    logits: {
      start: [
        -1.5, -1, -0.5, -1, -1, -1, -1, -0.5, -1, -1, -1, -1, -1.5, -1, -0.5, -1, -1, -1, -2, -1.5, -1, 0, 2, -17,
      ],
      from: -20,
      to: 20,
      step: 0.5,
    },
    path: { start: "clamp", among: ["clamp", "logits"] },
    eps: { start: 1e-7, among: [1e-7, 1e-3, 1e-5, 1e-9] },
    cell: { start: 23, from: 0, to: 23, step: 1 },
  },
  out: (state, given) => out(/** @type {Push} */ (state), given),
  question: () => ({
    question: "Dora has her event at a logit of −17. Through the clamp the gradient is 0. What is it from the logit?",
    options: [
      {
        label: minus((-1 / sigmoid(-17)).toFixed(0)),
        why: "That is −1/h, the slope in the hazard, without that of the sigmoid, h(1 − h).",
      },
      { label: written(fromLogit(-17, 1).gradient), why: "Hazard minus label: no push is harder." },
      { label: written(sigmoid(-17)), why: "That is h, the gradient of an interval survived: the label is left out." },
    ],
    truth: 1,
  }),
  picture: (state, numbers, ui, given) => picture(/** @type {Push} */ (state), numbers, ui, given),
  controls: ({ path, eps }, _, ui) => [
    choice({
      legend: "Loss by",
      options: [
        ["clamp", "sigmoid, clamp, log"],
        ["logits", "the logit"],
      ],
      value: path,
      set: (value) => ui.set({ path: value }),
    }),
    choice({
      legend: "eps",
      options: [1e-3, 1e-5, 1e-7, 1e-9].map((one) => [one, power(one)]),
      value: eps,
      set: (value) => ui.set({ eps: value }),
    }),
  ],
  lines: ({ logits, path, eps, cell }, numbers) => {
    const label = numbers.labels[cell];
    const [name, chance] = label === 0 ? ["1 − h", 1 - numbers.hazards[cell]] : ["h", numbers.hazards[cell]];
    const kept = clamp(chance, eps, 1 - eps);
    const gradient = {
      term: "gradient",
      formula: `autograd: ${written(numbers.gradient)}; ${closedOf(numbers, cell)}`,
      code: "(gradient,) = torch.autograd.grad(total, z)",
    };
    const costs = (/** @type {string} */ formula) =>
      label === null ? "no row: 0" : `${formula} = ${written(numbers.loss)}`;
    if (path === "clamp") {
      return [
        {
          term: "clamp",
          formula: `${name} = ${written(chance)}${kept === chance ? "" : ` → ${written(kept)}`}`,
          code: "hazard = hazard.clamp(eps, 1 - eps)",
        },
        {
          term: "loss",
          formula: costs(`− log ${written(kept)}`),
          code: label === 0 ? "(torch.log(1 - hazard) * survived).sum(1)" : "(torch.log(hazard) * event).sum(1)",
        },
        gradient,
      ];
    }
    return [
      {
        term: "loss",
        formula: costs(`softplus(${minus(label ? -logits[cell] : logits[cell])})`),
        code: "return softplus(hazard_logits, threshold=40.0)",
      },
      gradient,
    ];
  },
  sentence: ({ logits, path, cell }, numbers, given) => {
    const label = numbers.labels[cell];
    const name = nameOf(given, cell);
    if (label === null) return `${name}, is no row: whatever the logit, loss and gradient are 0.`;
    return (
      `The row of ${name}, ${label ? "ended in the event" : "was survived"}. At a logit of ${minus(logits[cell])} the loss ` +
      `${path === "clamp" ? "through the clamp" : "from the logit"} is ${written(numbers.loss)} and its gradient ${written(numbers.gradient)}, ` +
      `${numbers.gradient ? "hazard minus label" : `where hazard minus label is ${written(numbers.closed[cell])}`}.`
    );
  },
  table: ({ logits }, numbers, given) => ({
    caption: `Loss ${written(numbers.nll)} in all, in float64. The clamp acts on logits below ${written(numbers.edges[0])} and above ${written(numbers.edges[1])}.`,
    head: ["row", "logit", "hazard h", "label y", "loss", "h − y", "gradient"],
    rows: numbers.labels.flatMap((/** @type {number | null} */ label, /** @type {number} */ k) =>
      label === null
        ? []
        : [
            [
              nameOf(given, k),
              minus(logits[k]),
              written(numbers.hazards[k]),
              label,
              written(numbers.losses[k]),
              written(numbers.closed[k]),
              written(numbers.gradients[k]),
            ],
          ],
    ),
  }),
  style: `
.chosen { fill: none; stroke: var(--vw-ink, #1b1f24); stroke-width: 2; }
.rise { fill: none; stroke: var(--vw-hazard, #c2410c); stroke-width: 2.5; }
.missing { fill: none; stroke: var(--vw-wrong, #b3122e); stroke-width: 1.5; stroke-dasharray: 3 2; }
`,
};

export default host(figure);
