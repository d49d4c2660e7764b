// Figure 1: hazards become survival, event probabilities and the loss of one patient, all at once.

import { button, canvas, choice, eventMark, h, host, levels, minus, rect, text } from "./kit.js";
import { eventNll, eventProbability, hazardNll, sum, survival, survivedNll } from "./functional.js";

/** What the continuous-time formula would make of discrete hazards. @param {number[]} hazard */
export const expOfMinusSum = (hazard) => Math.exp(-sum(hazard));

/** @typedef {{ hazards: number[], event: number, formula: string }} Loom */

/** Every number on show. @param {Loom} state */
export function out({ hazards, event }) {
  const before = hazards.slice(0, event);
  return {
    survival: survival(hazards),
    event_probability: eventProbability(hazards),
    left: survival(hazards)[hazards.length - 1],
    by_exp: expOfMinusSum(hazards),
    sum_of_hazards: sum(hazards),
    costs: [...before.map(survivedNll), eventNll(hazards[event])],
    nll: hazardNll(hazards, event + 1, true),
  };
}

/** Three decimals, or as a power of ten what they would hide. @param {number} number */
const fixed = (number, digits = 3) =>
  number < 10 ** -digits / 2 ? minus(number.toExponential(1)) : number.toFixed(digits);

/** A letter and the number of its interval. @param {string} letter @param {number} k */
const at = (letter, k) => letter + "₀₁₂₃₄₅"[k];

/** @param {Loom} state @param {any} numbers @param {import("./kit.js").Ui} ui */
function picture({ hazards, event, formula }, numbers, ui) {
  const { width, narrow } = ui;
  const left = 34;
  const column = (width - left) / hazards.length;
  const center = (/** @type {number} */ k) => left + (k + 0.5) * column;
  const bar = Math.min(column * 0.6, 64);
  const up = (/** @type {number} */ p) => 188 - 150 * p;
  const down = (/** @type {number} */ p) => 380 - 104 * p;
  const set = (/** @type {number} */ k) => (/** @type {number} */ value) =>
    ui.set({ hazards: hazards.map((old, place) => (place === k ? value : old)) });
  const bars = hazards.map((hazard, k) =>
    ui.handle(
      {
        label: `hazard after visit ${k}`,
        text: `hazard after visit ${k}: ${Math.round(100 * hazard)} percent; survival through that interval ${Math.round(100 * numbers.survival[k])} percent`,
        value: hazard,
        from: 0.01,
        to: 0.99,
        step: 0.01,
        group: "hazard",
        place: k,
        count: hazards.length,
        x: center(k),
        y: up(hazard),
        width: Math.min(column, 44),
        term: k < event ? "survived" : k === event ? "event" : undefined,
        at: (_, y) => (188 - y) / 150,
        set: set(k),
      },
      h("rect", {
        class: "hazard",
        x: center(k) - bar / 2,
        y: up(hazard),
        width: bar,
        height: 150 * hazard,
        "fill-opacity": k > event ? 0.35 : 1,
      }),
      rect(
        center(k) - bar / 6,
        up(numbers.event_probability[k]),
        bar / 3,
        150 * numbers.event_probability[k],
        "event-probability",
        k === event && "probability",
      ),
      h("rect", { class: "knob", x: center(k) - 12, y: up(hazard) - 3, width: 24, height: 6, rx: 3 }),
      text(center(k), up(hazard) - 8, hazard.toFixed(2), "hazard name middle"),
    ),
  );
  const stairs = numbers.survival
    .map((/** @type {number} */ s, /** @type {number} */ k) => `V${down(s)}H${left + (k + 1) * column}`)
    .join("");
  const curve = hazards
    .map((_, k) => `V${down(expOfMinusSum(hazards.slice(0, k + 1)))}H${left + (k + 1) * column}`)
    .join("");
  return canvas(
    width,
    524,
    text(
      0,
      12,
      [
        h(
          "tspan",
          { class: "hazard" },
          narrow ? "hazard h" : "hazard h: of those still there, the share that has the event next; ",
        ),
        h("tspan", { class: "event-probability" }, narrow ? ", slim bar: f" : "slim bar f: of all"),
      ],
      "name",
    ),
    levels([0, 0.5, 1], left, width, up),
    bars,
    hazards.map((_, k) => text(center(k), 206, k || "interval 0", "quiet middle")),
    ui.handle(
      {
        label: "interval of the event",
        text: `the event comes in interval ${event}`,
        value: event,
        from: 0,
        to: hazards.length - 1,
        step: 1,
        page: 1,
        x: center(event),
        y: 230,
        sideways: true,
        term: "event",
        at: (x) => (x - left) / column - 0.5,
        set: (value) => ui.set({ event: value }),
      },
      eventMark(center(event), 230),
      text(
        center(event) + (event === hazards.length - 1 && narrow ? -12 : 12),
        235,
        "event",
        event === hazards.length - 1 && narrow ? "end" : null,
      ),
    ),
    text(0, 258, ["survival S", narrow ? "" : ": still event-free at the end of the interval"], "survived name"),
    levels([0, 1], left, width, down),
    h("path", { class: "survival", "data-term": "survival", d: `M${left} ${down(1)}${stairs}` }),
    formula === "exp" && h("path", { class: "hopeful", d: `M${left} ${down(1)}${curve}` }),
    text(width, Math.min(down(numbers.left) + 16, 394), fixed(numbers.left), "survived end"),
    formula === "exp" && text(width, 258, `✗ wrong: exp(−Σh) = ${fixed(numbers.by_exp)}`, "wrong end"),
    stack(
      416,
      narrow ? "event probability f" : "event probability f: all probability there is, shared out",
      [
        ...numbers.event_probability.map((/** @type {number} */ f, /** @type {number} */ k) => ({
          size: f,
          name: at("f", k),
          kind: "event-probability",
          term: k === event ? "probability" : undefined,
        })),
        { size: numbers.left, name: "S left", kind: "survived", term: "survival" },
      ],
      1,
      width,
    ),
    stack(
      482,
      `loss ${fixed(numbers.nll)}: a cost for each interval${narrow ? "" : " up to the event"}`,
      numbers.costs.map((/** @type {number} */ cost, /** @type {number} */ k) => ({
        size: cost,
        name: k === event ? "event" : "survived",
        kind: k === event ? "hazard" : "survived",
        term: k === event ? "event" : "survived",
      })),
      Math.max(3, numbers.nll),
      width,
    ),
  );
}

/**
 * Pieces beside each other whose widths are the numbers.
 * @param {number} y @param {string} title @param {{ size: number, name: string, kind: string, term?: string }[]} pieces
 * @param {number} whole @param {number} width
 */
function stack(y, title, pieces, whole, width) {
  let x = 0;
  return h(
    "g",
    null,
    text(0, y, title, "name"),
    pieces.map(({ size, name, kind, term }) => {
      const wide = (size / whole) * width;
      const number = fixed(size);
      const label = [`${name} ${number}`, number, name].find((words) => wide > 7 * words.length + 4);
      x += wide;
      return [
        rect(x - wide, y + 8, Math.max(wide - 1.5, 0.5), 30, kind, term),
        label && text(x - wide / 2, y + 28, label, "on middle"),
      ];
    }),
  );
}

/** @type {import("./kit.js").Figure} */
export const figure = {
  name: "hazard_loom",
  claim: "Raise one hazard, and every later event probability shrinks: the same total is shared out anew",
  state: {
    hazards: { start: [0.1, 0.2, 0.3], from: 0.01, to: 0.99, step: 0.01, fewest: 1, most: 6 },
    event: { start: 2, from: 0, to: 5, step: 1 },
    formula: { start: "product", among: ["product", "exp"] },
  },
  mend: (state) => ({ ...state, event: Math.min(state.event, state.hazards.length - 1) }),
  out: (state) => out(/** @type {Loom} */ (state)),
  question: () => {
    const first = [0.1, 0.2, 0.3];
    const raised = [0.5, 0.2, 0.3];
    return {
      question: `Raise h₀ from ${first[0]} to ${raised[0]} and leave the others. What becomes of f₂, now ${fixed(eventProbability(first)[2])}?`,
      options: [
        {
          label: `${fixed(eventProbability(raised)[2])}`,
          why: "Fewer come as far as interval 2, so fewer can have their event there: f is the hazard times the survival before it.",
        },
        {
          label: `${fixed(eventProbability(first)[2])}`,
          why: "Its hazard did not move, but f is seen from the first visit, and fewer now come that far.",
        },
        {
          label: `${fixed(first[2])}`,
          why: "That is the hazard: the probability for those who are still there at visit 2, not for those who set out.",
        },
      ],
      truth: 0,
    };
  },
  picture: (state, numbers, ui) => picture(/** @type {Loom} */ (state), numbers, ui),
  controls: ({ hazards, formula }, _, ui) => [
    choice({
      legend: "Survival as",
      options: [
        ["product", "a product"],
        ["exp", "exp(−Σh)"],
      ],
      value: formula,
      set: (value) => ui.set({ formula: value }),
    }),
    button("One more visit", () => ui.set({ hazards: [...hazards, 0.2] }), hazards.length === 6),
    button("One visit fewer", () => ui.set({ hazards: hazards.slice(0, -1) }), hazards.length === 1),
  ],
  lines: ({ hazards, event }, numbers) => [
    {
      term: "survival",
      formula: `${at("S", hazards.length - 1)} = ${hazards.map((/** @type {number} */ p) => (1 - p).toFixed(2)).join(" × ")} = ${fixed(numbers.left)}`,
      code: "log_survival(hazard_logits).exp()",
    },
    {
      term: "probability",
      formula: `${at("f", event)} = ${fixed(event ? numbers.survival[event - 1] : 1)} × ${hazards[event].toFixed(2)} = ${fixed(numbers.event_probability[event])}`,
      code: "(logsigmoid(hazard_logits) + log_survival_before).exp()",
    },
    {
      term: "survived",
      formula: event
        ? `${hazards
            .slice(0, event)
            .map((/** @type {number} */ p) => `− log(1 − ${p.toFixed(2)})`)
            .join(" ")} = ${fixed(sum(numbers.costs.slice(0, event)))}`
        : "no interval before the event: 0",
      code: "_survived_nll(hazard_logits.masked_fill(~survived, -torch.inf)).sum(-1)",
    },
    {
      term: "event",
      formula: `− log ${hazards[event].toFixed(2)} = ${fixed(numbers.costs[event])}`,
      code: "_survived_nll(-last)",
    },
  ],
  sentence: ({ hazards, event, formula }, { event_probability, left, sum_of_hazards, by_exp, nll }) =>
    `In interval ${event} the hazard is ${hazards[event].toFixed(2)} and the event probability, seen from the first visit, ${fixed(event_probability[event])}. ` +
    `The hazards add up to ${sum_of_hazards.toFixed(2)}, the event probabilities and the survival left, ${fixed(left)}, to one. ` +
    `The patient adds ${fixed(nll)} to the loss.` +
    (formula === "exp" ? ` Wrong: exp(−Σh) makes the survival left ${fixed(by_exp)}.` : ""),
  table: ({ hazards, event }, numbers) => ({
    caption: `Loss ${numbers.nll.toFixed(6)}: the costs of intervals 0 to ${event} added up.`,
    head: ["interval", "hazard", "survival", "event probability", "cost"],
    rows: hazards.map((/** @type {number} */ hazard, /** @type {number} */ k) => [
      k,
      hazard.toFixed(2),
      fixed(numbers.survival[k], 4),
      fixed(numbers.event_probability[k], 4),
      k > event ? "–" : numbers.costs[k].toFixed(4),
    ]),
  }),
  style: ".hopeful { fill: none; stroke: var(--vw-wrong, #b3122e); stroke-width: 2; stroke-dasharray: 5 4; }",
};

export default host(figure);
