// What is known of a map's values: their ends, the peak, the highest pixels. No page is needed here.

export const BRIGHTEST = 99; // the percentile that gets the full colour at first
const OUTLINED = 90; // the percentile above which pixels are outlined

/** A map: float values row by row, and what is computed from them once. */
export class HeatMap {
  #sorted = null;
  #peak = undefined;
  #outline = null;

  /** What is `known` besides: the peak (null: none), whether values are rounded, whether the peak lies beside the object. */
  constructor(values, height, width, { peak, about = false, beside = false } = {}) {
    Object.assign(this, { values, height, width, about, beside });
    this.#peak = peak;
    this.low = Infinity;
    this.high = -Infinity;
    for (const v of values) {
      if (v < this.low) this.low = v;
      if (v > this.high) this.high = v;
    }
  }

  /** What the ends of the colour scale depend on: this map, or all that share its scale. */
  scale = this;

  get signed() {
    return this.scale.low < 0;
  }

  /** The values, or their sizes if they are signed, in ascending order. */
  get sorted() {
    this.#sorted ??= (this.signed ? this.values.map(Math.abs) : Float32Array.from(this.values)).sort();
    return this.#sorted;
  }

  /** A percentile of the sorted values, between two of them in proportion. */
  percentile(percent) {
    const at = (percent / 100) * (this.sorted.length - 1), below = Math.floor(at);
    const low = this.sorted[below], high = this.sorted[Math.min(below + 1, this.sorted.length - 1)];
    return low + (high - low) * (at - below);
  }

  /** The ends of the colour scale: symmetric about zero if the map is signed. */
  limits(percent) {
    const low = this.signed ? 0 : this.scale.low, top = this.scale.percentile(percent);
    const high = top > low ? top : this.scale.sorted.at(-1);
    return this.signed ? [-high, high] : [low, high];
  }

  /** Row and column of the maximum; of several equal ones, the one nearest to their mean position. */
  get peak() {
    if (this.#peak !== undefined) return this.#peak;
    const highest = [];
    this.values.forEach((v, i) => v === this.high && highest.push([Math.floor(i / this.width), i % this.width]));
    const mean = [0, 1].map((axis) => highest.reduce((sum, place) => sum + place[axis], 0) / highest.length);
    const far = (place) => (place[0] - mean[0]) ** 2 + (place[1] - mean[1]) ** 2;
    this.#peak = highest.reduce((best, place) => (far(place) < far(best) ? place : best), highest[0] ?? [0, 0]);
    return this.#peak;
  }

  /** The border of the highest tenth of the pixels, as an SVG path in pixels. */
  get outline() {
    if (this.#outline !== null) return this.#outline;
    const least = this.percentile(OUTLINED), { values, height, width, signed } = this;
    const inside = (r, c) => {
      const v = r < 0 || c < 0 || r >= height || c >= width ? NaN : values[r * width + c];
      return (signed ? Math.abs(v) : v) > least;
    };
    const strokes = [];
    for (let r = 0; r <= height; r++) for (let c = 0; c < width; c++) if (inside(r - 1, c) !== inside(r, c)) strokes.push(`M${c} ${r}h1`);
    for (let c = 0; c <= width; c++) for (let r = 0; r < height; r++) if (inside(r, c - 1) !== inside(r, c)) strokes.push(`M${c} ${r}v1`);
    this.#outline = strokes.join("");
    return this.#outline;
  }

  /** The value at a place, given as fractions of the height and the width. */
  at(down, across) {
    const row = Math.min(this.height - 1, Math.max(0, Math.floor(down * this.height)));
    const column = Math.min(this.width - 1, Math.max(0, Math.floor(across * this.width)));
    return { row, column, value: this.values[row * this.width + column] };
  }
}

/** Let maps share one colour scale, so that their strengths can be compared. */
export function together(maps) {
  const all = new Float32Array(maps.reduce((sum, { values }) => sum + values.length, 0));
  let at = 0;
  for (const { values } of maps) {
    all.set(values, at);
    at += values.length;
  }
  const scale = new HeatMap(all, 1, all.length);
  for (const map of maps) map.scale = scale;
}

/** A number in few characters. */
export function shortly(value) {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  return size !== 0 && (size < 0.001 || size >= 100000) ? value.toExponential(2) : String(Number(value.toPrecision(3)));
}
