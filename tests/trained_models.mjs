// Put beside the modules that run trained models, this has the shape of a figure: the comparison of figures asks it.

import { amongSimulated, matching, ownOut } from "./own_model.js";
import { fromBase64, modelFrom, run } from "./survival_rnn.js";
import { trueHazard } from "./teaching.js";

const models = new Map();
const modelOf = (name, { files }) => {
  if (!models.has(name)) models.set(name, modelFrom(fromBase64(files[name])));
  return models.get(name);
};

/** What an earlier result was told is kept, and whether all is then as if the record had been read from its start. */
function again({ model: name, edits }, given) {
  const model = modelOf(name, given);
  let before = run(model, edits[0].patient);
  return edits.slice(1).map(({ patient, first }) => {
    const words = JSON.stringify(before);
    const now = run(model, patient, before, first);
    const same = JSON.stringify(now) === JSON.stringify(run(model, patient)) && JSON.stringify(before) === words;
    const kept = now.states.filter((state) => before.states.includes(state)).length;
    before = now;
    return { same, kept };
  });
}

/** Why a file is refused: in the words expected, if they are among those said; and how many numbers were taken in. */
function refused({ file, says }, { files }) {
  const { from } = Float64Array;
  let numbers = 0;
  Float64Array.from = (list) => {
    numbers += list.length;
    return from.call(Float64Array, list);
  };
  try {
    modelFrom(fromBase64(files[file]));
    return "read";
  } catch (error) {
    const { message } = error;
    const clean = error.constructor === Error && message.length < 250 && {}.polluted === undefined;
    return { says: clean && message.includes(says) ? says : `${error}`, took_numbers: numbers > 0 };
  } finally {
    Float64Array.from = from;
  }
}

/** What the figure of one model shows of a record, edit after edit. */
const figures = new Map();
function own({ model, state }, given) {
  if (!figures.has(model)) figures.set(model, { model: modelOf(model, given) });
  return ownOut(state, figures.get(model));
}

/** What a model says of a simulated patient, whose codes are those of the simulator; or why it cannot. */
function among({ model, patient, age, female }, given) {
  const mine = amongSimulated(modelOf(model, given), given.codes);
  if (typeof mine === "string") return { why: mine };
  return { hazard: run(mine, { ...patient, static: mine.reads({ age, female }) }).hazard };
}

const asks = {
  run({ model, patient }, given) {
    const { logits, hazard } = run(modelOf(model, given), patient);
    return { logits, hazard };
  },
  truth: ({ world, patient }, { worlds }) => ({ hazard: trueHazard(patient, worlds[world]) }),
  own,
  among,
  matching: ({ names, sought }) =>
    matching(
      names.map((name) => name.toLowerCase()),
      sought,
    ),
  again: (state, given) => ({ edits: again(state, given) }),
  refused: (state, given) => ({ refused: refused(state, given) }),
};

export const figure = { out: (state, given) => asks[state.ask](state, given) };
