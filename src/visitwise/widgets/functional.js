// The arithmetic that figures share, with the names of functional.py. Hazards and logits are arrays of float64.

/** @param {number[]} numbers */
export const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** log(1 + exp(z)) without overflow. @param {number} z */
export const softplus = (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));

/** @param {number} z */
export const sigmoid = (z) => (z >= 0 ? 1 / (1 + Math.exp(-z)) : Math.exp(z) / (1 + Math.exp(z)));

/** Softmax over the causes and "nothing", whose logit is 0. With one cause, the sigmoid. @param {number[]} logits */
export function causeHazard(logits) {
  const top = Math.max(0, ...logits); // so that no exponential overflows
  const odds = logits.map((z) => Math.exp(z - top));
  const all = Math.exp(-top) + sum(odds);
  return odds.map((one) => one / all);
}

/** The cost of an interval survived. @param {number} hazard */
export const survivedNll = (hazard) => -Math.log1p(-hazard);

/** The cost of the event. @param {number} hazard */
export const eventNll = (hazard) => -Math.log(hazard);

/** Probability of no event through the end of each interval. @param {number[]} hazard */
export function survival(hazard) {
  let left = 1;
  return hazard.map((h) => (left *= 1 - h));
}

/** Probability that the event falls in each interval, seen from the first visit. @param {number[]} hazard */
export function eventProbability(hazard) {
  const left = survival(hazard);
  return hazard.map((h, k) => h * (k ? left[k - 1] : 1));
}

/**
 * What a patient adds to the loss: rows before the last were survived, the last one ended as `observed` says.
 * @param {number[]} hazard @param {number} stop number of rows @param {boolean} observed
 */
export function hazardNll(hazard, stop, observed) {
  const last = hazard[stop - 1];
  return sum(hazard.slice(0, stop - 1).map(survivedNll)) + (observed ? eventNll(last) : survivedNll(last));
}
