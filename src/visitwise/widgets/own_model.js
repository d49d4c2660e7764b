// What the playground needs once it is given a file or asked for a program, and loads then. A model that knows the codes
// of the simulated patients is read beside their true hazards; one of other codes gets a figure of its own.

import { button, h, host, minus } from "./kit.js";
import { brief, expect } from "./safetensors.js";
import { modelFrom } from "./survival_rnn.js";
import {
  added,
  changes,
  codesOf,
  effect,
  ending,
  figure,
  keptFor,
  nameOf,
  percent,
  picture,
  pushOf,
  removed,
  said,
  same,
  sentence,
  visitRow,
} from "./playground.js";

/**
 * @typedef {import("./survival_rnn.js").Model} Model
 * @typedef {{ day: number[], codes: number[][], measured: (number | null)[][], static: number[], observed: boolean,
 *   visit: number }} Own a patient whose codes are those of the model, by their place in its schema
 */

const LARGEST_FILE = 5e6;
const LARGEST_NUMBER = 1e15;
const MOST_FOUND = 8;
const UNKNOWN = "<unknown>";

// ----------------------------------------------------------------------------------------- what a model is read beside

/** @type {[string, (state: any) => number][]} */
const FROM_THE_START = [
  ["age_decades_over_60", ({ age }) => (age - 60) / 10],
  ["female", ({ female }) => Number(female)],
  ["age", ({ age }) => age],
];
/** What is known of a simulated patient from the start, by the names that a model may have for it. */
const simulatedStatic = new Map(FROM_THE_START.flatMap(([name, read]) => [[name, read], [`${name} known`, () => 1]])); // prettier-ignore

/** @param {Model} model @param {any} state */
const staticOf = ({ schema }, state) => schema.static.map((name) => simulatedStatic.get(name)?.(state) ?? NaN);

/**
 * The model with its codes in the order that simulated patients have them; or in words why it cannot read such patients.
 * @param {Model} model @param {string[]} codes @returns {any}
 */
export function amongSimulated(model, codes) {
  const { schema, embedding } = model;
  const place = new Map(schema.codes.map((name, k) => [name, k]));
  const missing = codes.filter((name) => !place.has(name));
  // One may have been too rare in training to be known by name. Two would be one code in a visit that has both.
  if (missing.length > Number(place.has(UNKNOWN))) return `it does not know ${missing[0]}`;
  const names = codes.map((name) => (place.has(name) ? name : UNKNOWN));
  if (schema.measurements.length) return `it reads the measurement ${brief(schema.measurements[0])}`;
  const other = schema.static.find((name) => !simulatedStatic.has(name));
  if (other !== undefined) return `it reads ${brief(other)} from the start`;
  return {
    ...model,
    names,
    embedding: names.map((name) => embedding[/** @type {number} */ (place.get(name))]),
    reads: (/** @type {any} */ state) => staticOf(model, state).map(Math.fround),
  };
}

/**
 * The model in the file that was chosen, once that is known to be sound.
 * @param {any} file
 */
async function modelIn(file) {
  const most = `expected at most ${LARGEST_FILE / 1e6}`;
  expect(file.size <= LARGEST_FILE, `the file has ${Math.ceil(file.size / 1e6)} MB; ${most}`);
  return modelFrom(await file.arrayBuffer());
}

/**
 * Open the file of a field: in this figure, or in one of its own.
 * @param {any} field @param {any} memory @param {any} given
 */
export async function open(field, memory, given) {
  const el = field.getRootNode().host;
  const take = async (/** @type {any} */ asked, /** @type {(words: string) => void} */ say) => {
    const [file] = asked.files;
    if (!file) return;
    try {
      const model = await modelIn(file);
      const mine = amongSimulated(model, given.codes);
      const fits = typeof mine !== "string";
      const { ui, state } = memory.now;
      const before = memory.close?.() ?? state.model;
      if (fits) Object.assign(given, { mine, file: file.name });
      const rare = fits && given.codes.find((/** @type {string} */ name) => !mine.names.includes(name));
      const as = rare ? ` It reads ${rare} as ${UNKNOWN}.` : "";
      memory.away = !fits;
      memory.said = fits ? `${file.name} is loaded. It stays in this page.${as}` : "";
      ui.set({ model: "mine" }); // in the address, too: who opens it there is told that the model is not
      if (!fits) show(el, { model, name: file.name, why: mine, take }, memory, before);
      else if (asked !== field) el.shadowRoot.querySelector(".file input").focus(); // where it was chosen is gone
    } catch (error) {
      say(`${file.name} was not loaded: ${/** @type {any} */ (error).message}.`);
    }
    asked.value = ""; // so that the same file can be chosen again
  };
  await take(field, (words) => (memory.said = words));
}

/**
 * Put a figure of the model's own in the place of the playground.
 * @param {any} el @param {any} opened @param {any} memory @param {string} before the model that was chosen until then
 */
function show(el, opened, memory, before) {
  const place = document.createElement("div");
  el.after(place);
  el.style.display = "none";
  /** @type {Record<string, any>} */
  const values = { given: ownGiven(opened) };
  const model = {
    get: (/** @type {string} */ key) => values[key],
    set: (/** @type {string} */ key, /** @type {any} */ value) => (values[key] = value),
    on() {},
    off() {},
    save_changes() {},
  };
  const end = host(ownFigure(values.given)).render({ model, el: place });
  memory.close = () => {
    memory.close = undefined;
    memory.away = false;
    end();
    place.remove();
    el.style.display = "";
    return before;
  };
  values.given.back = () => {
    memory.close();
    memory.now.ui.set({ model: before });
    el.shadowRoot.querySelector(".file input").focus();
  };
  /** @type {any} */ (place.shadowRoot).querySelector(".loaded").focus();
}

// ------------------------------------------------------------------------------------------- a model of other codes

/** Wide letters count twice. @param {string} letter */
const wide = (letter) => (letter >= "\u2e80" ? 2 : 1);

/** A name as the picture has room for it, cut in its middle: what tells codes apart stands at either end. @param {string} name */
export function short(name) {
  const letters = [...name];
  const size = (/** @type {string[]} */ some) => some.reduce((all, letter) => all + wide(letter), 0);
  if (size(letters) <= 24) return name;
  const [head, tail] = [letters.slice(0, 23), letters.slice(-23)];
  while (size(head) > 12) head.pop();
  while (size(tail) > 11) tail.shift();
  return `${head.join("")}…${tail.join("")}`;
}

/** @param {{ model: Model, name: string, why: string, take: any }} opened */
const ownGiven = (opened) => ({
  ...opened,
  codes: opened.model.schema.codes,
  readable: short,
  caution: "Not medical advice.",
  lower: opened.model.schema.codes.map((name) => name.toLowerCase()),
});

/** One visit with nothing recorded, and of what is known from the start the mean of those whom the model was trained on. @param {Model} model @returns {Own} */
export const begin = ({ schema, centre }) => ({
  day: [0],
  codes: [[]],
  measured: [schema.measurements.map(() => null)],
  static: schema.static.map((_, j) => Number(centre[schema.measurements.length + j].toPrecision(3))),
  observed: false,
  visit: 0,
});

/** What a model says of a patient, whose numbers torch has in single precision. @param {Own} state @param {any} given */
export const ownOut = (state, given) =>
  said(
    given.model,
    {
      codes: state.codes,
      day: state.day,
      static: state.static.map(Math.fround),
      measurements: state.measured.map((row) => row.map((value) => value && Math.fround(value))),
    },
    state,
    keptFor(given),
  );

/** @param {Own} state */
const moreOwn = (state) => {
  const change = added(state, []);
  const nothing = state.measured[0].map(() => null);
  return change && { ...change, measured: state.measured.toSpliced(change.visit, 0, nothing) };
};

/** @param {Own} state */
const fewerOwn = (state) => {
  const change = removed(state);
  return change && { ...change, measured: state.measured.toSpliced(state.visit, 1) };
};

/** The first codes in whose names each of these words occurs, and how many there are. @param {string[]} lower @param {string} sought */
export function matching(lower, sought) {
  const words = sought.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = words.length ? [...lower.keys()].filter((code) => code && words.every((one) => lower[code].includes(one))) : []; // prettier-ignore
  return { first: fits.slice(0, MOST_FOUND), many: fits.length };
}

/** The codes of the chosen visit, those of the record, and those that are looked for. @param {Own} state @param {any} memory @param {any} given */
function ownCodes({ codes, visit }, memory, given) {
  const { ui } = memory.now;
  const { sought = "" } = memory;
  const here = codes[visit];
  memory.seen = [...new Set([...(memory.seen ?? []), ...codes.flat()])];
  const { first, many } = matching(given.lower, sought);
  const rest = memory.seen.filter((/** @type {number} */ code) => !first.includes(code));
  const flip = (/** @type {number} */ code) => {
    const { state } = memory.now;
    const old = state.codes[state.visit];
    const now = old.includes(code) ? old.filter((/** @type {number} */ one) => one !== code) : [...old, code];
    memory.now.ui.set({ codes: state.codes.with(state.visit, now) });
  };
  const one = (/** @type {number} */ code) =>
    h(
      "label",
      { class: "toggle" },
      h("input", { type: "checkbox", checked: here.includes(code), onchange: () => flip(code) }),
      h("span", null, given.codes[code]),
    );
  const told = !sought.trim()
    ? `Type a part of its name: this model knows ${given.codes.length - 1} codes.`
    : many > MOST_FOUND
      ? `${many} codes have that in their names; the first ${MOST_FOUND} are here.`
      : `${many || "No"} code${many === 1 ? " has" : "s have"} that in ${many === 1 ? "its name" : "their names"}.`;
  return h(
    "div",
    { class: "codes" },
    h(
      "label",
      { class: "find" },
      h("span", null, "Find a code"),
      h("input", {
        type: "search",
        autocomplete: "off",
        spellcheck: "false",
        value: sought,
        oninput: (/** @type {any} */ event) => {
          memory.sought = event.target.value;
          ui.set({});
        },
      }),
    ),
    h("p", { class: "quiet", role: "status" }, told),
    h("fieldset", { hidden: !first.length }, h("legend", null, "Found"), first.map(one)),
    h(
      "fieldset",
      null,
      h("legend", null, "In this record"),
      rest.length ? rest.map(one) : h("span", { class: "quiet" }, first.length ? "–" : "no code yet"),
    ),
  );
}

/**
 * A number that a reader types; nothing typed is `empty`.
 * @param {any} memory @param {string} label @param {number | null} value @param {string} hint @param {number | null} empty
 * @param {(value: number | null) => void} set
 */
const typed = (memory, label, value, hint, empty, set) =>
  h(
    "label",
    { class: "number" },
    h("span", null, label),
    h("input", {
      type: "number",
      step: "any",
      value: value ?? "",
      placeholder: hint,
      onchange: (/** @type {any} */ { target }) => {
        const number = target.valueAsNumber;
        const none = target.value === "" && !target.validity.badInput;
        const fits = none || Math.abs(number) <= LARGEST_NUMBER;
        memory.said = fits ? "" : `${label} stays as it was: expected a number from −1e15 to 1e15.`;
        if (!fits || none) target.value = (fits ? empty : value) ?? "";
        set(fits ? (none ? empty : number) : value);
      },
    }),
  );

/** What was measured at the chosen visit, and what is known from the start. @param {Own} state @param {any} memory @param {any} given */
function ownNumbers({ measured, static: known, visit }, memory, given) {
  const { schema } = given.model;
  const first = begin(given.model).static;
  const change = (/** @type {string} */ part, /** @type {(old: any) => any} */ make) =>
    memory.now.ui.set({ [part]: make(memory.now.state[part]) });
  const hint = (/** @type {number} */ j) => {
    const k = measured.findLastIndex((row, at) => at < visit && row[j] !== null);
    return k < 0 ? "not measured" : `${measured[k][j]} at visit ${k}`;
  };
  const fields = (/** @type {string} */ legend, /** @type {any[]} */ all) =>
    all.length > 0 && h("fieldset", { class: "whole numbers" }, h("legend", null, legend), h("div", null, all));
  return [
    fields(
      `Measured at visit ${visit}`,
      schema.measurements.map((/** @type {string} */ name, /** @type {number} */ j) =>
        typed(memory, name, measured[visit][j], hint(j), null, (value) =>
          change("measured", (old) => old.with(visit, old[visit].with(j, value))),
        ),
      ),
    ),
    fields(
      "Known from the start",
      schema.static.map((/** @type {string} */ name, /** @type {number} */ j) =>
        typed(memory, name, known[j], "", first[j], (value) => change("static", (old) => old.with(j, value))),
      ),
    ),
  ];
}

/** @param {number} many @param {string} word */
const counted = (many, word) => `${many} ${word}${many === 1 ? "" : "s"}`;

/** @param {any} given */
function aboutOwn({ model, name, why }) {
  const { codes, static: known, measurements } = model.schema;
  return (
    `${name} is loaded: a ${model.kind} of ${counted(codes.length - 1, "code")}, ` +
    `${counted(known.length, "static feature")} and ${counted(measurements.length, "measurement")}. ` +
    `It cannot read the simulated patients (${why}). So there are no sample patients, and no true hazard: nobody knows ` +
    "it. Model and record stay in this page. No address has them; Copy for Python keeps the record."
  );
}

/** @param {Own} state @param {any} numbers @param {any} ui @param {any} given */
function ownControls(state, numbers, ui, given) {
  const { codes, visit, observed, measured } = state;
  const memory = keptFor(given);
  const { later } = ui;
  memory.now = { state, ui };
  const say = (/** @type {string} */ words) => {
    memory.said = words;
    memory.now.ui.set({});
  };
  return later("controls", () => [
    visitRow(memory, moreOwn, fewerOwn),
    same(memory, "codes", [codes, visit, memory.sought], () => ownCodes(state, memory, given)),
    same(memory, "numbers", [measured, state.static, visit], () => ownNumbers(state, memory, given)),
    effect(memory, numbers),
    changes(state, numbers, ui, given),
    ending(memory, observed, numbers.cause_hazard[0].length > 1),
    same(memory, "files", [], () => [
      button("Copy for Python", async () => {
        await copy(null, memory, given);
        memory.now.ui.set({});
      }),
      h(
        "label",
        { class: "file" },
        h("span", null, "Load another model"),
        h("input", {
          type: "file",
          accept: ".safetensors",
          onchange: (/** @type {any} */ event) => given.take(event.target, say),
        }),
      ),
    ]),
    h("p", { class: "whole story", role: "status" }, memory.said),
    memory.snippet && h("pre", { class: "whole", tabindex: 0 }, memory.snippet(state, numbers)),
  ]);
}

/** The playground for a model of other codes; its state is in no address, and in no notebook's kernel. @param {any} given @returns {import("./kit.js").Figure} */
export const ownFigure = (given) => ({
  name: "own_model",
  waits: true,
  claim: "Your own model: edit a visit, and see which hazards move",
  state: Object.fromEntries(Object.entries(begin(given.model)).map(([key, start]) => [key, { start }])),
  out: (state) => ownOut(/** @type {Own} */ (state), given),
  picture: (state, numbers, ui) => picture(state, numbers, ui, given),
  above: () => [
    h("p", { class: "whole story loaded", tabindex: -1 }, aboutOwn(given)),
    button("Back to the simulated patients", () => given.back()),
  ],
  controls: (state, numbers, ui) => ownControls(/** @type {Own} */ (state), numbers, ui, given),
  lines: ({ visit, observed, day }, { hazard, cause_hazard, push }) => {
    const last = day.length - 1;
    const byCause = cause_hazard[0].length > 1;
    return [
      {
        term: "hazard",
        formula: `learned: ${byCause ? "h₁ + h₂" : "h"} = ${percent(hazard[visit])} after visit ${visit}`,
        code: "logits = model(patient)",
      },
      {
        term: "push",
        formula: `last ${pushOf({ cause_hazard })} = ${cause_hazard[last][0].toFixed(4)} − ${Number(observed)} = ${minus(push[last].toFixed(4))}`,
      },
    ];
  },
  sentence: (state, numbers) => sentence(state, numbers, given),
  table: ({ day, codes }, numbers) => ({
    caption: `NLL ${numbers.nll.toFixed(6)}.`,
    head: ["visit", "day", "codes", "hazard", "known then", "survival", pushOf(numbers)],
    rows: day.map((/** @type {number} */ one, /** @type {number} */ k) => [
      k,
      one,
      codes[k].map((/** @type {number} */ code) => given.codes[code]).join(", ") || "no code",
      ...["hazard", "known_then", "survival", "push"].map((key) => minus(numbers[key][k].toFixed(4))),
    ]),
  }),
  style: `${figure.style}
.loaded { overflow-wrap: anywhere; }
.find, .number { flex-wrap: wrap; }
.find input, .number input { font: inherit; color: inherit; background: none; border: 1px solid var(--vw-muted, #5b6470); border-radius: 4px; padding: 2px 8px; min-height: 32px; min-width: 0; }
.find input { flex: 1 1 200px; }
.number input { width: 9.5em; }
.number input::placeholder { color: var(--vw-muted, #5b6470); opacity: 1; }
.numbers { border: 1px solid var(--vw-line, #d5d9df); border-radius: 4px; padding: 8px 12px; }
.controls > .numbers legend { float: none; }
.numbers div { display: flex; flex-wrap: wrap; gap: 4px 20px; max-height: 16em; overflow: auto; }
.codes fieldset[hidden] { display: none; }
.toggle span, .number span { overflow-wrap: anywhere; min-width: 0; }
td { white-space: normal; overflow-wrap: anywhere; }
`,
});

// ------------------------------------------------------------------------------------------------------------ in Python

/** @param {number} number as Python writes a float */
const float = (number) => (Number.isInteger(number) && Math.abs(number) < 1e15 ? `${number}.0` : `${number}`);

/**
 * Python that rebuilds the patient, loads the model and prints what is on show.
 * @param {any} state @param {any} numbers @param {any} given
 */
export function snippet(state, { hazard }, given) {
  const { day, codes } = state;
  const own = given.model;
  const which = own ? null : nameOf(state, given);
  const quoted = (/** @type {any} */ name) => JSON.stringify(name);
  const row = (/** @type {any[]} */ cells) => `    [${cells.join(", ")}],`;
  const measured = own?.schema.measurements.length > 0;
  const known = own
    ? state.static
    : which
      ? [(state.age - 60) / 10, Number(state.female)]
      : staticOf(given.mine, state);
  const names = own || which ? given.codes : given.mine.names;
  const beside = [known.length && "static=[static]", measured && "measurements=[measurements]"].filter(Boolean);
  const several = which ? which.name === "competing" : (own ?? given.mine).kind === "CompetingRisksRNN";
  return [
    measured && "from math import nan\n",
    which ? "from visitwise import trained" : "from visitwise.training import load_model",
    which && "from visitwise.simulate import SCHEMA",
    "from visitwise.visits import Visits",
    "",
    `model = ${which ? `trained.load("${which.name}", ${which.epoch})` : `load_model(${quoted(own ? given.name : given.file)})`}.double()`,
    "codes = [",
    ...codes.map((/** @type {any} */ bits) => row(codesOf(bits).map((code) => quoted(names[code])))),
    "]",
    `day = [${day.join(", ")}]`,
    known.length > 0 && `static = [${known.map(float).join(", ")}]`,
    measured && "measurements = [",
    ...(measured
      ? state.measured.map((/** @type {any[]} */ one) => row(one.map((n) => (n === null ? "nan" : float(n)))))
      : []),
    measured && "]",
    `schema = ${which ? "SCHEMA" : "model.schema"}`,
    `visits = Visits.from_lists([codes], [day], ${["schema=schema", ...beside].join(", ")})`,
    `hazard = model.predict(visits).${several ? "cause_hazard.sum(-1)" : "hazard"}`,
    "for visit, risk in enumerate(hazard[0].tolist()):",
    '    print(f"visit {visit}, day {day[visit]}: {risk:.6f}")',
    ...hazard.map(
      (/** @type {number} */ risk, /** @type {number} */ k) => `# visit ${k}, day ${day[k]}: ${risk.toFixed(6)}`,
    ),
    "",
  ]
    .filter((line) => typeof line === "string")
    .join("\n");
}

/** @param {any} _ @param {any} memory @param {any} given */
export async function copy(_, memory, given) {
  memory.snippet = (/** @type {any} */ state, /** @type {any} */ numbers) => snippet(state, numbers, given);
  const { state } = memory.now;
  const numbers = given.model ? ownOut(state, given) : figure.out(state, given);
  try {
    await navigator.clipboard.writeText(snippet(state, numbers, given));
    memory.said = "Copied, as below.";
  } catch {
    memory.said = "Not copied: select the lines below.";
  }
}
