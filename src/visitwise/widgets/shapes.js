// Shapes that meet line up from the right, as in PyTorch.

/** With ones in front. @param {number[]} shape @param {number} axes */
export const padded = (shape, axes) => [...Array(axes - shape.length).fill(1), ...shape];

/** Sizes that meet are equal, or a 1 is stretched; null where they clash. @param {number[]} a @param {number[]} b @returns {any[]} */
export function broadcastShapes(a, b) {
  const axes = Math.max(a.length, b.length);
  const other = padded(b, axes);
  return padded(a, axes).map((size, k) => (size === other[k] || other[k] === 1 ? size : size === 1 ? other[k] : null));
}

/** Where a tensor is read for a place of the result. @param {number[]} shape @param {number[]} place */
export const readAt = (shape, place) =>
  shape.map((size, k) => (size === 1 ? 0 : place[k + place.length - shape.length]));

/** All places of a tensor. @param {number[]} shape @returns {number[][]} */
export const places = ([size, ...rest]) =>
  size ? [...Array(size).keys()].flatMap((k) => places(rest).map((place) => [k, ...place])) : [[]];
