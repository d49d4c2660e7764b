// Plays, on a page, the part that Jupyter plays for a figure: a model that holds its state. The state is kept in the
// address too, and the lines of equation and code beside a figure light together with it.

/** Puts into `given` what a figure does without as it begins, once a reader takes hold of it or the figure asks for it. */
function completed(given, block, signal) {
  const { later, absent } = block.dataset;
  if (!later) return;
  const address = new URL(later, import.meta.url);
  const places = JSON.parse(absent).map((path) => [
    path.slice(0, -1).reduce((part, key) => part[key], given),
    path.at(-1),
  ]);
  const fill = (found) => {
    if (!block.dataset.later) return;
    places.forEach(([part, key], place) => Object.defineProperty(part, key, { value: found[place], enumerable: true }));
    block.dataset.given = JSON.stringify(given);
    delete block.dataset.later;
    delete block.dataset.absent;
  };
  const wait = () => {
    const asking = new XMLHttpRequest();
    asking.open("GET", address, false); // a figure computes at once; this is for a hand that was quicker than the network
    asking.send();
    fill(JSON.parse(asking.responseText));
  };
  for (const [part, key] of places)
    Object.defineProperty(part, key, { configurable: true, enumerable: true, get: () => (wait(), part[key]) });
  let texts;
  const load = async () => fill(await (texts ??= fetch(address).then((answer) => answer.json())));
  for (const event of ["pointerenter", "pointerdown", "focusin"])
    block.addEventListener(event, load, { once: true, signal });
}

function modelOf(block, figure, signal) {
  const given = JSON.parse(block.dataset.given ?? "{}");
  completed(given, block, signal);
  const asked = figure.decode && new URLSearchParams(location.search).get(figure.figure.name);
  const values = { given, ...JSON.parse(block.dataset.start ?? "{}"), ...(asked && figure.decode(asked)) };
  const heard = {};
  let later = 0;
  return {
    get: (key) => values[key],
    set(key, value) {
      values[key] = value;
      (heard[`change:${key}`] ?? []).forEach((tell) => tell());
    },
    on: (event, tell) => (heard[event] ??= []).push(tell),
    off: (event, tell) => (heard[event] = heard[event]?.filter((other) => other !== tell)),
    save_changes() {
      clearTimeout(later);
      later = setTimeout(() => {
        if (!block.isConnected || !figure.encode) return;
        const own = `${figure.figure.name}=`;
        const address = new URL(location);
        const words = figure.encode(values);
        const others = address.search.slice(1).split("&");
        const parts = others.filter((part) => part && !part.startsWith(own)); // letter by letter as they were
        address.search = [...parts, ...(words ? [own + words] : [])].join("&");
        if (address.href !== location.href) history.replaceState(history.state, "", address);
      }, 300);
    },
  };
}

/** Loads the block's figure and draws it; gives what ends it. */
export async function mount(block) {
  const { default: figure } = await import(`./${block.dataset.live}.js`);
  if (!block.isConnected) return () => {};
  const ended = new AbortController();
  const { signal } = ended;
  const model = modelOf(block, figure, signal);
  const terms = [...document.querySelectorAll("[data-lights]")];
  const termOf = (node) => node.dataset.lights;
  for (const node of terms) {
    for (const event of ["pointerenter", "focusin"])
      node.addEventListener(event, () => model.set("light", termOf(node)), { signal });
    for (const event of ["pointerleave", "focusout"])
      node.addEventListener(event, () => model.set("light", ""), { signal });
  }
  model.on("change:light", () =>
    terms.forEach((node) => node.classList.toggle("lit", termOf(node) === model.get("light"))),
  );
  const el = document.createElement("div");
  block.prepend(el);
  const end = figure.render({ model, el });
  block.dataset.mounted = "";
  return () => {
    ended.abort();
    end?.();
  };
}
