// The search modes that the service offers, and the label of a mode with its width.

import { $, el } from "./dom.js";

let offered = [];

export function offerModes(modes) {
  offered = modes;
  $("mode").replaceChildren(...modes.map(({ name, label }) => el("option", { value: name }, `${name}: ${label}`)));
}

export const isMode = (name) => offered.some((mode) => mode.name === name);

export function describe(mode, width) {
  const mark = offered.find(({ name }) => name === mode)?.mark;
  return mark && width !== null ? `${mode}${mark}${width}` : mode;
}
