// The landing page's figure: one patient, three hazards, and what three conventions make of how it ended.
// The arithmetic is above the line; tests/test_landing.py compares it with the Python package. Below it is the view.

import { eventNll, hazardNll, sum, survivedNll } from "./widgets/functional.js";
import { canvas, choice, h, host, text } from "./widgets/kit.js";

/** A censored patient's last row left out. @param {number[]} hazard @param {boolean} observed */
export const dropCensoredRow = (hazard, observed) =>
  sum(hazard.slice(0, -1).map(survivedNll)) + (observed ? eventNll(hazard[hazard.length - 1]) : 0);

/** The event's row charged as survived, too. @param {number[]} hazard @param {boolean} observed */
export const countEventRowTwice = (hazard, observed) =>
  sum(hazard.map(survivedNll)) + (observed ? eventNll(hazard[hazard.length - 1]) : 0);

/** What each convention makes of the record. @param {{ hazards: number[], ending: string }} state */
export function out({ hazards, ending }) {
  const observed = ending === "event";
  return {
    likelihood: hazardNll(hazards, hazards.length, observed),
    dropped: dropCensoredRow(hazards, observed),
    twice: countEventRowTwice(hazards, observed),
  };
}

// ---------------------------------------------------------------------------------------------------------- the view

const ANSWERS = [
  ["likelihood", "the likelihood"],
  ["dropped", "censored row left out"],
  ["twice", "event row counted twice"],
];

const wrong = (/** @type {any} */ numbers, /** @type {string} */ key) =>
  Math.abs(numbers[key] - numbers.likelihood) > 1e-12;

/** @param {any} state @param {any} numbers @param {import("../../src/visitwise/widgets/kit.js").Ui} ui */
function picture({ hazards }, numbers, ui) {
  const { width, narrow } = ui;
  const half = narrow ? width : width * 0.46;
  const column = half / hazards.length;
  const up = (/** @type {number} */ hazard) => 150 - 100 * hazard;
  const bars = hazards.map((/** @type {number} */ hazard, /** @type {number} */ visit) => {
    const center = (visit + 0.5) * column;
    return ui.handle(
      {
        label: `hazard after visit ${visit}`,
        text: `hazard after visit ${visit}: ${Math.round(100 * hazard)} percent`,
        value: hazard,
        from: 0.01,
        to: 0.99,
        step: 0.01,
        group: "hazard",
        place: visit,
        count: hazards.length,
        x: center,
        y: up(hazard),
        at: (_, y) => (150 - y) / 100,
        set: (value) =>
          ui.set({
            hazards: hazards.map((/** @type {number} */ old, /** @type {number} */ k) => (k === visit ? value : old)),
          }),
      },
      h("rect", { class: "hazard", x: center - 24, y: up(hazard), width: 48, height: 100 * hazard }),
      h("rect", { class: "knob", x: center - 12, y: up(hazard) - 3, width: 24, height: 6, rx: 3 }),
      text(center, up(hazard) - 9, hazard.toFixed(2), "hazard name middle"),
      text(center, 168, `visit ${visit}`, "quiet middle"),
    );
  });
  const left = narrow ? 0 : width * 0.54;
  const top = narrow ? 204 : 12;
  const whole = Math.max(...ANSWERS.map(([key]) => numbers[key]));
  const answers = ANSWERS.map(([key, name], place) => {
    const y = top + 32 + 48 * place;
    const bad = wrong(numbers, key);
    return [
      text(left, y, name, bad ? "wrong name" : null),
      text(width, y, numbers[key].toFixed(3) + (bad ? " ✗ wrong" : ""), bad ? "wrong name end" : "name end"),
      h("rect", {
        class: bad ? "missed" : "quiet",
        x: left,
        y: y + 7,
        width: Math.max(2, (numbers[key] / whole) * (width - left)),
        height: 10,
      }),
    ];
  });
  return canvas(
    width,
    narrow ? top + 152 : 180,
    text(0, 12, "hazard: risk until the next contact", "name"),
    text(left, top, "what she adds to the loss, by", "name"),
    h("path", { class: "axis", d: `M0 150H${half}` }),
    bars,
    answers,
  );
}

/** What the numbers on show mean. @param {any} state @param {any} numbers */
export function sentence({ ending }, numbers) {
  const [right, dropped, twice] = ANSWERS.map(([key]) => numbers[key].toFixed(3));
  return ending === "event"
    ? `With the event she adds ${right} to the loss. Counting its row twice makes it ${twice}: she is charged for ` +
        "surviving the very interval she did not survive."
    : `Last seen well, she adds ${right} to the loss. Leaving her last row out makes it ${dropped}: that is the loss of ` +
        "somebody who was last seen an interval earlier.";
}

/** @type {import("../../src/visitwise/widgets/kit.js").Figure} */
export const figure = {
  name: "three_answers",
  claim: "Each mistake is right for one ending, and wrong for the other",
  state: {
    hazards: { start: [0.1, 0.2, 0.3], from: 0.01, to: 0.99, step: 0.01 },
    ending: { start: "censored", among: ["censored", "event"] },
  },
  out: (state) => out(/** @type {any} */ (state)),
  picture,
  controls: ({ ending }, _, ui) =>
    choice({
      legend: "How it ended",
      options: [
        ["censored", "last seen well"],
        ["event", "event in the last interval"],
      ],
      value: ending,
      set: (value) => ui.set({ ending: value }),
    }),
  sentence,
  table: (_, numbers) => ({
    caption: "What the patient adds to the loss, by three conventions.",
    head: ["convention", "loss"],
    rows: ANSWERS.map(([key, name]) => [name + (wrong(numbers, key) ? " (wrong)" : ""), numbers[key].toFixed(6)]),
  }),
  style: ".missed { fill: var(--vw-wrong, #b3122e); }",
};

export default host(figure);
