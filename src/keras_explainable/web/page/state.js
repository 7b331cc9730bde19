// What the page shows, and the part of its address after the # that restores it.

import { SETTINGS } from "/viewer/controls.js";

const START = ["gradcam", "full_gradients"];
const NUMBERS = { opacity: "o", percentile: "p" }, SWITCHES = { grey: "g", peak: "k", outline: "e" };

export const state = {
  image: null, // {name, note, sample, file}
  unit: null,
  against: null,
  layer: "",
  compare: 0,
  most: 200,
  methods: [...START],
  settings: { ...SETTINGS },
};

const whole = (text, most) => (/^\d{1,9}$/.test(text ?? "") && Number(text) <= most ? Number(text) : null);

/** Read the address. Return what must be asked for: {sample} or {image}, and the class. */
export function restore(hash) {
  const given = new URLSearchParams(hash.slice(1));
  if (given.has("m")) state.methods = given.get("m").split(",").filter((name) => /^\w+$/.test(name));
  state.unit = whole(given.get("u"), 1e9);
  state.against = whole(given.get("v"), 1e9);
  state.layer = given.get("l") ?? "";
  state.compare = [3, 4, 5, 6].find((n) => n === whole(given.get("w"), 6)) ?? 0;
  state.most = whole(given.get("n"), 1000) || 200;
  for (const [name, key] of Object.entries(NUMBERS)) {
    const value = Number(given.get(key));
    if (given.has(key) && value >= 0 && value <= 100) state.settings[name] = value;
  }
  for (const [name, key] of Object.entries(SWITCHES)) if (given.has(key)) state.settings[name] = given.get(key) === "1";
  state.settings.colors = given.get("c") ?? SETTINGS.colors;
  const image = given.get("i");
  return { sample: whole(given.get("s"), 1000), image: /^[0-9a-f]{32}$/.test(image ?? "") ? image : null };
}

/** Write the address, so that a copy of it shows the same. */
export function remember() {
  const { image, settings } = state, kept = new URLSearchParams();
  if (image) image.sample === null ? kept.set("i", image.name) : kept.set("s", image.sample);
  if (state.unit !== null) kept.set("u", state.unit);
  if (state.against !== null) kept.set("v", state.against);
  if (state.layer) kept.set("l", state.layer);
  if (state.compare) kept.set("w", state.compare);
  if (state.most !== 200) kept.set("n", state.most);
  kept.set("m", state.methods.join(","));
  kept.set("c", settings.colors);
  for (const [name, key] of Object.entries(NUMBERS)) kept.set(key, settings[name]);
  for (const [name, key] of Object.entries(SWITCHES)) if (settings[name] !== SETTINGS[name]) kept.set(key, Number(settings[name]));
  history.replaceState(null, "", `#${kept}`);
}
