// Reads a safetensors file, and trusts nothing in it: eight bytes with the length of the header, the header in JSON, and
// then the numbers of one tensor after the other. Whoever reads an error gets what was found and what was expected.

/** @typedef {{ shape: number[], values: Float64Array }} Weight a tensor, its numbers row by row */

/** @type {Record<string, typeof Float32Array | typeof Float64Array>} */
const KINDS = { F32: Float32Array, F64: Float64Array };

/** @param {boolean} fine @param {string} problem */
export function expect(fine, problem) {
  if (!fine) throw new Error(problem);
}

/** Whether it is an object as JSON writes it, in braces. @param {any} value */
export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** What was found in a file, short enough to be said. @param {any} value */
export function brief(value) {
  const flat = (/** @type {string} */ key, /** @type {any} */ part) => (key && typeof part === "object" ? "..." : part);
  const words = typeof value === "string" ? value : `${JSON.stringify(value, flat)}`;
  return words.length > 60 ? `${words.slice(0, 57)}...` : words;
}

const isCount = (/** @type {any} */ value) => Number.isSafeInteger(value) && value >= 0;

const areCounts = (/** @type {any} */ list) => Array.isArray(list) && list.every(isCount);

/** @param {ArrayBuffer} buffer @param {number} size */
function headerOf(buffer, size) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(buffer, 8, size));
    const header = JSON.parse(text);
    if (isObject(header)) return header;
  } catch {}
  throw new Error("the file's header is not an object in JSON; expected a safetensors file");
}

/** A tensor as the header has it, if it can be what it claims. @param {string} name @param {any} claim */
function checked(name, claim) {
  const { dtype, shape, data_offsets } = isObject(claim) ? claim : {};
  expect(Object.hasOwn(KINDS, dtype), `the tensor ${brief(name)} holds ${brief(dtype)}; expected F32 or F64`);
  expect(areCounts(shape), `the tensor ${brief(name)} has the shape ${brief(shape)}; expected whole numbers`);
  const two = areCounts(data_offsets) && data_offsets.length === 2;
  expect(two, `the tensor ${brief(name)} lies at ${brief(data_offsets)}; expected its first byte and its end`);
  const [begin, end] = data_offsets;
  const bytes = shape.reduce(
    (/** @type {number} */ all, /** @type {number} */ n) => all * n,
    KINDS[dtype].BYTES_PER_ELEMENT,
  );
  const found = `the tensor ${brief(name)} has ${end - begin} bytes`;
  expect(end - begin === bytes, `${found}; expected ${bytes} for ${dtype} of the shape ${brief(shape)}`);
  return { name, shape, begin, end, kind: KINDS[dtype] };
}

/**
 * The tensors in a file, as float64, and what the file says of itself.
 * @param {ArrayBuffer} buffer the whole file
 * @returns {{ tensors: Record<string, Weight>, metadata: Record<string, string> }}
 */
export function readSafetensors(buffer) {
  const bytes = buffer.byteLength;
  expect(bytes >= 8, `the file has ${bytes} bytes; expected a safetensors file, which has 8 before its header`);
  const claimed = new DataView(buffer).getBigUint64(0, true);
  const left = bytes - 8;
  const found = "this is no safetensors file, or one cut short: it";
  expect(claimed <= left, `${found} has ${left} bytes for a header of ${claimed}; expected what save_model writes`);
  const size = Number(claimed);
  const { __metadata__: metadata = {}, ...claims } = headerOf(buffer, size);
  const areTexts = isObject(metadata) && Object.values(metadata).every((value) => typeof value === "string");
  expect(areTexts, "the header's __metadata__ holds something other than text; expected a safetensors file");

  const tensors = Object.entries(claims).map(([name, claim]) => checked(name, claim));
  // Each byte belongs to one tensor, and none lies outside. Only then is memory taken for their numbers.
  tensors.sort((one, other) => one.begin - other.begin || one.end - other.end);
  let next = 0;
  for (const { name, begin, end } of tensors) {
    expect(
      begin === next,
      `the tensor ${brief(name)} begins at byte ${begin}; expected ${next}, where the last one ends`,
    );
    next = end;
  }
  expect(next === left - size, `the file has ${left - size} bytes of numbers; expected ${next} for its tensors`);

  const numbers = (/** @type {ReturnType<typeof checked>} */ { begin, end, kind }) =>
    Float64Array.from(new kind(buffer.slice(8 + size + begin, 8 + size + end)));
  const read = tensors.map((tensor) => [tensor.name, { shape: tensor.shape, values: numbers(tensor) }]);
  return { tensors: Object.fromEntries(read), metadata };
}
