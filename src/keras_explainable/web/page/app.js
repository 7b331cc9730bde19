// The page: what it consists of, and the keys.

import { Controls } from "/viewer/controls.js";
import { Enlarged } from "/viewer/enlarged.js";
import { Palette } from "/viewer/stage.js";
import { ask } from "./api.js";
import { Cards } from "./cards.js";
import { exporting } from "./exports.js";
import { Methods } from "./methods.js";
import { Picker } from "./picker.js";
import { remember, restore, state } from "./state.js";

const one = (selector) => document.querySelector(selector), root = document.documentElement;
const said = (text) => { one("#said").textContent = text; clearTimeout(said.timer); said.timer = setTimeout(() => said(""), 6000); };

// As a link, it would be asked for again whenever the address changes.
fetch("/icon.svg").then((answer) => answer.blob()).then((icon) => { one("#icon").href = URL.createObjectURL(icon); });

const wanted = restore(location.hash);
const model = await ask("GET", "/api/model");
one("#model").textContent = `${model.name} on ${model.backend}, ${model.size[1]} x ${model.size[0]} pixels`
  + (model.guessed ? `; pixels are scaled by ${model.guessed}, a guess (--scale)` : "");

const methods = new Methods(model, () => cards.update());
const cards = new Cards(one("#grid"), new Palette(model.colors), methods, () => picker.explained);
let drawing = 0, remembering = 0;
const controls = new Controls(root, Object.keys(model.colors).filter((name) => name !== "bwr"), (settings) => {
  state.settings = settings;
  drawing ||= requestAnimationFrame(() => { drawing = 0; cards.draw(); });
  clearTimeout(remembering);
  remembering = setTimeout(remember, 200); // a browser takes only so many changes of the address
}, state.settings);
state.settings = controls.settings;
const enlarged = new Enlarged(cards.palette, controls, () => cards.ready.map(({ stage }) => [stage.label, stage]));
cards.enlarged = enlarged;
one("#drawing").append(controls.element);
document.body.append(enlarged.element);
const picker = new Picker(model, () => {
  one("#empty").hidden = true;
  document.body.classList.add("begun");
  cards.update();
});
exporting(model, cards, () => picker.explained, said);

const themes = () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  one("#theme").textContent = dark ? "Light" : "Dark";
  return dark;
};
one("#theme").onclick = () => { root.dataset.theme = themes() ? "light" : "dark"; themes(); };
matchMedia("(prefers-color-scheme: dark)").onchange = themes;
themes();
one("#help").onclick = () => one("#keys").showModal();
one("#keys button").onclick = () => one("#keys").close();
const sheet = (open) => { document.body.classList.toggle("sheet", open); one(open ? "#close-sheet" : "#open-sheet").focus(); };
one("#open-sheet").onclick = () => sheet(true);
one("#close-sheet").onclick = () => sheet(false);

const typing = (element) => element.matches("input:not([type=checkbox], [type=radio], [type=range]), select, textarea");
document.onkeydown = (event) => {
  if (event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    if (document.body.classList.contains("sheet")) sheet(false);
    if (event.target.id === "search") event.target.blur();
    cards.halt();
    return;
  }
  if (typing(event.target)) return;
  if (/^[1-5]$/.test(event.key)) picker.top[event.key - 1] && picker.choose(picker.top[event.key - 1].unit, state.against);
  else if (event.key === "/") { document.body.classList.add("sheet"); one("#search").focus(); }
  else if (event.key === "?") one("#keys").showModal();
  else if (event.key === " " && event.target.matches("button, input, summary, a, .text")) return;
  else if (!(controls.key(event) || cards.key(event))) return;
  event.preventDefault();
};
document.onkeyup = (event) => controls.keyUp(event);
window.onblur = () => controls.keyUp({ key: " " });

// What is found out about the model meanwhile: asked for until all is known.
let status = null;
async function look() {
  status = await ask("GET", "/api/status");
  if (status.layers && !methods.layers.length) {
    methods.measured(status.layers);
    if (state.compare && state.image) cards.update();
  }
  methods.unmet(status.unmet);
  const names = [...new Set(status.preparing)].filter((name) => name !== "methods");
  one("#preparing").textContent = names.length ? `Being prepared, once: ${names.join(", ")}. First maps take longer.` : "";
}
async function watch() {
  while (status.preparing.length) {
    await new Promise((resolve) => setTimeout(resolve, 700));
    await look();
  }
}
await look();
if (state.layer || state.compare) while (!methods.layers.length && status.preparing.includes("layers")) { await new Promise((r) => setTimeout(r, 300)); await look(); }
watch().catch((error) => said(error.message));
if (wanted.sample !== null && wanted.sample < model.samples.length) picker.scene(wanted.sample);
else if (wanted.image) picker.known(wanted.image);
root.dataset.ready = "yes";
