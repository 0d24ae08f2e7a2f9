// Helpers that build elements. Text becomes text nodes and attributes, never markup.

const SVG = "http://www.w3.org/2000/svg";
// They turn text round, and could fake a name's ending: they are written out.
const TURNING = /[\u202a-\u202e\u2066-\u2069]/g;

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), attributes, children);
}

function furnish(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : name === "title" ? inOrder(value) : String(value));
  }
  node.append(...children.flat().filter((child) => (child ?? false) !== false).map(inOrder));
  return node;
}

const inOrder = (value) => (typeof value === "string" ? value.replace(TURNING, (mark) => `\\u${mark.charCodeAt().toString(16)}`) : value);

// The address if it is http or https; null for javascript:, data:, files and everything else.
export function webAddress(text) {
  try {
    const url = new URL(text);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}

export function toast(text) {
  const box = $("toast");
  box.textContent = text;
  box.hidden = false;
  // A modal dialog covers everything outside it.
  (document.querySelector("dialog[open]") ?? document.body).append(box);
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { box.hidden = true; }, 4000);
}

export async function copyText(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // navigator.clipboard exists only in pages served over HTTPS or from loopback.
    const area = el("textarea", { class: "offscreen", "aria-hidden": "true" });
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    if (!copied) return toast("The browser does not allow copying");
  }
  return toast(`${what} copied`);
}

// Hand a file to the browser's downloads.
export function saveFile(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = el("a", { href: address, download: name, class: "hidden" });
  // A click outside an open menu would close it.
  (document.querySelector("dialog[open]") ?? document.querySelector("details[open]") ?? document.body).append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

// Thousands apart. toLocaleString takes 20 ms at its first call, while the first pictures wait.
export const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");

// The time of a frame in its video, as 1:02:03.
export function clock(seconds) {
  if (typeof seconds !== "number" || !(seconds >= 0)) return null;
  const whole = Math.floor(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}`;
}
