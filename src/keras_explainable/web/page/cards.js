// A card for each method and layer: its map, what is computed, and how far that is.

import { Stage, make } from "/viewer/stage.js";
import { HeatMap } from "/viewer/values.js";
import { ask, follow, post, stop } from "./api.js";
import { remember, state } from "./state.js";

class Card {
  #wanted = "";

  constructor(cards, method, layer) {
    Object.assign(this, { cards, method, layer, job: null, found: null });
    this.label = layer ? `${method.name} @ ${layer}` : method.name;
    this.stage = new Stage(cards.palette, this.label);
    this.state = make("span", { className: "state", role: "status" });
    this.bar = make("progress", { ariaLabel: `Progress of ${this.label}` });
    this.stop = make("button", { type: "button", textContent: "Stop", ariaLabel: `Stop ${this.label}`, onclick: () => this.halt() });
    this.text = make("p", { className: "text" });
    this.text.tabIndex = 0;
    this.element = make("article", { tabIndex: 0 },
      make("h3", {}, make("span", { textContent: method.name, title: method.summary }), ...(layer ? [make("small", { textContent: layer })] : [])),
      make("div", { className: "over" }, this.stage.element, this.text),
      this.stage.legend,
      make("div", { className: "foot" }, this.state, this.bar, this.stop));
    this.element.setAttribute("aria-label", this.label);
    this.element.dataset.method = method.name;
    this.element.dataset.layer = layer;
    this.stage.element.onclick = () => this.found && cards.enlarged.open(this.stage);
    this.#idle("");
  }

  /** Compute the map that the page asks for, unless it is there. */
  async want() {
    const asked = { image: state.image.name, method: this.method.name, unit: state.unit, against: state.against,
      layer: this.layer || null, most: state.most };
    const wanted = JSON.stringify(asked);
    if (wanted === this.#wanted && (this.job || this.found)) return;
    this.halt();
    this.#wanted = wanted;
    this.found = null;
    this.job = "asked";
    this.stage.over(`/api/images/${asked.image}`);
    this.stage.show(null);
    this.#say("");
    this.#busy({ state: "waiting", place: 0 });
    try {
      const answer = await post("/api/maps", asked);
      if (wanted !== this.#wanted) return void (answer.job && stop(answer.job));
      this.job = answer.job ?? "known";
      const done = await follow(answer, (event) => wanted === this.#wanted && this.#busy(event));
      const values = new Float32Array(await (await ask("GET", `/api/maps/${done.map}`)).arrayBuffer());
      if (wanted !== this.#wanted) return;
      this.found = { ...done, label: this.label, method: this.method.name };
      this.job = null;
      this.stage.label = `${this.label} of ${this.cards.explained()}`;
      this.stage.show(new HeatMap(values, done.height, done.width));
      this.stage.draw(state.settings);
      this.#idle(done.seconds === undefined ? "ready" : `${done.seconds.toFixed(done.seconds < 10 ? 2 : 1)} s`);
      const notes = done.notes ?? [];
      this.state.title = notes.join("\n");
      if (notes.length) this.state.append(make("span", { className: "flag", textContent: " note", title: notes.join("\n") }));
      this.element.dataset.notes = notes.join("\n");
    } catch (error) {
      if (wanted !== this.#wanted) return;
      this.job = null;
      this.#idle(error.stopped ? "stopped" : "failed");
      this.#say(error.stopped ? "" : error.message);
    }
  }

  /** Stop what is computed for this card. */
  halt() {
    if (this.job && this.job !== "asked" && this.job !== "known") stop(this.job);
    if (this.job) {
      this.#wanted = "";
      this.job = null;
      this.#idle("stopped");
    }
  }

  #busy(event) {
    const counted = event.state === "running" && event.of;
    this.state.textContent = counted ? `${event.done} / ${event.of}` : event.state === "running" ? "running"
      : event.place ? `waits for ${event.place}` : "waiting";
    counted ? (this.bar.value = event.done / event.of) : this.bar.removeAttribute("value");
    this.element.classList.add("busy");
    this.element.setAttribute("aria-busy", "true");
  }

  #idle(text) {
    this.state.textContent = text;
    this.state.title = "";
    this.element.classList.remove("busy");
    this.element.removeAttribute("aria-busy");
  }

  #say(text) {
    this.text.textContent = text;
    this.text.hidden = !text;
  }
}

export class Cards {
  #cards = new Map();

  constructor(grid, palette, methods, explained) {
    Object.assign(this, { grid, palette, methods, explained, enlarged: null });
  }

  /** The cards that are shown, in their order. */
  get all() {
    return [...this.grid.children].map((element) => this.#cards.get(element)).filter(Boolean);
  }

  get ready() {
    return this.all.filter((card) => card.found);
  }

  /** Show a card for each method that is ticked. Nothing is computed twice. */
  update() {
    const wanted = [];
    for (const name of state.methods) {
      const method = this.methods.get(name);
      for (const layer of this.methods.layersOf(method)) wanted.push([method, layer]);
    }
    const kept = wanted.map(([method, layer]) => this.all.find((c) => c.method === method && c.layer === layer) ?? new Card(this, method, layer));
    for (const card of this.all) {
      if (kept.includes(card)) continue;
      card.halt();
      card.element.remove();
      this.#cards.delete(card.element);
    }
    kept.forEach((card, i) => {
      this.#cards.set(card.element, card);
      if (this.grid.children[i] !== card.element) this.grid.insertBefore(card.element, this.grid.children[i] ?? null);
    });
    if (state.image) kept.forEach((card) => card.want());
  }

  draw() {
    this.all.forEach((card) => card.stage.draw(state.settings));
    this.enlarged.draw(state.settings);
  }

  halt() {
    this.all.forEach((card) => card.halt());
  }

  /** What a key does on a card: Enter enlarges, arrows move the focus, with Alt the card. True if it was one of these. */
  key(event) {
    const card = this.#cards.get(document.activeElement), steps = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    if (!card) return false;
    if (event.key === "Enter") {
      if (card.found) this.enlarged.open(card.stage);
      return true;
    }
    const step = steps[event.key];
    if (!step) return false;
    const all = this.all, other = all[all.indexOf(card) + step];
    if (other && event.altKey) {
      step < 0 ? other.element.before(card.element) : other.element.after(card.element);
      state.methods = [...new Set(this.all.map(({ method }) => method.name))];
      card.element.focus();
      remember();
    } else other?.element.focus();
    return true;
  }
}
