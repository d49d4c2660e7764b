// The landing page's figure: one patient, three hazards, and what three conventions make of how it ended.
// The arithmetic is above the line; tests/test_landing.py compares it with the Python package. Below it is the view.

/** Cost of an interval survived. @param {number} hazard */
export const survivedCost = (hazard) => -Math.log1p(-hazard);

/** Cost of the event. @param {number} hazard */
export const eventCost = (hazard) => -Math.log(hazard);

const sum = (/** @type {number[]} */ numbers) => numbers.reduce((total, number) => total + number, 0);

/** What the likelihood says. @param {number[]} hazard @param {boolean} observed */
export function hazardNll(hazard, observed) {
  const last = hazard[hazard.length - 1];
  return sum(hazard.slice(0, -1).map(survivedCost)) + (observed ? eventCost(last) : survivedCost(last));
}

/** A censored patient's last row left out. @param {number[]} hazard @param {boolean} observed */
export function dropCensoredRow(hazard, observed) {
  return observed ? hazardNll(hazard, observed) : sum(hazard.slice(0, -1).map(survivedCost));
}

/** The event's row charged as survived, too. @param {number[]} hazard @param {boolean} observed */
export function countEventRowTwice(hazard, observed) {
  return hazardNll(hazard, observed) + (observed ? survivedCost(hazard[hazard.length - 1]) : 0);
}

// ---------------------------------------------------------------------------------------------------------- the view

const START = [0.1, 0.2, 0.3];
const ANSWERS = [
  { name: "the likelihood", formula: hazardNll },
  { name: "censored row left out", formula: dropCensoredRow },
  { name: "event row counted twice", formula: countEventRowTwice },
];

const STYLE = `
  :host { display: block; margin: 1.2em 0; padding: 1em; border: 1px solid var(--vw-line, #7a7f8866);
    border-radius: 4px; background: var(--vw-panel, #f6f7f9); color: var(--vw-ink, #1b1f24);
    font-variant-numeric: tabular-nums; }
  h2 { margin: 0 0 .6em; font-size: 1em; }
  fieldset { border: 0; margin: 0 0 .8em; padding: 0; min-width: 0; }
  legend { padding: 0; font-weight: 600; }
  .hazard { display: grid; grid-template-columns: 7.5em 1fr 3em; gap: .6em; align-items: center; }
  input[type=range] { width: 100%; min-width: 0; height: 44px; margin: 0; accent-color: var(--vw-hazard, #c2410c); }
  input[type=radio] { accent-color: var(--vw-hazard, #c2410c); }
  input:focus-visible, button:focus-visible { outline: 3px solid var(--vw-survival, #1166cc); outline-offset: 2px; }
  .ending { display: inline-flex; gap: .4em; align-items: center; min-height: 32px; margin-right: 1.2em; }
  .answer { margin: .5em 0; }
  .words { display: flex; justify-content: space-between; gap: 1em; }
  .bar { height: .55em; background: var(--vw-survival, #1166cc); min-width: 2px; }
  .wrong .bar { background: repeating-linear-gradient(45deg, var(--vw-wrong, #b3122e) 0 4px, transparent 4px 7px); }
  .wrong .words { color: var(--vw-wrong, #b3122e); }
  p { margin: .8em 0 0; min-height: 3.2em; }
  button { font: inherit; color: inherit; background: none; border: 1px solid currentColor; border-radius: 4px;
    padding: .2em .8em; min-height: 32px; cursor: pointer; }
  @media print { button, input { display: none; } }
`;

const hazardRow = (/** @type {number} */ value, /** @type {number} */ visit) => `
  <div class="hazard">
    <label for="h${visit}">after visit ${visit}</label>
    <input id="h${visit}" type="range" min="0.01" max="0.99" step="0.01" value="${value}" data-lm-suppress-shortcuts>
    <output for="h${visit}"></output>
  </div>`;

const answerRow = (/** @type {{name: string}} */ answer) => `
  <div class="answer"><div class="words"><span>${answer.name}</span><strong></strong></div><div class="bar"></div></div>`;

/** What the numbers on show mean. @param {number[]} values @param {boolean} observed */
export function sentence(values, observed) {
  const [right, dropped, twice] = values.map((value) => value.toFixed(3));
  return observed
    ? `The event costs ${right}. Counting its row twice makes it ${twice}: the patient is charged for surviving the very ` +
        "interval she did not survive."
    : `Surviving costs ${right}. Leaving the last row out makes it ${dropped}: that is the cost of somebody who was ` +
        "last seen an interval earlier.";
}

if (typeof HTMLElement !== "undefined" && !customElements.get("three-answers")) {
  customElements.define(
    "three-answers",
    class extends HTMLElement {
      connectedCallback() {
        if (this.shadowRoot) return;
        const root = this.attachShadow({ mode: "open" });
        root.innerHTML = `<style>${STYLE}</style>
          <h2>Move a hazard, or let the patient have the event</h2>
          <fieldset><legend>Hazards</legend>${START.map(hazardRow).join("")}</fieldset>
          <fieldset><legend>How it ended</legend>
            <label class="ending"><input type="radio" name="end" value="censored" checked>last seen well</label>
            <label class="ending"><input type="radio" name="end" value="event">event in the last interval</label>
          </fieldset>
          ${ANSWERS.map(answerRow).join("")}
          <p aria-live="polite"></p>
          <button type="button">Start again</button>`;
        const sliders = [...root.querySelectorAll("input[type=range]")];
        root.addEventListener("input", () => this.show());
        root.querySelector("button")?.addEventListener("click", () => {
          sliders.forEach((slider, visit) => (slider.value = String(START[visit])));
          root.querySelector("input[value=censored]").checked = true;
          this.show();
        });
        this.show();
      }

      show() {
        const root = this.shadowRoot;
        const sliders = [...root.querySelectorAll("input[type=range]")];
        const hazard = sliders.map((slider) => slider.valueAsNumber);
        const observed = root.querySelector("input[value=event]").checked;
        sliders.forEach((slider, visit) => {
          slider.nextElementSibling.textContent = hazard[visit].toFixed(2);
          slider.setAttribute("aria-valuetext", `hazard after visit ${visit}: ${Math.round(100 * hazard[visit])} percent`);
        });
        const values = ANSWERS.map(({ formula }) => formula(hazard, observed));
        root.querySelectorAll(".answer").forEach((row, place) => {
          const wrong = Math.abs(values[place] - values[0]) > 1e-12;
          row.classList.toggle("wrong", wrong);
          row.querySelector("strong").textContent = values[place].toFixed(3) + (wrong ? " ✗ wrong" : "");
          row.querySelector(".bar").style.width = `${(100 * values[place]) / Math.max(...values)}%`;
        });
        root.querySelector("p").textContent = sentence(values, observed);
        this.dataset.out = JSON.stringify(values);
      }
    },
  );
}
