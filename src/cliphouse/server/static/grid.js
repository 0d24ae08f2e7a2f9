// The grid of results. The Tab key enters it once; the arrow keys move inside it.

import { justify } from "./layout.js";
import { tile } from "./tile.js";

const GAP = 10;

export class Grid {
  // `act` has the actions of a tile. `changed` is called if a picture does not load.
  constructor(list, act, changed = () => {}) {
    this.list = list;
    this.act = act;
    this.changed = changed;
    this.cells = [];
    this.hiddenCount = 0;
    this.width = 0;
    list.addEventListener("keydown", (event) => this.onKey(event));
    list.addEventListener("focusin", (event) => this.onFocus(event));
    new ResizeObserver(() => {
      if (Math.abs(list.clientWidth - this.width) >= 1) this.layOut();
    }).observe(list);
  }

  get rowHeight() {
    return this.list.clientWidth < 600 ? 130 : 190;
  }

  clear() {
    this.cells = [];
    this.hiddenCount = 0;
    this.list.replaceChildren();
  }

  replace(hits, table) {
    this.cells = [];
    this.hiddenCount = 0;
    this.list.replaceChildren(...this.make(hits, table));
    this.layOut();
  }

  append(hits, table) {
    this.list.append(...this.make(hits, table));
    this.layOut();
  }

  make(hits, table) {
    return hits.map((hit) => {
      const cell = { hit, shape: hit.width > 0 && hit.height > 0 ? hit.width / hit.height : null, isBroken: false };
      cell.node = tile(hit, table, this.rowHeight, this.act, () => this.hide(cell), (shape) => this.reshape(cell, shape));
      this.cells.push(cell);
      return cell.node;
    });
  }

  hide(cell) {
    if (cell.isBroken || !this.cells.includes(cell)) return;
    cell.isBroken = true;
    cell.node.hidden = true;
    this.hiddenCount += 1;
    this.layOutSoon();
    this.changed();
  }

  // Metadata may lack the shape, or have that of the original and not of the displayed copy.
  reshape(cell, shape) {
    if (cell.shape !== null && Math.abs(cell.shape / shape - 1) < 0.05) return;
    cell.shape = shape;
    this.layOutSoon();
  }

  layOutSoon() {
    if (this.isPlanned) return;
    this.isPlanned = true;
    requestAnimationFrame(() => {
      this.isPlanned = false;
      this.layOut();
    });
  }

  layOut() {
    this.width = this.list.clientWidth;
    if (!this.width) return;
    const shown = this.shown();
    const sizes = justify(shown.map((cell) => cell.shape), this.width, this.rowHeight, GAP);
    shown.forEach(({ node }, i) => {
      node.style.width = `${sizes[i].width}px`;
      node.querySelector(".frame").style.height = `${sizes[i].height}px`;
    });
    if (!this.list.querySelector('.open[tabindex="0"]')) this.makeStop(shown[0]?.node);
  }

  shown() {
    return this.cells.filter((cell) => !cell.isBroken);
  }

  focus(id) {
    const cell = this.shown().find(({ hit }) => hit.id === id);
    cell?.node.querySelector(".open").focus();
  }

  onFocus(event) {
    const node = event.target.closest(".tile");
    if (node) this.makeStop(node);
  }

  // The Tab key stops at this tile and its buttons, then leaves the grid.
  makeStop(node) {
    if (!node) return;
    for (const one of this.list.querySelectorAll('[tabindex="0"]')) one.tabIndex = -1;
    for (const one of node.querySelectorAll("a, button")) one.tabIndex = 0;
  }

  onKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const nodes = this.shown().map((cell) => cell.node);
    const at = nodes.indexOf(event.target.closest(".tile"));
    if (at < 0) return;
    const next = {
      ArrowLeft: () => nodes[at - 1],
      ArrowRight: () => nodes[at + 1],
      ArrowUp: () => vertical(nodes, at, -1),
      ArrowDown: () => vertical(nodes, at, 1),
      Home: () => nodes[0],
      End: () => nodes.at(-1),
    }[event.key]?.();
    if (!next) return;
    event.preventDefault();
    next.querySelector(".open").focus();
  }
}

// The nearest tile in the row below or above.
function vertical(nodes, at, step) {
  const from = nodes[at].getBoundingClientRect();
  const middle = from.left + from.width / 2;
  let row = null;
  let best = null;
  for (let i = at + step; i >= 0 && i < nodes.length; i += step) {
    const { left, width, top } = nodes[i].getBoundingClientRect();
    if (Math.abs(top - from.top) < 2) continue;
    if (row === null) row = top;
    if (Math.abs(top - row) >= 2) break;
    const distance = Math.abs(left + width / 2 - middle);
    if (best === null || distance < best.distance) best = { node: nodes[i], distance };
  }
  return best?.node;
}
