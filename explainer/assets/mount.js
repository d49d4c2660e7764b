// Looks for what can be moved, a block with `data-live="widgets/name"`, and loads it when it comes near the screen.

const ends = new Map();

const near = new IntersectionObserver(
  (seen) =>
    seen.forEach(async ({ isIntersecting, target }) => {
      if (!isIntersecting) return;
      near.unobserve(target);
      const { mount } = await import("./host.js");
      ends.set(target, await mount(target));
    }),
  { rootMargin: "400px" },
);

// The theme puts the next page in place of the last one without loading anything anew.
const look = () => {
  document.querySelectorAll('link[rel="late"]:not([as])').forEach((link) => (link.rel = "modulepreload"));
  document.querySelectorAll("[data-live]:not([data-seen])").forEach((block) => {
    block.dataset.seen = "";
    near.observe(block);
  });
  ends.forEach((end, block) => {
    if (block.isConnected) return;
    end();
    ends.delete(block);
  });
};

new MutationObserver(look).observe(document.documentElement, { childList: true, subtree: true });
look();
