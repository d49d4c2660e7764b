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

new MutationObserver(mendTheme).observe(document.documentElement, { childList: true, subtree: true });
mendTheme();

let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((fold) => fold.setAttribute("open", ""));
});
addEventListener("afterprint", () => opened.forEach((fold) => fold.removeAttribute("open")));
