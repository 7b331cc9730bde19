// How maps are drawn: opacity, colours, percentile, grey photo, peak, outline; and the keys for them.
// Where objects are known, their outlines: the settings have `object`.

import { make } from "./stage.js";
import { BRIGHTEST } from "./values.js";

export const SETTINGS = { opacity: 75, colors: "turbo", percentile: BRIGHTEST, grey: true, peak: false, outline: false };
const RANGES = { opacity: ["Map", 0, 100, 5], percentile: ["Brightest", 90, 100, 0.5] };
const SWITCHES = { grey: "Grey photo", peak: "Peak", outline: "Outline", object: "Object" };
const TITLES = {
  percentile: "The percentile of the values that gets the full colour",
  outline: "The border of the highest tenth of the pixels",
  object: "The true outline of the object",
};

/** The controls of all maps inside of `root`. `changed(settings)` is called after each change; with `fades`, it draws the opacity. */
export class Controls {
  #inputs = {};

  constructor(root, names, changed, settings = {}, fades = false) {
    Object.assign(this, { root, changed, fades, settings: { ...SETTINGS, ...settings } });
    const ranges = Object.entries(RANGES).map(([name, [text, min, max, step]]) => {
      const shown = make("output");
      const input = this.#inputs[name] = make("input", { type: "range", min, max, step });
      input.oninput = () => this.set(name, Number(input.value));
      input.shown = shown;
      return make("label", { title: TITLES[name] ?? "" }, text, input, shown);
    });
    const choice = this.#inputs.colors = make("select", { ariaLabel: "Colours" }, ...names.map((name) => make("option", { textContent: name })));
    choice.onchange = () => this.set("colors", choice.value);
    const switches = Object.entries(SWITCHES).filter(([name]) => name in this.settings).map(([name, text]) => {
      const input = this.#inputs[name] = make("input", { type: "checkbox" });
      input.onchange = () => this.set(name, input.checked);
      return make("label", { title: TITLES[name] ?? "" }, input, text);
    });
    this.element = make("div", { className: "kx-controls" }, ranges[0], choice, ranges[1], ...switches);
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", "How maps are drawn");
    if (!names.includes(this.settings.colors)) this.settings.colors = names[0];
    this.#show();
  }

  set(name, value) {
    this.settings[name] = value;
    this.#show();
    this.changed(this.settings);
  }

  #show() {
    for (const [name, input] of Object.entries(this.#inputs)) {
      if (input.type === "checkbox") input.checked = this.settings[name];
      else input.value = this.settings[name];
      if (input.shown) input.shown.textContent = `${this.settings[name]} %`;
    }
    if (!this.fades) this.root.style.setProperty("--kx-opacity", this.settings.opacity / 100);
    this.root.classList.toggle("kx-grey", this.settings.grey);
  }

  /** What a key does here: [ and ] fade, space shows the photo alone. True if it was one of these. */
  key(event) {
    if (event.key === "[" || event.key === "]") {
      const step = event.key === "]" ? 5 : -5;
      this.set("opacity", Math.min(100, Math.max(0, this.settings.opacity + step)));
      return true;
    }
    if (event.key === " ") {
      this.root.classList.add("kx-bare");
      return true;
    }
    return false;
  }

  keyUp(event) {
    if (event.key === " ") this.root.classList.remove("kx-bare");
  }
}
