// The truth that the playground's models were trained to find: `Simulator.cause_hazard` of simulate.py, one patient at a
// time. It reads what was recorded from visit to visit and carries what must be remembered: a recurrent model by hand.

import { causeHazard, sum } from "./functional.js";

/**
 * @typedef {object} World given by Python: the settings of a `Simulator`, and where its codes are in the schema
 * @property {Record<string, number>} effects
 * @property {number} scale
 * @property {number[]} intercepts
 * @property {{ age: number, statin: number }} second effects on the second cause
 * @property {number} decay_days
 * @property {number} fading_visits
 * @property {number[]} chronic
 * @property {number[]} acute
 * @property {Record<string, number>} code
 */

/**
 * What each effect reads at each visit, by its name.
 * @param {import("./survival_rnn.js").Patient} patient @param {World} world @returns {Record<string, number>[]}
 */
export function recall({ codes, day, static: [age] }, { chronic, acute, code, decay_days, fading_visits }) {
  const onRecord = new Set();
  let [earlierAcute, inOrder, fading, burden] = [0, false, 0, 0];
  return codes.map((today, k) => {
    const now = (/** @type {number} */ one) => today.includes(one);
    const before = (/** @type {number} */ one) => k > 0 && codes[k - 1].includes(one);
    const gap = k ? day[k] - day[k - 1] : 0;
    const decay = earlierAcute * Math.exp(-gap / decay_days);
    const acuteNow = acute.filter(now).length;
    // Known before this visit: the injury must come after, not beside.
    inOrder ||= now(code.kidney_injury) && (onRecord.has(code.diabetes) || onRecord.has(code.kidney_disease));
    const firstTold = now(code.lung_cancer) && !onRecord.has(code.lung_cancer);
    fading = firstTold ? 1 : fading * Math.exp(-1 / fading_visits);
    burden += today.filter((one) => !onRecord.has(one) && chronic.includes(one)).length;
    today.forEach((one) => onRecord.add(one));
    earlierAcute = decay + acuteNow;
    const furosemide = now(code.furosemide) || before(code.furosemide);
    return {
      age,
      now: acuteNow,
      burden,
      decay,
      order: Number(inOrder),
      treat: Number(furosemide && onRecord.has(code.heart_failure)),
      fading,
      trend: k,
      statin: Number(onRecord.has(code.statin)),
    };
  });
}

/**
 * The log-odds of each cause, against no event, in the interval after a visit.
 * @param {Record<string, number>} reads what the effects read there @param {World} world @returns {number[]}
 */
export function logitsOf(reads, { effects, scale, intercepts, second }) {
  let first = 0;
  for (const name in effects) first += effects[name] * reads[name];
  const other = second.age * reads.age + second.statin * reads.statin;
  return intercepts.map((intercept, cause) => intercept + [scale * first, other][cause]);
}

/**
 * The same after each visit.
 * @param {import("./survival_rnn.js").Patient} patient @param {World} world
 */
export const trueLogits = (patient, world) => recall(patient, world).map((reads) => logitsOf(reads, world));

/**
 * The simulator's hazard of each cause in the interval after each visit.
 * @param {import("./survival_rnn.js").Patient} patient @param {World} world
 */
export const trueHazard = (patient, world) => trueLogits(patient, world).map(causeHazard);
