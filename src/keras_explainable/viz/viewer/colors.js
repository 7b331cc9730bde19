// Colours of values. A table has, for red, green and blue, [positions, levels] between which levels are linear.

const FAINTEST = 0.1; // the opacity of the smallest value: the image shows through
const STEPS = 256;
const PLAIN = { willReadFrequently: true }; // many small canvases are drawn faster without a layer of their own
export const SIGNED = "bwr"; // the table for maps that go below zero

/** The level at a position. */
export const between = (at, positions, levels) => {
  let k = 1;
  while (k < positions.length - 1 && positions[k] < at) k++;
  const share = (at - positions[k - 1]) / (positions[k] - positions[k - 1]);
  return levels[k - 1] + (levels[k] - levels[k - 1]) * Math.min(1, Math.max(0, share));
};

/** The colours and opacities of a table at 256 steps, four bytes each. */
export function ramp(table, signed, opacity = 1) {
  const colors = new Uint8ClampedArray(4 * STEPS);
  for (let i = 0; i < STEPS; i++) {
    const at = i / (STEPS - 1);
    table.forEach(([positions, levels], channel) => { colors[4 * i + channel] = 255 * between(at, positions, levels); });
    colors[4 * i + 3] = 255 * opacity * (FAINTEST + (1 - FAINTEST) * (signed ? Math.abs(2 * at - 1) : at));
  }
  return colors;
}

/** Paint a map on a canvas of its size. What is not a number stays empty. */
export function paint(canvas, map, [low, high], colors) {
  if (canvas.width !== map.width || canvas.height !== map.height) Object.assign(canvas, { width: map.width, height: map.height });
  const picture = new ImageData(map.width, map.height), scale = high > low ? (STEPS - 1) / (high - low) : 0;
  const words = new Uint32Array(picture.data.buffer), palette = new Uint32Array(colors.buffer);
  for (let i = 0; i < words.length; i++) {
    const step = (map.values[i] - low) * scale;
    if (step === step) words[i] = palette[step <= 0 ? 0 : step >= STEPS - 1 ? STEPS - 1 : (step + 0.5) | 0];
  }
  canvas.getContext("2d", PLAIN).putImageData(picture, 0, 0);
}

/** Paint the key of a colour scale on a canvas, without the opacity. */
export function paintKey(canvas, colors) {
  Object.assign(canvas, { width: STEPS, height: 1 });
  const picture = new ImageData(STEPS, 1);
  for (let i = 0; i < STEPS; i++) {
    for (let channel = 0; channel < 3; channel++) picture.data[4 * i + channel] = colors[4 * i + channel];
    picture.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d", PLAIN).putImageData(picture, 0, 0);
}
