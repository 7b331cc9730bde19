// The list of methods by family, with search, and the choice of layers.

import { make } from "/viewer/stage.js";
import { remember, state } from "./state.js";

const one = (selector) => document.querySelector(selector);
const PAPERS = [[/^arXiv:(\S+)$/, (id) => `https://arxiv.org/abs/${id}`], [/^(?:doi:)?(10\.\S+)$/, (id) => `https://doi.org/${id}`]];

function paper(reference) {
  for (const [form, address] of PAPERS) {
    const found = form.exec(reference);
    if (found) return make("a", { href: address(found[1]), target: "_blank", rel: "noreferrer noopener", textContent: reference });
  }
  return make("span", { textContent: reference });
}

export class Methods {
  #rows = new Map();

  /** `changed()` is called after each tick, and after another layer. */
  constructor(model, changed) {
    Object.assign(this, { model, changed, layers: [] });
    const families = Map.groupBy ? Map.groupBy(model.methods, (m) => m.family) : grouped(model.methods);
    for (const [family, methods] of families) {
      const list = make("details", { open: true }, make("summary", { textContent: family.replace(/ family$/, "") }), ...methods.map((m) => this.#row(m)));
      one("#methods").append(list);
    }
    one("#search").oninput = () => this.#find(one("#search").value);
    one("#search").onkeydown = (event) => { if (event.key === "Enter") this.#first()?.click(); };
    one("#layer").onchange = ({ target }) => { state.layer = target.value; this.#changed(); };
    one("#compare").onchange = ({ target }) => { state.compare = Number(target.value); this.#changed(); };
    one("#most").onchange = ({ target }) => {
      state.most = Math.min(1000, Math.max(1, Math.round(Number(target.value)) || 200));
      target.value = state.most;
      this.#changed();
    };
    one("#most").value = state.most;
    one("#compare").value = state.compare;
    state.methods = state.methods.filter((name) => this.#rows.has(name));
  }

  get(name) {
    return this.model.methods.find((method) => method.name === name);
  }

  /** The layers of a method's cards: one, or several that are compared. "" is the library's choice. */
  layersOf(method) {
    if (!method.layer) return [""];
    if (!state.compare || !this.layers.length) return [state.layer];
    const paths = this.layers.map((layer) => layer.path), number = Math.min(state.compare, paths.length);
    return [...new Set(Array.from({ length: number }, (_, i) => paths[Math.round((i * (paths.length - 1)) / Math.max(1, number - 1))]))];
  }

  /** Show the layers, in the order in which they run. */
  measured(layers) {
    this.layers = layers;
    const options = layers.map(({ path, shape }) => make("option", { value: path, textContent: `${path}   ${shape.join(" x ")}` }));
    one("#layer").append(...options);
    if (state.layer && !layers.some(({ path }) => path === state.layer)) state.layer = "";
    one("#layer").value = state.layer;
  }

  /** Disable methods that cannot explain this model, with the reason. */
  unmet(reasons) {
    for (const [name, why] of Object.entries(reasons)) {
      const row = this.#rows.get(name);
      if (!row || row.input.disabled) continue;
      row.input.disabled = true;
      row.element.classList.add("off");
      row.why.textContent = why;
      row.why.title = why;
      row.why.hidden = false;
      row.more.prepend(make("p", { textContent: why }));
      row.input.setAttribute("aria-describedby", row.why.id);
    }
  }

  /** Tick exactly those that are shown. */
  tick() {
    for (const [name, { input }] of this.#rows) input.checked = state.methods.includes(name);
  }

  #row(method) {
    const input = make("input", { type: "checkbox", checked: state.methods.includes(method.name) });
    input.onchange = () => {
      state.methods = state.methods.filter((name) => name !== method.name);
      if (input.checked) state.methods.push(method.name);
      this.#changed();
    };
    const more = make("div", { className: "more", hidden: true },
      make("p", { textContent: method.summary }),
      make("p", { className: "soft", textContent: `Needs: ${method.needs}. Cost: ${method.cost}.` }),
      ...(method.caveat ? [make("p", { className: "caveat", textContent: method.caveat })] : []),
      make("p", {}, "Described by ", make("code", { textContent: `help(ke.${method.name})` }), " and ", paper(method.reference), "."));
    const about = make("button", { type: "button", className: "about", textContent: "i", ariaLabel: `About ${method.name}`, ariaExpanded: "false" });
    about.onclick = () => { more.hidden = !more.hidden; about.ariaExpanded = String(!more.hidden); };
    const cost = method.cost.length < 20 ? method.cost : "";
    const why = make("p", { className: "why", hidden: true, id: `why-${method.name}` });
    const label = make("label", { title: method.summary }, input, make("span", { className: "name", textContent: method.name }),
      ...(method.caveat ? [make("span", { className: "flag", textContent: "!", title: method.caveat })] : []),
      make("span", { className: "cost", textContent: cost }));
    const element = make("div", { className: "method" }, label, about, why, more);
    this.#rows.set(method.name, { element, input, why, more, method });
    return element;
  }

  #find(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    for (const { element, method } of this.#rows.values()) {
      const all = `${method.name} ${method.name.replaceAll("_", " ")} ${method.family} ${method.summary}`.toLowerCase();
      element.hidden = !words.every((word) => all.includes(word));
    }
    for (const list of one("#methods").children) list.hidden = ![...list.querySelectorAll(".method")].some((row) => !row.hidden);
  }

  #first() {
    return [...this.#rows.values()].find(({ element, input }) => !element.hidden && !input.disabled)?.input;
  }

  #changed() {
    remember();
    this.changed();
  }
}

function grouped(methods) {
  const found = new Map();
  for (const method of methods) found.set(method.family, [...(found.get(method.family) ?? []), method]);
  return found;
}
