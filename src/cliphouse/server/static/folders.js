// Folders: the path of one as links that show what is in it, and the filter that is set.

import { $, el } from "./dom.js";
import { follow } from "./tile.js";

export const FOLDER = "folder.under"; // the filter's name in the state and in the address
const BOX = ["latitude.min", "latitude.max", "longitude.min", "longitude.max"];

// The path as a list of links, from the outermost folder. `act` has folder(path), which shows it, and
// folderHref(path).
export function crumbs(path, act) {
  const parts = path.split("/").filter(Boolean);
  return el("ol", { class: "crumbs" }, parts.map((name, i) => {
    const to = parts.slice(0, i + 1).join("/");
    return el("li", {}, el("a", { href: act.folderHref(to), onclick: follow(() => act.folder(to)) }, name));
  }));
}

export const boxFilter = ({ south, west, north, east }) => ({
  "latitude.min": south, "latitude.max": north, "longitude.min": west, "longitude.max": east,
});

// Say above the pictures in which folder, and in which part of the map, they are.
export function showWithin(filters, act) {
  const path = filters[FOLDER];
  const isBox = BOX.some((name) => filters[name] !== undefined);
  $("within").hidden = !path && !isBox;
  const leave = (names, label) => el("button", { type: "button", class: "leave", "aria-label": label, title: label, onclick: () => act.leave(names) }, "×");
  $("within").replaceChildren(
    ...(path ? [el("span", { class: "where" }, el("span", { class: "quiet" }, "In folder "), crumbs(path, act), leave([FOLDER], "Leave this folder"))] : []),
    ...(isBox ? [el("span", { class: "where" }, el("span", { class: "quiet" }, "In a part of the map "), leave(BOX, "Show the whole map"))] : []));
}
