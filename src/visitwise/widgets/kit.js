// What every figure is made of: a tree of elements that is compared with what is on screen, handles, native controls and
// a frame. The same functions draw a figure in the browser and, as text, for readers without a script.

/**
 * @typedef {{ tag: string, attributes: Record<string, any>, children: Tree[] }} Branch
 * @typedef {Branch | string | number} Tree
 * @typedef {Record<string, any>} State
 * @typedef {Record<string, any>} Numbers
 * @typedef {{ start: any, from?: number, to?: number, step?: number, fewest?: number, most?: number, among?: any[] }} Limit
 * @typedef {{ question: string, options: { label: string, why: string }[], truth: number }} Question
 * @typedef {{ term?: string, formula: any, code?: string }} Line
 * @typedef {{ head: string[], rows: any[][], caption: string }} Table
 * @typedef {{ width: number, narrow: boolean, live: boolean, set: (change: State) => void, handle: typeof noHandle,
 *   later?: (name: string, make: () => any) => any }} Ui
 * @typedef {{
 *   name: string, state: Record<string, Limit>, mend?: (state: State) => State,
 *   out: (state: State, given: any) => Numbers, claim: string,
 *   question?: (given: any) => Question,
 *   picture: (state: State, out: Numbers, ui: Ui, given: any) => Branch,
 *   above?: Figure["controls"], controls?: (state: State, out: Numbers, ui: Ui, given: any) => any,
 *   lines?: (state: State, out: Numbers, given: any) => Line[],
 *   sentence: (state: State, out: Numbers, given: any) => string,
 *   table: (state: State, out: Numbers, given: any) => Table,
 *   style?: string, waits?: boolean,
 * }} Figure
 */

/** @param {string} tag @param {Record<string, any> | null} [attributes] @param {...any} children @returns {Branch} */
export const h = (tag, attributes, ...children) => ({
  tag,
  attributes: attributes ?? {},
  children: children.flat(9).filter((child) => child !== null && child !== undefined && child !== false),
});

/** A picture of that size. @param {number} width @param {number} height @param {...any} marks */
export const canvas = (width, height, ...marks) =>
  h("svg", { viewBox: `0 0 ${width} ${height}`, width, height }, marks);

/** @param {number} x @param {number} y @param {number} width @param {number} height @param {any} [kind] @param {any} [term] */
export const rect = (x, y, width, height, kind, term) =>
  h("rect", { class: kind, x, y, width, height, "data-term": term });

/** @param {any} x @param {any} y @param {any} words @param {any} [kind] its classes */
export const text = (x, y, words, kind) => h("text", { class: kind, x, y }, words);

/** @param {number[][]} places @param {string} path @param {any} [kind] @param {any} [term] */
export const stamp = (places, path, kind, term) =>
  h("path", { class: kind, d: places.map((place) => `M${place}${path}`).join(""), "data-term": term });

/**
 * Levels of a scale: a line across, its number at the left.
 * @param {number[]} ticks @param {number} left @param {number} right @param {(tick: number) => number} up
 */
export const levels = (ticks, left, right, up) =>
  ticks.map((tick) => [
    h("path", { class: "grid", d: `M${left} ${up(tick)}H${right}` }),
    text(left - 5, up(tick) + 4, tick, "quiet end"),
  ]);

/** With the sign that print has for minus. @param {any} number */
export const minus = (number) => `${number}`.replace("-", "−");

/** The event, as a cross. @param {number} x @param {number} y @param {number} [r] */
export const eventMark = (x, y, r = 6) =>
  h("path", { class: "event", d: `M${x - r} ${y - r}l${2 * r} ${2 * r}m0-${2 * r}l-${2 * r} ${2 * r}` });

/** An end without the event, as an open circle with an arrow. @param {number} x @param {number} y */
export const censoredMark = (x, y) =>
  h("path", { class: "censored", d: `M${x} ${y}a4 4 0 1 0-8 0a4 4 0 1 0 8 0h9m-4-4l4 4l-4 4` });

const escaped = (/** @type {any} */ text) =>
  String(text).replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign] ?? sign);

/** The tree as text, without what reacts to a reader. @param {Tree} tree @returns {string} */
export function markup(tree) {
  if (typeof tree !== "object") return escaped(tree);
  const attributes = Object.entries(tree.attributes)
    .filter(([name, value]) => typeof value !== "function" && value !== undefined && value !== null && value !== false)
    .map(([name, value]) => ` ${name}="${value === true ? "" : escaped(value)}"`);
  return `<${tree.tag}${attributes.join("")}>${tree.children.map(markup).join("")}</${tree.tag}>`;
}

const SVG = "http://www.w3.org/2000/svg";
const drawn = new WeakMap();
/** What the focus is leaving: it goes once the focus has. @type {any} */
let leaving;

/** Which handle a tree is, or which part of one, if any. @param {any} tree @returns {string | undefined} */
const handleName = (tree) => tree?.attributes?.["data-handle"] ?? tree?.attributes?.["data-name"];

/**
 * Make the children of an element what the trees say. A handle keeps its element while marks before it come and go:
 * the focus or a finger may be on it.
 * @param {any} parent @param {Tree[]} trees
 */
export function patch(parent, trees) {
  let node = parent.firstChild;
  const drop = () => {
    const next = node.nextSibling;
    node === leaving ? drawn.delete(node) : node.remove();
    node = next;
  };
  for (const tree of trees) {
    const name = handleName(tree);
    let held = name && node;
    while (held && handleName(drawn.get(held)) !== name) held = held.nextSibling;
    while (held && node !== held) drop();
    const old = drawn.get(node);
    if (old !== tree) {
      // Else nothing in it can have changed.
      if (typeof tree !== "object") {
        if (node?.nodeType !== 3) node = put(parent, node, document.createTextNode(""));
        node.data = tree;
      } else {
        const same = old?.tag === tree.tag && handleName(old) === name;
        if (!same) {
          const inside = tree.tag === "svg" || (parent.namespaceURI === SVG && parent.localName !== "foreignObject");
          const fresh = inside ? document.createElementNS(SVG, tree.tag) : document.createElement(tree.tag);
          node = handleName(old) ? parent.insertBefore(fresh, node) : put(parent, node, fresh);
        }
        dress(node, same ? old.attributes : {}, tree.attributes);
        patch(node, tree.children);
      }
      drawn.set(node, tree);
    }
    node = node.nextSibling;
  }
  while (node) drop();
}

/** @param {any} parent @param {any} old @param {any} node */
function put(parent, old, node) {
  if (old) parent.replaceChild(node, old);
  else parent.append(node);
  return node;
}

/** @param {any} node @param {Record<string, any>} before @param {Record<string, any>} after */
function dress(node, before, after) {
  for (const name in before) {
    if (name in after) continue;
    if (typeof before[name] === "function") node[name] = null;
    else node.removeAttribute(name);
  }
  for (const name in after) {
    const value = after[name];
    if (typeof (value ?? before[name]) === "function") node[name] = value;
    else if (name === "checked" || (name === "value" && node.localName !== "option")) {
      if (node[name] !== (name === "value" ? String(value) : value)) node[name] = value;
    } else if (before[name] !== value || (name === "tabindex" && node.tabIndex !== value)) {
      if (value === undefined || value === null || value === false) node.removeAttribute(name);
      else node.setAttribute(name, value === true ? "" : value);
    }
  }
}

/** @param {number} value @param {number} low @param {number} high */
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** The nearest multiple of a step, as a reader would type it. @param {number} value @param {number} step */
export const rounded = (value, step) => Number((Math.round(value / step) * step).toFixed(10));

/**
 * What can be dragged in a picture: a slider with a place. In a `group` (a row of bars) the keys across its way go to the
 * neighbour. `chosen` hears that it was taken hold of. A group that knows which of it is chosen says where Tab stops,
 * and `along` draws the neighbour that is to have the focus. What cannot move is a button.
 * @typedef {{ label: string, text: string, value: number, from: number, to: number, step: number, page?: number,
 *   x: number, y: number, width?: number, height?: number, sideways?: boolean, term?: string,
 *   group?: string, place?: number, count?: number, stop?: boolean, along?: (place: number) => void, chosen?: () => void,
 *   at: (x: number, y: number) => number, set: (value: number) => void }} Handle
 */

/** In a still picture a handle is its marks alone. @param {Handle} handle @param {...any} marks */
export const noHandle = (handle, ...marks) => h("g", { "data-term": handle.term }, ...marks);

const STEPS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 };

/** @param {any} root @param {Record<string, number>} current the place in each group that Tab reaches */
const handles =
  (root, current) =>
  (/** @type {Handle} */ handle, /** @type {any[]} */ ...marks) => {
    const { from, to, step, value, group, place = 0, count = 1 } = handle;
    const page = handle.page ?? 10 * step;
    const set = (/** @type {number} */ wanted) => {
      const next = clamp(rounded(wanted, step), from, to);
      if (next !== value) handle.set(next);
    };
    const onkeydown = (/** @type {any} */ event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return; // the browser's own
      const along = /** @type {any} */ (STEPS)[event.key];
      if (group && (handle.sideways ? /^Arrow[UD]/ : /^Arrow[LR]/).test(event.key)) {
        const next = clamp(handle.sideways ? place - along : place + along, 0, count - 1);
        leaving = root.activeElement;
        if (next !== place) handle.along?.(next);
        root.querySelector(`[data-handle="${group} ${next}"]`)?.focus();
        drawn.has(leaving) || leaving?.remove();
        leaving = null;
      } else if (along) set(value + along * step);
      else if (event.key === "PageUp") set(value + page);
      else if (event.key === "PageDown") set(value - page);
      else if (event.key === "Home") set(from);
      else if (event.key === "End") set(to);
      else return;
      event.preventDefault();
      event.stopPropagation();
    };
    const onpointerdown = (/** @type {any} */ event) => {
      if (event.button) return;
      const node = event.currentTarget;
      const grip = { x: handle.x - local(node, event).x, y: handle.y - local(node, event).y };
      node.focus({ preventScroll: true });
      try {
        node.setPointerCapture(event.pointerId);
      } catch {} // a program's pointer cannot be captured
      const held = new AbortController();
      const hear = (/** @type {any} */ target, /** @type {string} */ name, /** @type {(event: any) => void} */ act) =>
        target.addEventListener(
          name,
          (/** @type {any} */ heard) => heard.pointerId === event.pointerId && act(heard), // not another finger
          { signal: held.signal, capture: true },
        );
      hear(node, "pointermove", (moved) => {
        const point = local(node, moved);
        node.latest(handle.at(point.x + grip.x, point.y + grip.y));
      });
      // The window hears it even if the handle is gone.
      for (const name of ["pointerup", "pointercancel"])
        hear(window, name, () => {
          held.abort();
          root.host.classList.remove("dragging");
        });
      root.host.classList.add("dragging");
    };
    const width = handle.width ?? 44;
    const height = handle.height ?? 44;
    return h(
      "g",
      {
        class: "handle",
        tabindex: (handle.stop ?? (!group || Math.min(current[group] ?? 0, count - 1) === place)) ? 0 : -1,
        ...(to > from
          ? {
              role: "slider",
              "aria-label": handle.label,
              "aria-valuemin": from,
              "aria-valuemax": to,
              "aria-valuenow": value,
              "aria-valuetext": handle.text,
              "aria-orientation": handle.sideways ? "horizontal" : "vertical",
            }
          : { role: "button", "aria-label": handle.label, "aria-description": handle.text }),
        "data-handle": `${group ?? handle.label} ${place}`,
        "data-term": handle.term,
        latest: set,
        onkeydown,
        onpointerdown,
        onfocus: () => {
          if (group) {
            current[group] = place;
            for (let k = 0; k < count; k++)
              root.querySelector(`[data-handle="${group} ${k}"]`)?.setAttribute("tabindex", k === place ? "0" : "-1");
          }
          handle.chosen?.();
        },
        ontouchstart: (/** @type {any} */ event) => event.preventDefault(), // a finger here drags, elsewhere it scrolls
      },
      ...marks,
      // Named: a finger finds it again once taking hold of it has drawn the figure anew.
      h("rect", {
        class: "hit",
        "data-name": "hit",
        x: handle.x - width / 2,
        y: handle.y - height / 2,
        width,
        height,
        rx: 4,
      }),
    );
  };

/** Where a pointer is, in the picture's own units. @param {any} node @param {any} event */
function local(node, event) {
  const matrix = node.ownerSVGElement.getScreenCTM().inverse();
  return new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix);
}

/** @param {{ label: string, value: number, from: number, to: number, step: number, text?: string, spoken?: string,
 *   term?: string, set: (value: number) => void }} slider */
export const range = (slider) =>
  h(
    "label",
    { class: "range", "data-term": slider.term },
    h("span", null, slider.label),
    h("input", {
      type: "range",
      min: slider.from,
      max: slider.to,
      step: slider.step,
      value: slider.value,
      "aria-valuetext": slider.spoken ?? slider.text,
      oninput: (/** @type {any} */ event) => slider.set(event.target.valueAsNumber),
    }),
    h("output", null, slider.text ?? slider.value),
  );

/** @param {{ legend: string, options: [any, string][], value: any, set: (value: any) => void }} choice */
export const choice = ({ legend, options, value, set }) =>
  h(
    "fieldset",
    { class: "choice" },
    h("legend", null, legend),
    options.map(([option, label]) =>
      h(
        "label",
        null,
        h("input", {
          type: "radio",
          name: legend,
          checked: option === value,
          "data-value": option,
          onchange: () => set(option),
        }),
        h("span", null, label),
      ),
    ),
  );

/** @param {{ label: string, checked: boolean, term?: string, set: (checked: boolean) => void }} toggle */
export const toggle = ({ label, checked, term, set }) =>
  h(
    "label",
    { class: "toggle", "data-term": term },
    h("input", { type: "checkbox", checked, onchange: (/** @type {any} */ event) => set(event.target.checked) }),
    h("span", null, label),
  );

/** @param {string} label @param {() => void} act @param {boolean} [off] */
export const button = (label, act, off) =>
  h("button", { type: "button", "aria-disabled": off ? "true" : undefined, onclick: () => off || act() }, label);

/** @param {Table} table */
export const tabular = ({ caption, head, rows }) =>
  h(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": caption },
    h(
      "table",
      null,
      h("caption", null, caption),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          head.map((name) => h("th", { scope: "col" }, name)),
        ),
      ),
      h(
        "tbody",
        null,
        rows.map((row) =>
          h(
            "tr",
            null,
            row.map((cell, k) => h(k ? "td" : "th", k ? null : { scope: "row" }, cell)),
          ),
        ),
      ),
    ),
  );

/** @param {Figure} figure @returns {State} */
export const start = (figure) =>
  Object.fromEntries(Object.entries(figure.state).map(([key, limit]) => [key, structuredClone(limit.start)]));

/** A state as a few words for an address: what differs from the start. @param {Figure} figure @param {State} state */
export const encode = (figure, state) =>
  Object.entries(figure.state)
    .filter(([key, limit]) => JSON.stringify(state[key]) !== JSON.stringify(limit.start))
    .map(([key]) => `${key}:${[state[key]].flat(9).join(",")}`)
    .join(";");

/** The state that an address asks for, or nothing if any of it makes no sense. @param {Figure} figure @param {string} text @returns {State | null} */
export function decode(figure, text) {
  const state = start(figure);
  for (const part of text.split(";")) {
    const [, key, values] = /^([a-z_]+):([^:]*)$/.exec(part) ?? [];
    if (!key || !Object.hasOwn(figure.state, key)) return null;
    const limit = figure.state[key];
    const value = parsed(values.split(","), limit);
    if (value === null) return null;
    state[key] = value;
  }
  const mended = figure.mend ? figure.mend(state) : state;
  return JSON.stringify(mended) === JSON.stringify(state) ? state : null;
}

/** @param {string[]} words @param {Limit} limit @returns {any} */
function parsed(words, limit) {
  const many = Array.isArray(limit.start);
  const { fewest = many ? limit.start.length : 1, most = many ? limit.start.length : 1 } = limit;
  const values = words.map((word) => {
    if (limit.among) return limit.among.find((one) => String(one) === word);
    if (typeof [limit.start].flat(9)[0] === "boolean") return [true, false].find((one) => String(one) === word);
    const number = /^-?\d+(\.\d+)?$/.test(word) ? Number(word) : NaN;
    const { from = -Infinity, to = Infinity, step = 1 } = limit;
    return number >= from && number <= to && rounded(number, step) === number ? number + 0 : undefined; // -0 is 0
  });
  if (values.includes(undefined) || values.length < fewest || values.length > most) return null;
  return many ? values : values[0];
}

/** @param {Figure} figure @param {State} state @param {any} given @param {Numbers} out */
const frame = (figure, state, given, out) => ({
  claim: h("p", { class: "claim" }, figure.claim),
  sentence: figure.sentence(state, out, given),
  table: () => tabular(figure.table(state, out, given)),
});

/** The figure as it begins, as text: for readers without a script, and for paper. @param {Figure} figure @param {State} given @param {State} wanted */
export function still(figure, wanted = {}, given = {}) {
  const begun = { ...start(figure), ...wanted };
  const state = figure.mend ? figure.mend(begun) : begun;
  const out = figure.out(state, given);
  const { claim, sentence, table } = frame(figure, state, given, out);
  const pictures = [640, 328].map((width) => {
    const ui = { width, narrow: width < 480, live: false, set: () => {}, handle: noHandle };
    const { tag, attributes, children } = figure.picture(state, out, ui, given);
    return h(
      tag,
      { ...attributes, class: ui.narrow ? "narrow" : "wide", role: "img", "aria-label": sentence },
      children,
    );
  });
  return [claim, ...pictures, h("p", { class: "sentence" }, sentence), table()].map(markup).join("");
}

/** What a host needs: anywidget calls `render`, and so does the site. @param {Figure} figure */
export const host = (figure) => ({
  figure,
  encode: (/** @type {State} */ state) => encode(figure, state),
  decode: (/** @type {string} */ text) => decode(figure, text),
  still: (/** @type {State} */ state, /** @type {any} */ given) => still(figure, state, given),
  render: (/** @type {{ model: any, el: any }} */ { model, el }) => render(figure, model, el),
});

/** @param {Figure} figure @param {any} model @param {any} el */
function render(figure, model, el) {
  const keys = Object.keys(figure.state);
  const given = model.get("given") ?? {};
  const root = el.shadowRoot ?? el.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(FRAME + MARKS + (figure.style ?? ""));
  root.adoptedStyleSheets = [sheet];

  /** @type {State} */
  let state = {};
  /** @type {Numbers} */
  let out = {};
  let width = 0;
  let busy = false;
  let said = 0;
  /** @type {Record<string, number>} */
  const current = {};
  const handle = handles(root, current);
  /** What a figure that waits draws a frame after its picture. @type {Record<string, any>} */
  const held = {};
  let settled = true;
  let next = 0;
  const later = (/** @type {string} */ name, /** @type {() => any} */ make) =>
    settled || !(name in held) ? (held[name] = make()) : held[name];
  const settle = () => {
    next = 0;
    settled = true;
    draw();
    settled = false;
  };
  /** What each panel looked like last. @type {any} */
  const panels = {};

  const draw = () => {
    const ui = { width: width || 640, narrow: (width || 640) < 480, live: true, set: change, handle, later };
    const { claim, sentence, table } = frame(figure, state, given, out);
    const opened = root.querySelector("details")?.open;
    const picture = figure.picture(state, out, ui, given);
    const controls = figure.controls?.(state, out, ui, given);
    const lines = later("lines", () => (figure.lines?.(state, out, given) ?? []).map(line));
    const shown = root.querySelector("svg");
    if (panels[state.panel] !== shown) shown?.replaceWith(panels[state.panel] ?? "");
    patch(root, [
      h(
        "section",
        { "aria-label": figure.claim, "aria-busy": !settled && "true" },
        claim,
        h("div", { class: "predict" }, asked()),
        figure.above &&
          h(
            "div",
            { class: "controls above" },
            later("above", () => figure.above?.(state, out, ui, given)),
          ),
        h(
          "div",
          { class: "picture" },
          h("svg", { ...picture.attributes, role: "group", "aria-label": "Picture" }, picture.children),
        ),
        h(
          "div",
          { class: "controls" },
          controls,
          button("Start again", () => change(start(figure))),
        ),
        h("div", { class: "lines" }, lines),
        h(
          "p",
          { class: "sentence", "aria-hidden": "true" },
          later("sentence", () => sentence),
        ),
        h("p", { class: "spoken", role: "status" }, root.querySelector(".spoken")?.textContent ?? sentence),
        h("details", { ontoggle: draw }, h("summary", null, "Show as table"), opened && table()),
      ),
    ]);
    panels[state.panel] = root.querySelector("svg");
    if (!settled) next ||= requestAnimationFrame(() => signal.aborted || settle());
    light();
    clearTimeout(said); // a screen reader hears it once the change has come to rest
    said = setTimeout(() => patch(root.querySelector(".spoken"), [sentence]), 400);
    el.dataset.state = JSON.stringify(state);
    el.dataset.out = JSON.stringify(out);
  };

  const reckon = () => {
    state = Object.fromEntries(keys.map((key) => [key, model.get(key) ?? structuredClone(figure.state[key].start)]));
    if (figure.mend) state = figure.mend(state);
    out = figure.out(state, given);
  };

  const tell = (/** @type {Record<string, any>} */ values) => {
    busy = true;
    for (const [key, value] of Object.entries(values)) model.set(key, value);
    busy = false;
    model.save_changes();
  };

  /** @param {State} wanted */
  function change(wanted) {
    state = { ...state, ...wanted };
    if (figure.mend) state = figure.mend(state);
    out = figure.out(state, given);
    draw();
    tell({ ...state, shown: out });
  }

  /** @param {number} option */
  function guess(option) {
    tell({ guess: option });
  }

  /** @type {{ guess?: any, tree?: Branch }} */
  let answered = {};
  const asked = () => {
    const made = model.get("guess");
    if (figure.question && (!answered.tree || answered.guess !== made)) {
      answered = { guess: made, tree: predict(given.question ?? figure.question(given), made, guess) };
    }
    return answered.tree;
  };
  let lit = "";
  const light = () => {
    const term = model.get("light") ?? "";
    if (!term && !lit) return;
    lit = term;
    for (const node of root.querySelectorAll("[data-term]")) node.classList.toggle("lit", node.dataset.term === term);
  };
  const point = (/** @type {any} */ event) => {
    const away = event.type === "pointerleave" || event.type === "focusout";
    const term = (!away && event.target.closest?.("[data-term]")?.dataset.term) || "";
    if (term === (model.get("light") ?? "")) return;
    busy = true;
    model.set("light", term);
    busy = false;
    light();
  };
  let late = false;
  const told = () => {
    if (busy || late) return;
    late = true;
    queueMicrotask(() => {
      late = false; // all parts have changed by now: no state is mended that is half new
      reckon();
      draw();
      tell({ ...state, shown: out });
    });
  };
  // JupyterLab takes keys that come as far as the page.
  const kept = (/** @type {any} */ event) => event.ctrlKey || event.metaKey || event.altKey || event.stopPropagation();
  const sized = new ResizeObserver(() => {
    const wide = Math.min(Math.floor(el.clientWidth), 720);
    if (!wide || wide === width) return;
    width = wide;
    requestAnimationFrame(() => signal.aborted || draw()); // at once, it would change its size while that is told
  });

  const ended = new AbortController();
  const { signal } = ended;
  for (const name of ["pointerover", "focusin", "focusout"]) root.addEventListener(name, point, { signal });
  el.addEventListener("pointerleave", point, { signal });
  root.addEventListener("keydown", kept, { signal });
  for (const key of keys) model.on(`change:${key}`, told);
  model.on("change:light", light);
  model.on("change:guess", draw);
  width = Math.min(Math.floor(el.clientWidth), 720);
  reckon();
  draw();
  settled = !figure.waits;
  tell({ ...state, shown: out });
  sized.observe(el);
  return () => {
    sized.disconnect();
    clearTimeout(said);
    for (const key of keys) model.off(`change:${key}`, told);
    model.off("change:light", light);
    model.off("change:guess", draw);
    ended.abort();
  };
}

/** @param {Line} line */
const line = ({ term, formula, code }) =>
  h(
    "div",
    { class: "line", "data-term": term, tabindex: 0 },
    h("span", { class: "formula" }, formula),
    code && h("code", null, code),
  );

/** @param {Question} question @param {number | undefined} guess @param {(option: number) => void} set */
const predict = ({ question, options, truth }, guess, set) => {
  const made = typeof guess === "number" && guess in options;
  return h(
    "fieldset",
    null,
    h("legend", null, question),
    options.map(({ label }, option) =>
      h(
        "label",
        { class: made && option === truth ? "truth" : made && option === guess ? "missed" : null },
        h("input", {
          type: "radio",
          name: "guess",
          checked: option === guess,
          "data-value": option,
          onchange: () => set(option),
        }),
        h(
          "span",
          null,
          label,
          made && option === truth && " ✓ the answer",
          made && option === guess && option !== truth && " ✗ your guess",
        ),
      ),
    ),
    h("p", { role: "status" }, made ? options[/** @type {number} */ (guess)].why : ""),
  );
};

/** How marks look: one class for each meaning. */
export const MARKS = `
svg { display: block; max-width: 100%; height: auto; overflow: visible; font: 13px var(--vw-figure-font, system-ui, sans-serif);
  fill: var(--vw-ink, #1b1f24); }
.hit { fill: transparent; }
.knob { fill: var(--vw-page, #fff); stroke: var(--vw-ink, #1b1f24); stroke-width: 2; }
svg .lit { stroke: var(--vw-ink, #1b1f24); stroke-width: 2; }
svg text.lit { stroke: none; font-weight: 700; }
svg g.lit { stroke: none; }
svg g.lit > :is(rect:first-child, circle, path) { stroke: var(--vw-ink, #1b1f24); stroke-width: 3; }
.axis { stroke: var(--vw-muted, #5b6470); stroke-width: 1; fill: none; }
.grid { stroke: var(--vw-line, #d5d9df); stroke-width: 1; fill: none; }
.quiet { fill: var(--vw-muted, #5b6470); }
.name { font-weight: 600; }
.hazard { fill: var(--vw-hazard, #c2410c); } text.hazard { stroke: none; }
.survival { fill: none; stroke: var(--vw-survival, #1166cc); stroke-width: 2.5; }
.survived { fill: var(--vw-survival, #1166cc); }
.event-probability { fill: var(--vw-event-probability, #522b64); }
.censored { fill: none; stroke: var(--vw-censored, #0e3924); stroke-width: 2; }
.event { fill: none; stroke: var(--vw-ink, #1b1f24); stroke-width: 3; }
.wrong { fill: var(--vw-wrong, #b3122e); }
.padding { fill: var(--vw-muted, #5b6470); fill-opacity: 0.18; stroke: var(--vw-muted, #5b6470); stroke-dasharray: 2 3; }
.on { fill: var(--vw-page, #fff); }
.middle { text-anchor: middle; } .end { text-anchor: end; }
`;

const FRAME = `
:host { display: block; color: var(--vw-ink, #1b1f24); font: 15px/1.5 var(--vw-figure-font, system-ui, sans-serif);
  font-variant-numeric: tabular-nums; text-align: left; max-width: 720px; }
* { box-sizing: border-box; }
section { display: grid; gap: 16px; grid-template-columns: minmax(0, 1fr); }
p { margin: 0; }
.claim { font-size: 1.13em; font-weight: 600; line-height: 1.35; }
.picture { user-select: none; -webkit-user-select: none; touch-action: pan-y; }
fieldset { border: 0; margin: 0; padding: 0; min-width: 0; }
legend { padding: 0; font-weight: 600; }
.predict:empty, .lines:empty { display: none; }
.predict { background: var(--vw-panel, #f6f7f9); border-radius: 4px; padding: 12px 14px; }
.predict label { display: flex; gap: 8px; align-items: baseline; padding: 4px 0; min-height: 32px; }
.predict p:not(:empty) { margin-top: 6px; }
.truth { font-weight: 600; }
.missed { color: var(--vw-wrong, #b3122e); }
.controls { display: flex; flex-wrap: wrap; gap: 8px 20px; align-items: center; }
.controls > fieldset { display: flex; flex-wrap: wrap; gap: 0 16px; align-items: center; }
.controls > fieldset legend { float: left; margin-right: 12px; }
.controls label { display: inline-flex; gap: 6px; align-items: center; min-height: 32px; }
label.range { flex: 1 1 240px; }
.range input { flex: 1; min-width: 80px; height: 44px; margin: 0; }
.range output { min-width: 3.2em; text-align: right; }
input { accent-color: var(--vw-survival, #1166cc); flex: none; }
input:is([type="radio"], [type="checkbox"]) { margin: 0; }
button { font: inherit; color: inherit; background: none; border: 1px solid var(--vw-muted, #5b6470); border-radius: 4px;
  padding: 2px 12px; min-height: 32px; cursor: pointer; }
button[aria-disabled] { color: var(--vw-muted, #5b6470); border-style: dotted; cursor: default; }
:focus-visible { outline: 3px solid var(--vw-survival, #1166cc); outline-offset: 2px; }
.handle { cursor: grab; outline: none; touch-action: none; }
:host(.dragging), :host(.dragging) .handle { cursor: grabbing; }
.handle:focus-visible .hit { stroke: var(--vw-survival, #1166cc); stroke-width: 3; }
.lines { border: 1px solid var(--vw-line, #d5d9df); border-radius: 4px; }
.line { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 2px 16px; padding: 6px 12px; align-items: center;
  border-left: 4px solid transparent; }
.line + .line { border-top: 1px solid var(--vw-line, #d5d9df); }
.line.lit { border-left-color: var(--vw-hazard, #c2410c); background: var(--vw-panel, #f6f7f9); }
@media (max-width: 600px) { .line { grid-template-columns: minmax(0, 1fr); } }
code { font: 0.9em var(--md-code-font-family, ui-monospace, "DejaVu Sans Mono", Menlo, monospace); overflow-wrap: anywhere; }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.sentence { min-height: 3em; }
.scroll { overflow-x: auto; }
summary { cursor: pointer; min-height: 32px; }
table { border-collapse: collapse; font-size: 0.93em; }
caption { text-align: left; color: var(--vw-muted, #5b6470); padding-bottom: 4px; }
th, td { text-align: right; padding: 3px 14px 3px 0; font-weight: 400; white-space: nowrap; }
th:first-child { text-align: left; }
thead th { font-weight: 600; border-bottom: 2px solid var(--vw-muted, #5b6470); }
.moves { transition: transform 200ms ease-out, opacity 200ms ease-out; }
:host(.dragging) .moves { transition: none; }
@media (prefers-reduced-motion: reduce) { .moves { transition: none; } }
@media (forced-colors: active) {
  :host { --vw-ink: CanvasText; --vw-muted: CanvasText; --vw-line: GrayText; }
  .handle:focus-visible .hit { stroke: Highlight; }
}
`;
