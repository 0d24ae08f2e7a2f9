// The map: where photographs were taken, clustered, on an outline of the world.

import { postJson } from "./api.js";
import { $, el, grouped, svg } from "./dom.js";
import { picture } from "./picture.js";
import { WORLD } from "./world.js";

const CELL = 84; // pixels of a cell of clusters
const PIN = 52; // pixels between two pins, below which they would cover one another
const WAIT = 150;
const CLOSEST = 0.01; // degrees from side to side
const STEP = 1.6;
const WHOLE = { x: 0, y: 0, width: 360 }; // the middle in degrees, and the width

let map = null;

// Show where the rows are that `asked`, with filter and table, means. `act` has open(box), which shows
// the pictures of a part of the world.
export function showMap(asked, act) {
  map ??= new WorldMap($("map"));
  return map.show(asked, act);
}

class WorldMap {
  constructor(root) {
    this.root = root;
    this.view = WHOLE;
    this.asked = null;
    this.outline = svg("svg", { class: "outline", "aria-hidden": "true", preserveAspectRatio: "none" }, svg("path", { d: WORLD, transform: "scale(.1)" }));
    this.pins = el("div", { class: "pins" });
    this.frame = el("div", { class: "map-frame", tabindex: 0, role: "group", "aria-label": "Map. The arrow keys move it, plus and minus enlarge it" }, this.outline, this.pins);
    const button = (text, label, onclick) => el("button", { type: "button", class: "plain", "aria-label": label, title: label, onclick }, text);
    this.said = el("p", { class: "quiet", role: "status", "aria-live": "polite" });
    this.here = button("Show the pictures here", "Show the pictures of this part of the map", () => this.act.open(this.box()));
    root.replaceChildren(
      el("div", { class: "status" }, this.said,
        el("div", { class: "buttons" },
          button("+", "Enlarge the map", () => this.by(1 / STEP)),
          button("−", "Show more of the world", () => this.by(STEP)),
          button("Whole world", "Show the whole world", () => this.to(WHOLE)), this.here)),
      this.frame,
      el("p", { class: "note" }, "Outline: Natural Earth, in the public domain."));
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.frame);
  }

  listen() {
    let from = null;
    this.frame.addEventListener("pointerdown", (event) => {
      if (event.button || event.target.closest("button")) return;
      from = event;
      this.frame.setPointerCapture(event.pointerId);
    });
    this.frame.addEventListener("pointermove", (event) => {
      if (!from) return;
      const scale = this.view.width / this.frame.clientWidth;
      this.to({ ...this.view, x: this.view.x - (event.clientX - from.clientX) * scale, y: this.view.y + (event.clientY - from.clientY) * scale });
      from = event;
    });
    for (const end of ["pointerup", "pointercancel"]) this.frame.addEventListener(end, () => { from = null; });
    this.frame.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.by(1.0015 ** event.deltaY, event);
    }, { passive: false });
    this.frame.addEventListener("dblclick", (event) => { if (!event.target.closest("button")) this.by(1 / STEP, event); });
    this.frame.addEventListener("keydown", (event) => this.onKey(event));
  }

  onKey(event) {
    const { x, y, width } = this.view;
    const to = {
      ArrowLeft: { x: x - width / 8 }, ArrowRight: { x: x + width / 8 }, ArrowUp: { y: y + width / 12 }, ArrowDown: { y: y - width / 12 },
      "+": { width: width / STEP }, "=": { width: width / STEP }, "-": { width: width * STEP }, 0: WHOLE,
    }[event.key];
    if (!to || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.to({ ...this.view, ...to });
  }

  async show(asked, act) {
    this.act = act;
    const text = JSON.stringify(asked);
    if (text === this.asked) return;
    this.asked = text;
    this.body = asked;
    this.pins.replaceChildren();
    this.said.textContent = "";
    const { places } = await postJson("/api/places", { ...asked, cell: 5 });
    if (this.asked !== text) return;
    this.to(around(places.map(({ box }) => box), this.ratio()));
  }

  // Height by width of the frame.
  ratio() {
    return this.frame.clientHeight / this.frame.clientWidth || 0.5;
  }

  // Enlarge by a factor below 1, so that the point under the pointer stays.
  by(factor, event) {
    const { left, top, width, height } = this.frame.getBoundingClientRect();
    const [dx, dy] = event ? [(event.clientX - left) / width - 0.5, 0.5 - (event.clientY - top) / height] : [0, 0];
    const next = limited(this.view.width * factor);
    const more = this.view.width - next;
    this.to({ x: this.view.x + dx * more, y: this.view.y + dy * more * this.ratio(), width: next });
  }

  to({ x, y, width }) {
    const wide = limited(width);
    const [roomX, roomY] = [Math.max(0, 180 - wide / 2), Math.max(0, 90 - (wide * this.ratio()) / 2)];
    this.view = { x: Math.max(-roomX, Math.min(roomX, x)), y: Math.max(-roomY, Math.min(roomY, y)), width: wide };
    this.draw();
  }

  // The part of the world that is seen.
  box() {
    const { x, y, width } = this.view;
    const height = width * this.ratio();
    return {
      south: Math.max(-90, y - height / 2), north: Math.min(90, y + height / 2),
      west: Math.max(-180, x - width / 2), east: Math.min(180, x + width / 2),
    };
  }

  draw() {
    if (!this.body || !this.frame.clientWidth) return;
    const { x, y, width } = this.view;
    const height = width * this.ratio();
    this.outline.setAttribute("viewBox", `${x - width / 2} ${-y - height / 2} ${width} ${height}`);
    for (const pin of this.pins.children) this.put(pin);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), WAIT);
  }

  async load() {
    const cell = 2 ** Math.round(Math.log2((this.view.width * CELL) / this.frame.clientWidth));
    const body = { ...this.body, box: this.box(), cell: Math.max(0.0001, Math.min(90, cell)) };
    const text = (this.newest = JSON.stringify(body));
    try {
      const { places } = await postJson("/api/places", body);
      if (this.newest !== text) return;
      const held = this.pins.contains(document.activeElement);
      this.pins.replaceChildren(...this.apart(places).map((place) => this.pin(place)));
      if (held) this.frame.focus({ preventScroll: true });
      const rows = places.reduce((sum, place) => sum + place.rows, 0);
      this.said.textContent = rows === 0 ? "No pictures here" : `${grouped(rows)} ${rows === 1 ? "picture" : "pictures"} here`;
      this.here.disabled = rows === 0;
    } catch (error) {
      this.said.textContent = error.message;
    }
  }

  // The clusters, the largest first; one that is too near to a larger one becomes a part of it.
  apart(places) {
    const scale = this.frame.clientWidth / this.view.width;
    const isNear = (one, other) => Math.abs(one.longitude - other.longitude) * scale < PIN && Math.abs(one.latitude - other.latitude) * scale < PIN;
    const kept = [];
    for (const place of places) {
      const larger = kept.find((one) => isNear(one, place));
      if (larger) Object.assign(larger, { rows: larger.rows + place.rows, box: union(larger.box, place.box) });
      else kept.push({ ...place });
    }
    return kept;
  }

  pin(place) {
    const { rows, box, latitude, longitude } = place;
    const where = `${rows === 1 ? "1 picture" : `${grouped(rows)} pictures`} near ${degrees(latitude, "N", "S")}, ${degrees(longitude, "E", "W")}`;
    const image = picture({ url: "", caption: "", ...place.picture }, this.body.table, 256, false);
    image.addEventListener("error", () => image.remove(), { once: true });
    const pin = el("button", { type: "button", class: "pin", "aria-label": where, title: where, onclick: () => this.act.open(box) },
      image, el("span", { class: "count", "aria-hidden": "true" }, rows < 10_000 ? grouped(rows) : `${Math.round(rows / 1000)}k`));
    pin.place = place;
    this.put(pin);
    return pin;
  }

  put(pin) {
    const { x, y, width } = this.view;
    const height = width * this.ratio();
    pin.style.left = `${((pin.place.longitude - x) / width + 0.5) * 100}%`;
    pin.style.top = `${((y - pin.place.latitude) / height + 0.5) * 100}%`;
  }
}

const limited = (width) => Math.max(CLOSEST, Math.min(360, width));
const degrees = (value, plus, minus) => `${Math.abs(value).toFixed(1)}° ${value < 0 ? minus : plus}`;

const union = (one, other) => ({
  south: Math.min(one.south, other.south), north: Math.max(one.north, other.north),
  west: Math.min(one.west, other.west), east: Math.max(one.east, other.east),
});

// The view that shows all boxes, with some room around them.
function around(boxes, ratio) {
  if (!boxes.length) return WHOLE;
  const [west, east] = [Math.min(...boxes.map((box) => box.west)), Math.max(...boxes.map((box) => box.east))];
  const [south, north] = [Math.min(...boxes.map((box) => box.south)), Math.max(...boxes.map((box) => box.north))];
  const width = Math.max((east - west) * 1.3, ((north - south) * 1.3) / ratio, 0.5);
  return { x: (west + east) / 2, y: (south + north) / 2, width: limited(width) };
}
