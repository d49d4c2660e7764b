// Draws figures for the build: one JSON line in ({ name, state, given }), one out ({ html } or { error });
// for { names } the rules that the pictures need ({ css }). With a picture comes what of a long `given` it did without.
import { createInterface } from "node:readline";

const folder = new URL("../../src/visitwise/widgets/", import.meta.url);

const module = (name) => import(new URL(`${name}.js`, folder).href);

const LONG = 4000; // letters: less is not worth a request of its own

/** The same, noting which long texts inside its objects have not been read; `path` is where it lies. */
function watched(value, unread, path = []) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const copy = {};
  for (const [key, part] of Object.entries(value)) {
    const place = [...path, key];
    copy[key] = watched(part, unread, place);
    if (typeof part !== "string" || part.length < LONG) continue;
    unread.add(place);
    Object.defineProperty(copy, key, { enumerable: true, get: () => (unread.delete(place), part) });
  }
  return copy;
}

/** @param {string[]} names */
async function rules(names) {
  const { MARKS } = await module("kit");
  const figures = await Promise.all(names.map(module));
  const own = figures.map(({ figure }) => figure.style ?? "");
  return `.vw-still {${[MARKS, ...own].join("")}}\n`;
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const { names, name, state, given } = JSON.parse(line);
    if (names) answer = { css: await rules(names) };
    else {
      const unread = new Set();
      const { default: drawn, figure } = await module(name);
      const seen = watched(given, unread);
      const html = drawn.still(state, seen);
      // What the question compares need not come along to be asked.
      answer = { html, unread: [...unread], question: figure?.question?.(given) };
    }
  } catch (error) {
    answer = { error: String(error?.message ?? error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
