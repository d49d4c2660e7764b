// Figure 5: a loss as a function and as a module, call by call. Python recorded the calls of the PyTorch that it runs
// on; here they are laid side by side, and the loss is computed from what each door has for a weight.

import { canvas, button, choice, h, host, text, toggle } from "./kit.js";
import { eventNll, sum, survivedNll } from "./functional.js";

/** Cross-entropy added over the rows; a row with the event counts `weight` times. @param {number[]} hazards @param {number[]} happened @param {number} weight */
export const bce = (hazards, happened, weight) =>
  sum(hazards.map((hazard, k) => (happened[k] ? weight * eventNll(hazard) : survivedNll(hazard))));

/** How many calls two stacks have in common, counted from their ends. @param {number[]} one @param {number[]} other */
export function sharedAtTheEnd(one, other) {
  let count = 0;
  while (count < one.length && one[one.length - 1 - count] === other[other.length - 1 - count]) count += 1;
  return count;
}

/** @typedef {{ name: string, file: string, line: number | null, code: string, adds: string }} Frame */
/** @typedef {{ above: number, door: string, hook: boolean, pos_weight: string, moved: boolean }} Doors */

/** @param {Doors} state @param {any} given */
export function out({ above, door, hook, pos_weight, moved }, given) {
  const wanted = { hook, pos_weight, moved };
  const recorded = (/** @type {string} */ name) =>
    given.calls.find(
      (/** @type {any} */ call) =>
        call.door === name && Object.entries(wanted).every(([key, value]) => call[key] === value),
    );
  const [byFunction, byModule] = [recorded("function"), recorded(door)];
  const shared = sharedAtTheEnd(byFunction.frames, byModule.frames);
  const level = Math.min(above, byModule.frames.length - 1);
  const weight = pos_weight === "none" ? 1 : Number(pos_weight);
  const losses = [weight, moved ? Math.fround(weight) : weight].map((w) => bce(given.hazards, given.happened, w));
  const frames = (/** @type {any} */ call) => call.frames.map((/** @type {number} */ k) => given.frames[k]);
  return {
    stacks: [frames(byFunction), frames(byModule)],
    shared,
    level,
    focus: [
      level < shared ? byFunction.frames.length - 1 - level : level === byModule.frames.length - 1 ? 0 : null,
      byModule.frames.length - 1 - level,
    ],
    between: [byFunction, byModule].map((call) => call.frames.length - 1 - shared),
    hooks: [byFunction.hooks, byModule.hooks],
    holds: byModule.holds,
    function_loss: losses[0],
    module_loss: losses[1],
    equal: losses[0] === losses[1],
    same_loss: byModule.same_loss,
    same_gradient: byModule.same_gradient,
  };
}

const digits = (/** @type {number} */ number) =>
  Number.isInteger(number) ? number.toFixed(1) : String(Number(number.toPrecision(10)));
const place = (/** @type {Frame} */ { file, line }) => (line === null ? file : `${file}:${line}`);
const both = (/** @type {any} */ numbers) =>
  `${numbers.function_loss.toFixed(9)} and ${numbers.module_loss.toFixed(9)}`;
const many = (/** @type {number} */ count) => (count ? `${count} function${count === 1 ? "" : "s"}` : "none");

/** A text in lines of at most so many signs, broken after spaces and brackets. @param {string} text @param {number} most */
export function wrapped(text, most) {
  /** @type {string[]} */
  const lines = [];
  for (const piece of text.match(/[^ (]*[ (]?/g) ?? []) {
    const longer = (lines[lines.length - 1] ?? "") + piece;
    if (lines.length && longer.trim().length <= most) lines[lines.length - 1] = longer;
    else lines.push(piece);
  }
  return lines.filter((line) => line);
}

const ROW = 46;

/** @param {Doors} state @param {any} numbers @param {import("./kit.js").Ui} ui @param {any} given */
function picture({ pos_weight }, numbers, ui, given) {
  const { width } = ui;
  const { stacks, shared, level, focus, holds } = numbers;
  const column = (width - 16) / 2;
  const lefts = [2, column + 14];
  const terms = ["function", "module"];
  const rows = Math.max(...given.calls.map((/** @type {any} */ call) => call.frames.length));
  const bottom = 60 + ROW * rows;
  const top = stacks[1].length - 1;
  // Your own line stands at the top, the other frames from the bottom up: what both doors share lies on one height.
  const height = (/** @type {number} */ above, /** @type {Frame[]} */ stack) =>
    bottom - ROW * (above === stack.length - 1 ? rows : above + 1);
  const label = (/** @type {Frame} */ { name }, /** @type {number} */ side, /** @type {number} */ above) =>
    name === "your line"
      ? [width > 620 ? "F.binary_cross_entropy_with_logits(z, y)" : "F.…logits(z, y)", stacks[1][0].code][side]
      : above < shared
        ? name
        : name.replace(/.*\./, "") + (name.endsWith("inner") ? ": runs hooks" : "");
  const boxes = stacks.map((/** @type {Frame[]} */ stack, /** @type {number} */ side) =>
    stack.map((frame, k) => {
      const above = stack.length - 1 - k;
      const [x, y] = [lefts[side], height(above, stack)];
      const common = above < shared;
      const kind = `frame${above ? "" : " deepest"}${focus[side] === k ? " here" : ""}`;
      return h(
        "g",
        { "data-term": common ? "shared" : terms[side] },
        (!common || !side) && h("rect", { class: kind, x, y, width: common ? width - 4 : column, height: 32, rx: 4 }),
        (!common || !side) && text(x + 8, y + 21, label(frame, side, above), `code${k ? "" : " name"}`),
        above > 0 &&
          h("path", {
            class: "axis",
            d: `M${x + column / 2} ${y + 32}V${height(above - 1, stack) - 1}m-4 -5l4 5 4 -5`,
          }),
      );
    }),
  );
  const here = stacks[1][focus[1]];
  const [x, wide] = level < shared ? [2, width - 4] : [lefts[1], column];
  const y = height(level, stacks[1]);
  const own = ["keeps nothing", pos_weight === "none" ? "" : `w is yours: ${pos_weight}, float64`];
  const kept = holds.map((/** @type {any[]} */ [name, value, dtype]) => [
    `keeps ${name}:`,
    `${digits(value)}, ${dtype}`,
  ])[0];
  const most = Math.floor((width - 24) / 7.3);
  const about = (/** @type {Frame} */ frame) => [
    [frame.name, "name"],
    [place(frame), "quiet"],
    ...wrapped(frame.code, most).map((line) => [line, "code"]),
    ...wrapped(frame.adds, most).map((line) => [line, ""]),
  ];
  const tall = 18 * Math.max(...given.frames.map((/** @type {Frame} */ frame) => about(frame).length)) + 12;
  return canvas(
    width,
    bottom + 24 + tall,
    ["as a function", "as a module"].map((title, side) => [
      text(lefts[side], 14, title, "name"),
      [own, kept ?? ["keeps nothing"]][side].map((/** @type {string} */ line, /** @type {number} */ k) =>
        h(
          "text",
          {
            class: !side || !kept ? "quiet" : k ? "" : "name",
            "data-term": terms[side],
            x: lefts[side],
            y: 31 + 16 * k,
          },
          line,
        ),
      ),
    ]),
    boxes,
    ui.handle(
      {
        label: "frame in focus",
        text: `${here.name}, ${level} above the end: ${here.adds}`,
        value: level,
        from: 0,
        to: top,
        step: 1,
        page: 1,
        x: x + wide / 2,
        y: y + 16,
        width: wide,
        term: level < shared ? "shared" : "module",
        at: (_, at) => (bottom - ROW + 16 - at) / ROW,
        set: (value) => ui.set({ above: value }),
      },
      h("rect", { class: "knob", x: width - 18, y: y + 5, width: 12, height: 22, rx: 4 }),
    ),
    [numbers.function_loss, numbers.module_loss].map((loss, side) =>
      text(lefts[side] + column / 2, bottom + 8, `loss ${loss.toFixed(9)}`, "middle name"),
    ),
    text(width / 2, bottom + 8, numbers.same_loss ? "=" : "≠", "middle name"),
    h("rect", { class: "about", x: 0, y: bottom + 24, width, height: tall, rx: 4 }),
    about(here).map(([line, kind], k) => text(12, bottom + 46 + 18 * k, line, kind)),
  );
}

/** @param {any} numbers */
const verdict = ({ same_loss, same_gradient }) =>
  same_loss && same_gradient
    ? "equal to the last bit, and so are the gradients"
    : "not equal: .to rounded the weight that the object keeps, and not yours";

/** @type {import("./kit.js").Figure} */
export const figure = {
  name: "two_doors",
  claim: "The class computes nothing of its own: both doors lead to the same call",
  state: {
    above: { start: 1, from: 0, to: 9, step: 1 },
    door: { start: "call", among: ["call", "forward"] },
    hook: { start: false },
    pos_weight: { start: "none", among: ["none", "1.0", "3.0", "2.3"] },
    moved: { start: false },
  },
  out: (state, given) => out(/** @type {Doors} */ (state), given),
  question: ({ saved }) => ({
    question:
      "loss = BCEWithLogitsLoss(…) is built with a pos_weight and a reduction. What does loss.state_dict() hold?",
    options: [
      {
        label: saved.attributes,
        why: "That is what plain attributes leave. The weight is a buffer, so the module knows that it owns it.",
      },
      {
        label: saved.buffers,
        why: "The tensor is a buffer: saved with the object, and moved by .to. The reduction is a plain attribute.",
      },
      { label: saved.settings, why: "The reduction is a word, not a tensor. It is in your code, and is not saved." },
    ],
    truth: 1,
  }),
  picture: (state, numbers, ui, given) => picture(/** @type {Doors} */ (state), numbers, ui, given),
  controls: ({ door, hook, pos_weight, moved }, { level, stacks }, ui) => [
    button("Step in", () => ui.set({ above: level - 1 }), level === 0),
    button("Step out", () => ui.set({ above: level + 1 }), level === stacks[1].length - 1),
    choice({
      legend: "The module's door",
      options: [
        ["call", "loss(z, y)"],
        ["forward", "loss.forward(z, y)"],
      ],
      value: door,
      set: (value) => ui.set({ door: value }),
    }),
    choice({
      legend: "pos_weight w",
      options: ["none", "1.0", "3.0", "2.3"].map((one) => [one, one]),
      value: pos_weight,
      set: (value) => ui.set({ pos_weight: value }),
    }),
    toggle({ label: "a forward hook", checked: hook, set: (value) => ui.set({ hook: value }) }),
    toggle({ label: "loss.to(torch.float32)", checked: moved, set: (value) => ui.set({ moved: value }) }),
  ],
  lines: ({ pos_weight, moved, hook }, { holds, function_loss, hooks }, { hazards, happened }) =>
    [
      {
        term: "function",
        formula:
          pos_weight === "none" ? "w = None goes in with every call" : `w = ${pos_weight} goes in with every call`,
        code: 'F.binary_cross_entropy_with_logits(z, y, pos_weight=w, reduction="sum")',
      },
      {
        term: "module",
        formula: holds.length ? `w = ${digits(holds[0][1])} stays in the object` : "the object owns no tensor",
        code: 'nn.BCEWithLogitsLoss(pos_weight=w, reduction="sum")',
      },
      moved && {
        term: "module",
        formula: holds.length ? `.to moved w to ${holds[0][2]}` : ".to finds no tensor to move",
        code: "loss.to(torch.float32)",
      },
      hook && {
        term: "module",
        formula: ["the hook did not run", "the hook ran"][hooks[1]],
        code: "loss.register_forward_hook(note(ran))",
      },
      {
        term: "shared",
        formula: `${hazards.map((/** @type {number} */ p, /** @type {number} */ k) => (happened[k] ? `− ${pos_weight === "none" ? "" : `${pos_weight} `}log ${p}` : `− log(1 − ${p})`)).join(" ")} = ${function_loss.toFixed(6)}`,
      },
    ].filter((line) => line !== false),
  sentence: ({ hook }, numbers) =>
    `On the way to cross-entropy, ${numbers.stacks[1][0].code} goes through ${many(numbers.between[1])}, the function through ${many(numbers.between[0])}; ` +
    `from there on both make the same ${numbers.shared} calls. The losses are ${both(numbers)}, ${verdict(numbers)}.` +
    (hook ? ` The hook ${numbers.hooks[1] ? "runs" : "does not run, and nobody is told"}.` : ""),
  table: (_, numbers, { torch }) => {
    const [byFunction, byModule] = numbers.stacks;
    return {
      caption: `Recorded with torch ${torch}. The losses are ${both(numbers)}; the last ${numbers.shared} calls are shared.`,
      head: ["above the end", "function", "module", "where the module is"],
      rows: byModule.map((/** @type {Frame} */ frame, /** @type {number} */ k) => {
        const above = byModule.length - 1 - k;
        const same = above < numbers.shared ? frame.name : k ? "–" : byFunction[0].name;
        return [above, same, frame.name, place(frame)];
      }),
    };
  },
  style: `
.code { font-family: var(--md-code-font-family, ui-monospace, "DejaVu Sans Mono", Menlo, monospace); font-size: 12px; }
.frame { fill: var(--vw-page, #fff); stroke: var(--vw-muted, #5b6470); }
.frame.deepest { fill: var(--vw-line, #d5d9df); }
.frame.here { stroke: var(--vw-ink, #1b1f24); stroke-width: 3; }
.formula:only-child { grid-column: 1 / -1; }
.about { fill: var(--vw-panel, #f6f7f9); }
`,
};

export default host(figure);
