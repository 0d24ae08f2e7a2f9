// The strip beside all pictures: how they spread over months or folders, where in them the window is,
// and a way to any of them. It is one slider for the keyboard and for screen readers.

import { postJson } from "./api.js";
import { $, el, grouped } from "./dom.js";

const FEWEST = 60; // pictures that make a strip worth while
const LARGEST = 20_000_000; // rows, to count which takes a second
const NEAREST = 22; // pixels between two marks
const WAIT = 350; // after the last key
const PAGE = 12;

export class Scrubber {
  // `act` has jump(stop), shownStop(stops), which is the number of that of the first picture in the
  // window, and stops(groups), which makes the stops in their order: each has label, mark and rows.
  constructor(act) {
    this.act = act;
    this.asked = null;
    this.stops = [];
    this.at = 0;
    const box = $("scrubber");
    box.addEventListener("keydown", (event) => this.onKey(event));
    box.addEventListener("pointerdown", (event) => this.onDown(event));
    box.addEventListener("pointermove", (event) => this.onMove(event));
    box.addEventListener("pointerleave", () => this.point(null));
    box.addEventListener("pointerup", (event) => this.onUp(event));
    addEventListener("scroll", () => this.follow(), { passive: true });
    addEventListener("resize", () => this.draw());
  }

  hide() {
    this.asked = null;
    this.stops = [];
    this.draw();
  }

  // Show the groups of `column` among the rows that meet `filter`; of a table of `rows` rows.
  async show(column, { table, filter }, rows) {
    const body = { column, table, filter };
    const text = JSON.stringify(body);
    if (text === this.asked) return;
    this.hide();
    this.asked = text;
    if (!column || rows > LARGEST) return;
    await settled(); // the pictures come first
    if (this.asked !== text) return;
    try {
      const { groups, are_all: areAll } = await postJson("/api/groups", body);
      if (this.asked !== text) return;
      const total = groups.reduce((sum, group) => sum + group.rows, 0);
      this.stops = areAll && groups.length > 1 && total > FEWEST ? this.placed(this.act.stops(groups), total) : [];
    } catch {
      this.asked = null; // the pictures themselves say what is wrong
      return;
    }
    this.draw();
  }

  // Each stop with its place on the strip, from 0 to 1, by the pictures before it.
  placed(stops, total) {
    let before = 0;
    return stops.map((stop) => {
      const top = before / total;
      before += stop.rows;
      return { ...stop, top };
    });
  }

  draw() {
    const box = $("scrubber");
    box.hidden = this.stops.length === 0;
    document.body.classList.toggle("scrubbed", !box.hidden);
    if (box.hidden) return;
    let last = -NEAREST;
    const marks = [];
    for (const { top, mark } of this.stops) {
      const y = top * box.clientHeight;
      if (mark && mark !== marks.at(-1)?.textContent && y - last >= NEAREST && y < box.clientHeight - 12) {
        const node = el("span", { class: "mark" }, mark);
        node.style.top = `${y}px`;
        marks.push(node);
        last = y;
      }
    }
    this.bubble = el("span", { class: "bubble", hidden: true });
    this.thumb = el("span", { class: "thumb" });
    box.replaceChildren(...marks, this.thumb, this.bubble);
    box.setAttribute("aria-valuemax", this.stops.length - 1);
    this.follow(true);
  }

  // Show where the window is.
  follow(isNew = false) {
    if (!this.stops.length || this.isDragged || this.timer) return;
    const at = this.act.shownStop(this.stops);
    if (at < 0 || (at === this.at && !isNew)) return;
    this.put(at);
  }

  put(at) {
    this.at = Math.max(0, Math.min(this.stops.length - 1, at));
    const { label, rows, top } = this.stops[this.at];
    $("scrubber").setAttribute("aria-valuenow", this.at);
    $("scrubber").setAttribute("aria-valuetext", `${label}, ${grouped(rows)} ${rows === 1 ? "picture" : "pictures"}`);
    this.thumb.style.top = `${top * 100}%`;
  }

  onKey(event) {
    const to = {
      ArrowDown: this.at + 1, ArrowRight: this.at + 1, ArrowUp: this.at - 1, ArrowLeft: this.at - 1,
      PageDown: this.at + PAGE, PageUp: this.at - PAGE, Home: 0, End: this.stops.length - 1,
    }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.put(to);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.jump(), WAIT);
  }

  jump() {
    this.timer = 0;
    this.act.jump(this.stops[this.at], this.at);
  }

  onDown(event) {
    if (event.button) return;
    event.preventDefault();
    $("scrubber").focus({ preventScroll: true });
    $("scrubber").setPointerCapture(event.pointerId);
    this.isDragged = true;
    this.onMove(event);
  }

  onMove(event) {
    const at = this.under(event);
    this.point(at, event);
    if (this.isDragged) this.put(at);
  }

  onUp(event) {
    if (!this.isDragged) return;
    this.isDragged = false;
    if (event.pointerType !== "mouse") this.point(null);
    this.jump();
  }

  // The number of the stop under the pointer.
  under({ clientY }) {
    const { top, height } = $("scrubber").getBoundingClientRect();
    const share = (clientY - top) / height;
    return Math.max(0, this.stops.findLastIndex((stop) => stop.top <= share));
  }

  // Name a stop beside the pointer.
  point(at, event) {
    if (!this.bubble) return;
    this.bubble.hidden = at === null;
    if (at === null) return;
    const { label, rows } = this.stops[at];
    this.bubble.textContent = `${label} · ${grouped(rows)}`;
    this.bubble.style.top = `${event.clientY - $("scrubber").getBoundingClientRect().top}px`;
  }
}

// Once the first pictures are there, or after a second.
async function settled() {
  for (let i = 0; i < 20; i += 1) {
    await new Promise((resolve) => { setTimeout(resolve, 50); });
    const first = [...$("grid").querySelectorAll("img")].slice(0, 12);
    if (first.length && first.every((image) => image.complete)) return;
  }
}
