// What a stylesheet cannot do: start the theme's script, name the tool bar that it adds to each block of code, let the
// keyboard scroll the wide tables that it wraps, and open folded text on paper.
// Everything on a page can be read without it.

// The theme's script keeps the screen busy for as long as all the rest, and a page is read without it. It comes along
// once the page stands, and starts with the first sign of a hand.
const SIGNS = ["pointermove", "pointerdown", "touchstart", "wheel", "scroll", "keydown", "focusin"];
const later = document.querySelector('link[rel="late"][as="script"]'); // put there by explainer/_build/weight.py
const query = document.querySelector(".md-search__input");

const startTheme = () => {
  SIGNS.forEach((sign) => removeEventListener(sign, startTheme));
  const script = document.createElement("script");
  script.src = later.href;
  script.onload = () => {
    removeEventListener("keydown", answerKey);
    const typed = document.activeElement === query && query.value;
    if (typed) query.value = ""; // the theme cannot answer before it has its index
    document.dispatchEvent(new Event("DOMContentLoaded")); // what it waits for was long ago
    if (document.activeElement === query) askAgain(typed);
  };
  document.body.append(script);
};

/** Opens the theme's search once more, now that it listens, and types what was typed before as soon as it can answer. */
const askAgain = (typed) => {
  query.blur();
  query.focus();
  const said = document.querySelector(".md-search-result__meta");
  const before = said.textContent; // that it is getting ready
  const waiting = setInterval(() => {
    if (said.textContent === before) return;
    clearInterval(waiting);
    query.value = typed + query.value;
    query.dispatchEvent(new Event("keyup", { bubbles: true }));
  }, 50);
};

/** The theme's keys, until it listens to them itself. */
const answerKey = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, [data-live]"))
    return;
  if ("/fs".includes(event.key)) {
    event.preventDefault();
    query.focus();
  }
  const beside = { p: "prev", ",": "prev", n: "next", ".": "next" }[event.key];
  const link = beside && document.querySelector(`link[rel="${beside}"]`);
  if (link) location.assign(link.href);
};

/** The list of pages as the theme leaves it: no higher than what is seen of the page, with this page's name in sight. */
const fitLists = () => {
  const seen = document.querySelector(".md-main__inner").getBoundingClientRect();
  document.querySelectorAll(".md-sidebar__scrollwrap").forEach((list) => {
    const box = list.getBoundingClientRect();
    if (getComputedStyle(list).position === "static" && seen.bottom < innerHeight)
      list.style.height = `${seen.bottom - box.top - (box.top - seen.top)}px`;
    const here = [...list.querySelectorAll(".md-nav__link--active[href]")].find((link) => link.clientHeight);
    if (here) list.scrollTo({ top: here.offsetTop - list.offsetTop - list.clientHeight / 2 });
  });
};

if (later) {
  later.rel = "prefetch";
  SIGNS.forEach((sign) => addEventListener(sign, startTheme, { passive: true }));
  addEventListener("keydown", answerKey);
  // Opened in the middle, or from a hit, where the words that were sought are marked.
  if (scrollY || /[?&]h=/.test(location.search)) startTheme();
  else requestAnimationFrame(() => requestAnimationFrame(fitLists));
}

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
