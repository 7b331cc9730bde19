// Maps in a notebook's cell or in any page: `start` replaces the still pictures of an element by the viewer.

import { Controls } from "./controls.js";
import { Enlarged } from "./enlarged.js";
import { Palette, Stage, make } from "./stage.js";
import { HeatMap } from "./values.js";

/** The values of a map, which are kept as 16-bit steps between its ends. */
function decoded({ values, low, high, height, width }) {
  const bytes = Uint8Array.from(atob(values), (c) => c.charCodeAt(0)), steps = new Uint16Array(bytes.buffer);
  return new HeatMap(Float32Array.from(steps, (step) => low + (step * (high - low)) / 65535), height, width);
}

/** Show the pictures that are described in the element's JSON: {photos, pictures: [{photo, label, ...}], colors}. */
export function start(root) {
  const { photos, pictures, colors } = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
  const host = document.body;
  if (host.dataset.jpThemeLight === "false" || host.classList.contains("vscode-dark")) root.dataset.theme = "dark";
  else if (host.dataset.jpThemeLight === "true" || host.classList.contains("vscode-light")) root.dataset.theme = "light";
  const palette = new Palette(colors);
  const shown = pictures.map((picture) => {
    const stage = new Stage(palette, picture.label);
    stage.over(photos[picture.photo]);
    stage.show(decoded(picture));
    stage.element.style.aspectRatio = `${picture.width} / ${picture.height}`;
    return [picture.label, stage];
  });
  const controls = new Controls(root, Object.keys(colors).filter((name) => name !== "bwr"), (settings) => {
    for (const [, stage] of shown) stage.draw(settings);
    enlarged.draw(settings);
  });
  const enlarged = new Enlarged(palette, controls, () => shown);
  const grid = make("div", { className: "kx-grid" }, ...shown.map(([label, stage]) => {
    const card = make("div", { className: "kx-card", tabIndex: 0 }, make("p", { textContent: label }), stage.element, stage.legend);
    card.setAttribute("role", "group");
    card.setAttribute("aria-label", `${label}: Enter enlarges`);
    stage.element.onclick = () => enlarged.open(stage);
    card.onkeydown = (event) => {
      if (event.key === "Enter") enlarged.open(stage);
      else if (!controls.key(event)) return;
      event.preventDefault();
      event.stopPropagation(); // a notebook has keys of its own
    };
    card.onkeyup = (event) => controls.keyUp(event);
    return card;
  }));
  root.querySelector(".kx-static").replaceWith(controls.element, grid, enlarged.element);
  controls.changed(controls.settings);
}
