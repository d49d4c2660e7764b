// Compares figures' arithmetic with fixtures that Python wrote: jobs as JSON in, for each the differences out. A module
// cannot tell where it runs, so that tests/test_figures.py can give the same functions to a browser.

/** Where two records differ by more than one part in 10^12 @returns {string[]} */
export function differences(shown, expected, place = "out") {
  if (Array.isArray(expected) || (expected && typeof expected === "object")) {
    if (!shown || typeof shown !== "object" || Array.isArray(shown) !== Array.isArray(expected))
      return [`${place}: ${shown}`];
    const keys = [...new Set([...Object.keys(shown), ...Object.keys(expected)])];
    return keys.flatMap((key) => differences(shown[key], expected[key], `${place}.${key}`));
  }
  if (typeof expected === "number" && typeof shown === "number") {
    return Math.abs(shown - expected) <= 1e-12 * Math.max(1, Math.abs(expected))
      ? []
      : [`${place}: ${shown} for ${expected}`];
  }
  return shown === expected ? [] : [`${place}: ${shown} for ${expected}`];
}

/** @param {any} figure @param {{ given: any, cases: [any, any][] }} fixture */
export const compared = (figure, { given, cases }) =>
  cases.flatMap(([state, expected]) => {
    const mended = figure.mend ? figure.mend(state) : state;
    const unlike = JSON.stringify(mended) === JSON.stringify(state) ? [] : ["the state would be mended"];
    let shown;
    try {
      shown = figure.out(state, given);
    } catch (error) {
      shown = String(error);
    }
    const found = [...unlike, ...differences(shown, expected)];
    return found.length ? [`${JSON.stringify(state)}: ${found.slice(0, 3).join("; ")}`] : [];
  });

/**
 * The differences of each job, twenty at most.
 * @param {{ module: string, fixture: string }[]} jobs @param {(path: string) => Promise<any>} load @param {(path: string) => Promise<any>} read
 */
export async function answers(jobs, load, read) {
  const found = [];
  for (const { module, fixture } of jobs) {
    const cases = await read(fixture);
    try {
      found.push(compared((await load(module)).figure, cases).slice(0, 20));
    } catch (error) {
      found.push([`${module} cannot be loaded: ${error}`]);
    }
  }
  return found;
}

if (typeof process !== "undefined" && process.argv[1]?.endsWith("compare.mjs")) {
  const { readFile } = await import("node:fs/promises");
  const { pathToFileURL } = await import("node:url");
  const jobs = JSON.parse(await new Response(process.stdin).text());
  const load = (path) => import(pathToFileURL(path).href);
  const read = async (path) => JSON.parse(await readFile(path, "utf8"));
  console.log(JSON.stringify(await answers(jobs, load, read)));
}
