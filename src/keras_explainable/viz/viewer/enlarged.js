// One map as large as the window: the value under the pointer, the next map by the arrows.

import { Stage, make } from "./stage.js";
import { shortly } from "./values.js";

/**
 * A dialog that shows stages one at a time. `all()` returns those that can be shown, as [title, stage].
 *
 * Where they stand in rows, `wide()` is the length of a row: up and down lead to the rows beside. `about(stage)` returns
 * what is said below a map, `shown(stage)` is told which one is shown, and `closed(stage)` which one was the last.
 */
export class Enlarged {
  #place = null;

  constructor(palette, controls, all, { wide = () => 1, about = () => [], shown = () => {}, closed = () => {} } = {}) {
    Object.assign(this, { controls, all, wide, about, shown });
    this.last = null;
    this.stage = new Stage(palette, "The enlarged map");
    this.title = make("h2");
    this.value = make("output", { className: "kx-value" });
    this.point = make("span", { className: "kx-point", ariaHidden: "true" });
    this.stage.element.append(this.point);
    const button = (text, label, onclick) => make("button", { type: "button", textContent: text, ariaLabel: label, onclick });
    this.bare = button("Photo", "The photo alone", () => this.#bare(this.bare.ariaPressed !== "true"));
    this.notes = make("div", { className: "kx-about" });
    this.element = make(
      "dialog", { className: "kx-large" },
      make("div", { className: "kx-head" }, this.title, this.value, this.bare,
        button("‹", "Previous map", () => this.step(-1)), button("›", "Next map", () => this.step(1)),
        button("Close", "Close the enlarged map", () => this.element.close())),
      this.stage.element, this.stage.legend, this.notes,
    );
    this.element.setAttribute("aria-label", "Enlarged map");
    this.stage.element.tabIndex = 0;
    this.stage.element.setAttribute("role", "group");
    this.stage.element.setAttribute("aria-label", "The map. Shift and the arrows read its values.");
    const point = (event) => {
      const box = this.stage.element.getBoundingClientRect();
      this.#read((event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width);
    };
    this.stage.element.onpointermove = this.stage.element.onpointerdown = point;
    this.element.onkeydown = (event) => this.#key(event);
    this.element.onkeyup = (event) => this.controls.keyUp(event);
    this.element.onclose = () => { this.#bare(false); closed(this.last); };
    this.element.onclick = (event) => { if (event.target === this.element) this.element.close(); };
  }

  open(stage) {
    this.#show(stage);
    if (!this.element.open) this.element.showModal();
    this.stage.element.focus();
  }

  step(by) {
    const all = this.all().map(([, stage]) => stage), number = all.length, at = Math.max(0, all.indexOf(this.last));
    if (number) this.#show(all[(at + by + number) % number]);
  }

  #bare(on) {
    this.bare.ariaPressed = String(on);
    this.stage.element.classList.toggle("kx-bare", on);
  }

  draw(settings) {
    if (this.element.open) this.stage.draw(settings);
  }

  #show(stage) {
    if (!stage.map) return;
    const title = this.all().find(([, other]) => other === stage)?.[0] ?? stage.label;
    this.title.textContent = title;
    this.stage.label = title;
    this.stage.over(stage.photo.src);
    this.stage.object = stage.object;
    this.stage.show(stage.map);
    const shape = stage.shape ?? stage.map.width / stage.map.height;
    this.stage.element.style.aspectRatio = shape;
    this.element.style.setProperty("--kx-shape", shape);
    this.notes.replaceChildren(...this.about(stage));
    this.last = stage;
    this.shown(stage);
    this.stage.draw(this.controls.settings);
    const [row, column] = stage.map.peak ?? [0, 0];
    this.#read((row + 0.5) / stage.map.height, (column + 0.5) / stage.map.width);
  }

  #read(down, across) {
    const { map } = this.stage, found = map.at(down, across);
    this.#place = found;
    this.point.style.top = `${(100 * (found.row + 0.5)) / map.height}%`;
    this.point.style.left = `${(100 * (found.column + 0.5)) / map.width}%`;
    this.value.textContent = `row ${found.row}, column ${found.column}: ${map.about ? "about " : ""}${shortly(found.value)}`;
  }

  #key(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const move = moves[event.key];
    if (move && event.shiftKey) {
      const { map } = this.stage;
      this.#read((this.#place.row + move[0] + 0.5) / map.height, (this.#place.column + move[1] + 0.5) / map.width);
    } else if (move) this.step(move[0] * this.wide() + move[1]);
    else if (event.target.matches("button") || !this.controls.key(event)) return;
    event.preventDefault();
    event.stopPropagation();
  }
}
