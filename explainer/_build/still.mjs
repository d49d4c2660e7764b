// Draws figures for the build: one JSON line in ({ name, state, given }), one out ({ html } or { error });
// for { names } the rules that the pictures need ({ css }).
import { createInterface } from "node:readline";

const folder = new URL("../../src/visitwise/widgets/", import.meta.url);

const module = (name) => import(new URL(`${name}.js`, folder).href);

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
    else answer = { html: (await module(name)).default.still(state, given) };
  } catch (error) {
    answer = { error: String(error?.message ?? error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
