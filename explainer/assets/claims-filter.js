// The claims page's filter: shows the claims of one chapter, or those with certain verdicts. Without it all are shown.

const VERDICTS = ["TRUE", "DEPENDS", "FALSE"];

const STYLE = `
  :host { display: block; margin: 1.2em 0; padding: .8em 1em; border: 1px solid var(--vw-line, #7a7f8866);
    border-radius: 4px; background: var(--vw-panel, #f6f7f9); color: var(--vw-ink, #1b1f24); }
  fieldset { border: 0; margin: 0; padding: 0; min-width: 0; }
  legend { padding: 0; font-weight: 600; }
  label { display: inline-flex; flex-wrap: wrap; gap: .4em; align-items: center; min-height: 32px;
    margin-right: 1.2em; max-width: 100%; }
  select { font: inherit; color: inherit; background: var(--vw-page, #fff); border: 1px solid currentColor;
    border-radius: 4px; min-height: 32px; min-width: 0; max-width: 100%; }
  input { accent-color: var(--vw-survival, #1166cc); }
  input:focus-visible, select:focus-visible { outline: 3px solid var(--vw-survival, #1166cc); outline-offset: 2px; }
  p { margin: .6em 0 0; }
  @media print { :host { display: none; } }
`;

export default {
  render({ el }) {
    const claims = [...document.querySelectorAll("section.vw-claim")];
    const chapters = new Map(claims.map(({ dataset }) => [dataset.chapter, dataset.title]));
    const root = el.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    root.innerHTML = `<fieldset><legend>Show the claims that are</legend>${VERDICTS.map(
      (verdict) => `<label><input type="checkbox" value="${verdict}" checked>${verdict}</label>`,
    ).join("")}</fieldset>
          <label>and belong to <select><option value="">any chapter</option></select></label>
          <p role="status"></p>`;
    const select = root.querySelector("select");
    [...chapters].sort().forEach(([page, title]) => select.add(new Option(title, page)));
    const show = () => {
      const verdicts = [...root.querySelectorAll("input:checked")].map((box) => box.value);
      const chapter = root.querySelector("select").value;
      const wanted = ({ dataset }) => verdicts.includes(dataset.verdict) && (!chapter || dataset.chapter === chapter);
      claims.forEach((claim) => (claim.hidden = !wanted(claim)));
      const shown = claims.filter(wanted).length;
      root.querySelector("p").textContent = `${shown} of ${claims.length} claims are shown.`;
    };
    root.addEventListener("change", show);
    show();
  },
};
