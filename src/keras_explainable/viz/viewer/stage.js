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

  /** With `fades`, the opacity is in the colours: where there are hundreds of maps, that is faster than a style. */
  constructor(tables, fades = false) {
    Object.assign(this, { tables, fades });
  }

  /** The colours for a map: a map that goes below zero has its own. */
  of(map, { colors, opacity }) {
    const name = map.signed ? SIGNED : colors, share = this.fades ? opacity / 100 : 1, key = `${name} ${share}`;
    if (!this.#ramps.has(key)) this.#ramps.set(key, ramp(this.tables[name], map.signed, share));
    return this.#ramps.get(key);
  }
}

/** An image with a map over it. `draw(settings)` paints what has changed. */
export class Stage {
  #painted = [];
  #marked = [];

  constructor(palette, label) {
    Object.assign(this, { palette, object: null }); // of an object that is known: its outline as a path, and the path's size
    this.photo = make("img", { className: "kx-photo", alt: "", draggable: false });
    this.canvas = make("canvas", { className: "kx-map" });
    this.marks = mark("svg", { class: "kx-marks", preserveAspectRatio: "none", "aria-hidden": "true" });
    this.peak = make("span", { className: "kx-peak", hidden: true, ariaHidden: "true" });
    this.element = make("div", { className: "kx-stage" }, this.photo, this.canvas, this.marks, this.peak);
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
    this.peak.hidden = true;
    this.#painted = this.#marked = [];
    this.element.classList.toggle("kx-empty", !map);
    this.legend.classList.toggle("kx-empty", !map);
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", map ? this.label : `${this.label}: no map yet`);
  }

  draw(settings) {
    const { outline, peak, object } = settings;
    if (changed(this.#marked, this.#marked = [outline, peak, object, this.map, this.object])) this.#mark(settings);
    if (!this.map) return;
    const limits = this.map.limits(settings.percentile), colors = this.palette.of(this.map, settings);
    if (!changed(this.#painted, this.#painted = [...limits, colors, this.map])) return;
    paint(this.canvas, this.map, limits, colors);
    paintKey(this.key, colors);
    const ends = this.map.signed ? [limits[0], 0, limits[1]] : [limits[0], null, limits[1]];
    this.ends.forEach((end, i) => { end.textContent = ends[i] === null ? "" : shortly(ends[i]); });
  }

  #mark({ peak, outline, object }) {
    const { width, height } = this.map ?? this.object ?? { width: 1, height: 1 }, at = this.map?.peak;
    this.marks.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const kept = [], edge = (d, more) => ["kx-edge", "kx-line"].map((kind) => mark("path", { class: kind, d, ...more }));
    if (object && this.object) {
      kept.push(...edge(this.object.path, { transform: `scale(${width / this.object.width} ${height / this.object.height})` }));
    }
    if (outline && this.map) kept.push(...edge(this.map.outline));
    this.marks.replaceChildren(...kept);
    this.peak.hidden = !(peak && at);
    this.peak.classList.toggle("kx-beside", Boolean(this.map?.beside));
    if (at) Object.assign(this.peak.style, { top: `${(100 * (at[0] + 0.5)) / height}%`, left: `${(100 * (at[1] + 0.5)) / width}%` });
  }
}

const changed = (before, now) => before.length !== now.length || now.some((one, i) => one !== before[i]);
