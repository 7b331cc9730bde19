// A map over its image: the photo, the map, the marks, and the key of the colours.

import { SIGNED, paint, paintKey, ramp } from "./colors.js";
import { shortly } from "./values.js";

const SVG = "http://www.w3.org/2000/svg";

/** An element with properties and children. Texts stay texts. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function mark(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** The colours of maps, made once for each table. */
export class Palette {
  #ramps = new Map();

  constructor(tables) {
    this.tables = tables;
  }

  /** The colours for a map: a map that goes below zero has its own. */
  of(map, chosen) {
    const name = map.signed ? SIGNED : chosen;
    if (!this.#ramps.has(name)) this.#ramps.set(name, ramp(this.tables[name], map.signed));
    return this.#ramps.get(name);
  }
}

/** An image with a map over it. `draw(settings)` paints it anew. */
export class Stage {
  constructor(palette, label) {
    this.palette = palette;
    this.photo = make("img", { className: "kx-photo", alt: "", draggable: false });
    this.canvas = make("canvas", { className: "kx-map" });
    this.marks = mark("svg", { class: "kx-marks", preserveAspectRatio: "none", "aria-hidden": "true" });
    this.element = make("div", { className: "kx-stage" }, this.photo, this.canvas, this.marks);
    this.key = make("canvas", { className: "kx-key" });
    this.ends = [make("span"), make("span"), make("span")];
    this.legend = make("div", { className: "kx-legend" }, this.key, make("div", { className: "kx-ends" }, ...this.ends));
    this.label = label;
    this.map = null;
    this.show(null);
  }

  /** Show another photo. */
  over(source) {
    if (this.photo.getAttribute("src") !== source) this.photo.src = source;
  }

  /** Show another map, or none. */
  show(map) {
    this.map = map;
    this.marks.replaceChildren();
    this.element.classList.toggle("kx-empty", !map);
    this.legend.classList.toggle("kx-empty", !map);
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", map ? this.label : `${this.label}: no map yet`);
  }

  draw(settings) {
    if (!this.map) return;
    const limits = this.map.limits(settings.percentile), colors = this.palette.of(this.map, settings.colors);
    paint(this.canvas, this.map, limits, colors);
    paintKey(this.key, colors);
    const ends = this.map.signed ? [limits[0], 0, limits[1]] : [limits[0], null, limits[1]];
    this.ends.forEach((end, i) => { end.textContent = ends[i] === null ? "" : shortly(ends[i]); });
    this.#mark(settings);
  }

  #mark({ peak, outline }) {
    const { width, height } = this.map, [row, column] = this.map.peak;
    this.marks.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const kept = [];
    if (outline) for (const kind of ["kx-edge", "kx-line"]) kept.push(mark("path", { class: kind, d: this.map.outline }));
    if (peak) for (const kind of ["kx-edge", "kx-line"]) {
      kept.push(mark("circle", { class: `${kind} kx-peak`, cx: column + 0.5, cy: row + 0.5, r: Math.max(width, height) / 40 }));
    }
    this.marks.replaceChildren(...kept);
  }
}
