// The image and the class: choose, drop, paste; scenes; the top classes; any other unit; a unit to contrast with.

import { make } from "/viewer/stage.js";
import { ask, follow, post } from "./api.js";
import { remember, state } from "./state.js";

const MOST = 24, MOST_BYTES = 20 * 2 ** 20;
const one = (selector) => document.querySelector(selector);

export class Picker {
  #images = [];
  #round = 0;

  /** `changed()` is called when another map is asked for, `said(text)` for what a screen reader should hear. */
  constructor(model, changed) {
    Object.assign(this, { model, changed, top: [], units: 0 });
    for (const [i, name] of model.samples.entries()) {
      const label = `Scene ${i + 1}: ${name}`;
      const button = make("button", { type: "button", title: label, ariaLabel: label, onclick: () => this.scene(i) });
      button.append(make("img", { src: `/api/thumbnails/${i}`, alt: "", width: 44, height: 44 }));
      one("#samples").append(button);
    }
    for (const name of model.names ?? []) one("#units").append(make("option", { value: name }));
    one("#drop").onclick = () => one("#file").click();
    one("#file").onchange = ({ target }) => { this.take([...target.files]); target.value = ""; };
    document.ondragover = (event) => { event.preventDefault(); one("#drop").classList.add("over"); };
    document.ondragleave = (event) => { if (!event.relatedTarget) one("#drop").classList.remove("over"); };
    document.ondrop = (event) => { event.preventDefault(); one("#drop").classList.remove("over"); this.take([...event.dataTransfer.files]); };
    document.onpaste = (event) => { if (event.clipboardData.files.length) this.take([...event.clipboardData.files]); };
    one("#other").onsubmit = (event) => { event.preventDefault(); this.typed(one("#unit").value); };
    one("#unit").onchange = () => this.typed(one("#unit").value);
  }

  name(unit) {
    return this.model.names?.[unit] ?? `unit ${unit}`;
  }

  /** What is explained, in words. */
  get explained() {
    return state.against === null ? this.name(state.unit) : `${this.name(state.unit)} rather than ${this.name(state.against)}`;
  }

  scene(i) {
    return this.#load(ask("POST", `/api/samples/${i}`), { sample: i, file: null });
  }

  /** Take image files, and show the first. Those that cannot be taken are said beside the drop zone. */
  async take(files) {
    const problems = [];
    this.#say("");
    if (files.length > MOST) problems.push(`${files.length} files came, and the first ${MOST} are taken.`);
    let first = true;
    for (const file of files.slice(0, MOST)) {
      if (file.size > MOST_BYTES) {
        problems.push(`${file.name} has ${Math.round(file.size / 2 ** 20)} MB, and 20 MB at most were expected.`);
        continue;
      }
      try {
        await this.#load(ask("POST", "/api/images", file, "application/octet-stream"), { sample: null, file: file.name }, first, true);
        first = false;
      } catch (error) {
        problems.push(`${file.name}: ${error.message}`);
      }
    }
    this.#say(problems.join(" "));
  }

  /** Show the image of a link, if it is still here. */
  async known(name) {
    try {
      await ask("GET", `/api/images/${name}`);
    } catch {
      return this.#say("The image of this link is no longer here: give it again.");
    }
    return this.#load(Promise.resolve({ image: name, note: "" }), { sample: null, file: null });
  }

  async #load(answer, origin, shown = true, passOn = false) {
    const round = shown ? ++this.#round : this.#round;
    try {
      const { image, note } = await answer;
      const found = { name: image, note, ...origin };
      if (origin.sample === null) this.#strip(found);
      if (shown && round === this.#round) await this.#show(found, round);
    } catch (error) {
      if (passOn) throw error;
      this.#say(error.message);
    }
  }

  async #show(image, round) {
    const known = state.unit !== null && state.image === null; // from the address
    const found = await follow(await post("/api/top", { image: image.name }));
    if (round !== this.#round) return;
    if (!known || state.unit >= found.units) Object.assign(state, { unit: found.top[0].unit, against: null });
    state.image = image;
    Object.assign(this, { top: found.top, units: found.units });
    const photo = one("#photo");
    photo.src = `/api/images/${image.name}`;
    photo.alt = "The image as the model sees it";
    photo.hidden = false;
    one("#drop").classList.add("full");
    one("#fit").textContent = image.note;
    one("#fit").hidden = !image.note;
    this.#say("");
    this.#mark();
    this.choose(state.unit, state.against);
  }

  #strip(image) {
    if (this.#images.some((other) => other.name === image.name)) return;
    const label = image.file ?? "The image of the link";
    const button = make("button", { type: "button", title: label, ariaLabel: label, onclick: () => this.#show(image, ++this.#round) });
    button.append(make("img", { src: `/api/images/${image.name}`, alt: "", width: 44, height: 44 }));
    this.#images.push({ ...image, button });
    one("#images").append(button);
    while (this.#images.length > MOST) this.#images.shift().button.remove();
  }

  #mark() {
    for (const { name, button } of this.#images) button.setAttribute("aria-pressed", name === state.image.name);
    [...one("#samples").children].forEach((button, i) => button.setAttribute("aria-pressed", i === state.image.sample));
  }

  /** Explain a unit, perhaps against another one. */
  choose(unit, against = null) {
    Object.assign(state, { unit, against: against === unit ? null : against });
    this.#list();
    one("#unit-problem").textContent = "";
    one("#against").hidden = state.against === null;
    one("#against").textContent = state.against === null ? "" : `Why ${this.name(unit)} rather than ${this.name(state.against)}?`;
    remember();
    this.changed();
  }

  typed(value) {
    const given = value.trim();
    if (!given) return;
    const names = this.model.names ?? [], low = given.toLowerCase();
    const unit = /^\d+$/.test(given) ? Number(given) : names.findIndex((name) => name.toLowerCase() === low);
    if (!this.units) one("#unit-problem").textContent = "Choose an image first.";
    else if (unit < 0) one("#unit-problem").textContent = `No unit is named ${given}.`;
    else if (unit >= this.units) one("#unit-problem").textContent = `The model has units 0 to ${this.units - 1}.`;
    else this.choose(unit, state.against);
  }

  #list() {
    const focused = document.activeElement?.closest?.("#classes") ? document.activeElement.dataset.key : null;
    const rows = this.top.some((row) => row.unit === state.unit) ? this.top : [...this.top, { unit: state.unit, name: this.name(state.unit), score: null }];
    const scores = this.top.map((row) => row.score ?? 0), low = Math.min(0, ...scores), high = Math.max(...scores, low + 1e-9);
    one("#classes").replaceChildren(...rows.map((row) => {
      const input = make("input", { type: "radio", name: "class", value: row.unit, checked: row.unit === state.unit, onchange: () => this.choose(row.unit, state.against) });
      input.dataset.key = `class ${row.unit}`;
      const shown = row.score === null ? "" : Math.abs(row.score) >= 100 ? row.score.toFixed(0) : row.score.toFixed(2);
      const bar = make("span", { className: "bar" }), fill = make("span");
      fill.style.width = `${row.score === null ? 0 : (100 * (row.score - low)) / (high - low)}%`;
      bar.append(fill);
      const against = make("button", { type: "button", textContent: "vs", ariaPressed: String(row.unit === state.against),
        disabled: row.unit === state.unit, title: `Contrast with ${row.name}`, ariaLabel: `Contrast with ${row.name}`,
        onclick: () => this.choose(state.unit, row.unit === state.against ? null : row.unit) });
      against.dataset.key = `against ${row.unit}`;
      return make("div", { className: "class" }, make("label", {}, input, make("span", { textContent: row.name }), make("span", { className: "score", textContent: shown }), bar), against);
    }));
    if (focused) document.querySelector(`#classes [data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  #say(text) {
    one("#problem").textContent = text;
  }
}
