// What can be taken along: a link, the lines of Python, a picture, a report, arrays.

import { make } from "/viewer/stage.js";
import { post, save } from "./api.js";
import { code } from "./code.js";
import { remember, state } from "./state.js";

const SIDE = 320, HEAD = 26;

/** A picture of all maps as they are drawn. */
function picture(cards) {
  const columns = Math.min(cards.length, Math.ceil(Math.sqrt(cards.length * 1.6)));
  const out = make("canvas", { width: SIDE * columns, height: (SIDE + HEAD) * Math.ceil(cards.length / columns) });
  const pen = out.getContext("2d"), { opacity, grey } = state.settings;
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, out.width, out.height);
  pen.font = "14px sans-serif";
  cards.forEach(({ stage, label }, i) => {
    const x = SIDE * (i % columns), y = (SIDE + HEAD) * Math.floor(i / columns);
    pen.fillStyle = "#000";
    pen.fillText(label, x + 4, y + 18, SIDE - 8);
    pen.filter = grey ? "grayscale(1)" : "none";
    pen.drawImage(stage.photo, x, y + HEAD, SIDE, SIDE);
    pen.filter = "none";
    pen.globalAlpha = opacity / 100;
    pen.drawImage(stage.canvas, x, y + HEAD, SIDE, SIDE);
    pen.globalAlpha = 1;
  });
  return new Promise((resolve) => out.toBlob(resolve, "image/png"));
}

/** Let the buttons work. `said(text)` shows what was done. */
export function exporting(model, cards, explained, said) {
  const button = (id, work) => {
    document.getElementById(id).onclick = async () => {
      try {
        const ready = cards.ready;
        if (!ready.length && id !== "copy-link") return said("There is no map yet.");
        await work(ready);
      } catch (error) {
        said(error.message);
      }
    };
  };
  const named = (ready) => ({ image: state.image.name, unit: explained(),
    cards: ready.map(({ found }) => ({ map: found.map, method: found.method, label: found.label, seconds: found.seconds })) });
  button("copy-link", async () => { remember(); await navigator.clipboard.writeText(location.href); said("The link is copied. It works on this machine, while the server runs."); });
  button("copy-code", async (ready) => { await navigator.clipboard.writeText(code(model, ready)); said("The lines of Python are copied."); });
  button("save-png", async (ready) => save("maps.png", await picture(ready)));
  button("save-report", async (ready) => save("report.html", await post("/api/report", named(ready))));
  button("save-arrays", async (ready) => save("maps.npz", await post("/api/arrays", named(ready))));
}
