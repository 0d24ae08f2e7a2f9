// What is known of a picture: first in words, when and where it was taken, with what, and its file;
// then all columns as the table has them.

import { clock, el, grouped, webAddress } from "./dom.js";
import { crumbs } from "./folders.js";

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];
const HIDDEN = ["folded", "distance"];
let isOpen = null; // whether somebody has opened or closed the list of all columns

// `act` has folder(path), folderHref(path), and place(latitude, longitude) if there is a map.
export function about(row, act) {
  const facts = Object.entries(FACTS).flatMap(([name, fact]) => told(name, fact(row, act)));
  const all = el("details", { class: "all", open: isOpen ?? facts.length <= 4 },
    el("summary", { onclick: () => { isOpen = !all.open; } }, "All columns"),
    el("dl", { class: "known" }, columns(row)));
  return [facts.length > 0 && el("dl", { class: "facts-of" }, facts), all];
}

const FACTS = {
  Taken: ({ taken }) => taken && moment(String(taken)),
  Camera: ({ camera }) => camera && String(camera),
  Place: ({ latitude, longitude }, act) => isNumber(latitude) && isNumber(longitude) && [
    `${degrees(latitude, "N", "S")}, ${degrees(longitude, "E", "W")}`,
    act.place && el("button", { type: "button", class: "plain", onclick: () => act.place(latitude, longitude) }, "Pictures near it"),
  ],
  Title: ({ title, caption }) => title && title !== caption && String(title),
  Description: ({ description, caption }) => description && description !== caption && String(description),
  Keywords: ({ keywords }) => Array.isArray(keywords) && keywords.length > 0 && keywords.join(", "),
  Size: ({ width, height, file_bytes: bytes }) => [
    width > 0 && height > 0 && `${grouped(width)} × ${grouped(height)} pixels`,
    isNumber(bytes) && size(bytes),
  ].filter(Boolean).join(", "),
  Frame: ({ frame_time: seconds }) => clock(seconds),
  File: ({ file_name: name }) => name && String(name),
  Folder: ({ folder }, act) => folder && crumbs(String(folder), act),
};

const told = (name, value) => (value ? [el("dt", {}, name), el("dd", {}, value)] : []);

// Put how it was taken, the answer of /api/image/ID/exposure, behind the camera.
export function addExposure(box, exposure) {
  const camera = [...box.querySelectorAll(".facts-of dt")].find((term) => term.textContent === "Camera");
  camera?.nextSibling.after(...told("Lens", exposure.lens), ...told("Exposure", exposed(exposure)));
}

const exposed = ({ seconds, aperture, iso, focal_length: length }) => [
  seconds && (seconds < 0.3 ? `1/${Math.round(1 / seconds)} s` : `${Number(seconds.toPrecision(2))} s`),
  aperture && `f/${aperture}`, iso && `ISO ${iso}`, length && `${length} mm`,
].filter(Boolean).join(", ");
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const degrees = (value, plus, minus) => `${Math.abs(value).toFixed(4)}° ${value < 0 ? minus : plus}`;

// "2019-03-12 14:03:22" as a sentence has it; the camera's clock has no time zone.
function moment(text) {
  const found = /^(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d:\d\d(?::\d\d)?))?/.exec(text);
  if (!found) return text;
  const [, year, month, day, time] = found;
  const date = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day)));
  const words = date.toLocaleString("en-GB", { weekday: "long", day: "numeric", month: "long", year: "numeric", timeZone: "UTC" });
  return time ? `${words}, ${time}` : words;
}

function size(bytes) {
  const unit = bytes < 1000 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3));
  return `${Number((bytes / 1000 ** unit).toPrecision(3))} ${UNITS[unit]}`;
}

function written(value) {
  if (value === null || value === "") return "—";
  if (typeof value === "object") return JSON.stringify(value);
  return Number.isInteger(value) || typeof value !== "number" ? String(value) : String(Number(value.toPrecision(6)));
}

// A term and a value for each column. The url is a link if it is a web address.
function columns(row) {
  return Object.entries(row).filter(([name]) => !HIDDEN.includes(name)).flatMap(([name, value]) => {
    const text = written(value);
    const address = name === "url" && webAddress(text);
    const shown = address ? el("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, text) : text;
    return [el("dt", {}, name), el("dd", {}, shown)];
  });
}
