// The lines of Python that make the maps of the page.

import { state } from "./state.js";

const text = (value) => JSON.stringify(value); // of plain texts, this is Python as well

function image(model) {
  const { sample, file } = state.image, [height, width] = model.size;
  if (sample !== null) {
    return [`photo = ke.demo.load_scenes(${model.samples.length}, seed=${model.seed})[0][${sample}]`,
      "image = ke.viz.framing.resized(photo, loaded.size)"];
  }
  return [`photo = ke.viz.image_files.read_image(${text(file ?? "photo.jpg")})  # the model sees ${width} x ${height} pixels of it`,
    `image = ke.viz.framing.resized(ke.viz.framing.framed(photo, loaded.size, ${text(model.fit)}), loaded.size)`];
}

/** The lines for some cards, each {method, layer}. */
export function code(model, cards) {
  const lines = ["import keras_explainable as ke", "", `loaded = ${model.load}`, ...image(model), "x = loaded.preprocess(image[None])", ""];
  for (const { method, layer } of cards) {
    const given = state.against === null ? [String(state.unit)] : [`score=ke.scores.margin(${state.unit}, ${state.against})`];
    if (layer) given.push(`layer=${text(layer)}`);
    for (const [name, usual] of Object.entries(method.fewer)) if (usual === null || usual > state.most) given.push(`${name}=${state.most}`);
    lines.push(`scores, maps = ke.${method.name}(loaded.model, x, ${given.join(", ")})`);
  }
  lines.push("ke.utils.visualize(image[None], overlays=maps)  # the last one");
  return lines.join("\n") + "\n";
}
