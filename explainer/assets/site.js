// What a stylesheet cannot do: name the tool bar that the theme adds to each block of code, let the keyboard scroll the
// wide tables that it wraps, and open folded text on paper.
// Everything on a page can be read without it.

const mendTheme = () => {
  document.querySelectorAll("nav.md-code__nav:not([aria-label])").forEach((bar, index) => {
    bar.setAttribute("aria-label", `Tools for code block ${index + 1}`);
  });
  document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])").forEach((box) => {
    box.tabIndex = 0;
  });
};

// What can be moved takes the place of the table that says the same without a script.
const bringToLife = () => {
  document.querySelectorAll("[data-live]:not([data-mounted])").forEach((box) => {
    box.dataset.mounted = "";
    import(`./${box.dataset.live}.js`).then(() => box.replaceChildren(document.createElement(box.dataset.live)));
  });
};

const mend = () => {
  mendTheme();
  bringToLife();
};

new MutationObserver(mend).observe(document.documentElement, { childList: true, subtree: true });
mend();

let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((fold) => fold.setAttribute("open", ""));
});
addEventListener("afterprint", () => opened.forEach((fold) => fold.removeAttribute("open")));
