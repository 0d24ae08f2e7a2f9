// The grid of pictures. Of many pictures only the lines near the window are in the document, so it
// stays small however far somebody scrolls. The Tab key enters the grid once; the arrow keys move
// inside it.

import { el } from "./dom.js";
import { layOutLines } from "./layout.js";
import { tile } from "./tile.js";

const GAP = 10;
const WHOLE = 300; // up to so many pictures all of them are in the document
const MARGIN = 1500; // pixels above and below the window that are in the document too
const HEADING = 34;

export class Grid {
  // `act` has the actions of a tile, those of keys (select, extend, selectAll) and label(hit), the
  // heading of the group that a picture belongs to. `changed` is called if a picture does not load.
  constructor(list, act, changed = () => {}) {
    this.list = list;
    this.act = act;
    this.changed = changed;
    this.below = 20; // pixels of a tile below its picture; measured as soon as there is one
    list.addEventListener("keydown", (event) => this.onKey(event));
    list.addEventListener("focusin", (event) => this.onFocus(event));
    addEventListener("scroll", () => this.soon("mount"), { passive: true });
    new ResizeObserver(() => {
      if (Math.abs(list.clientWidth - this.width) >= 1) this.layOut();
    }).observe(list);
    this.clear();
  }

  get rowHeight() {
    return this.list.clientWidth < 600 ? 130 : 190;
  }

  clear() {
    this.replace([], "");
  }

  replace(hits, table) {
    this.table = table;
    this.hiddenCount = 0;
    this.cells = [];
    this.lines = [];
    this.shownLines = null;
    this.list.replaceChildren();
    this.append(hits);
  }

  // What is shown, for `restore` to show it again as it was, with the shapes that are known by now.
  get content() {
    return { cells: this.cells, hiddenCount: this.hiddenCount };
  }

  restore({ cells, hiddenCount }, table) {
    this.replace([], table);
    for (const cell of cells) cell.node = null;
    Object.assign(this, { cells, hiddenCount });
    this.layOut();
  }

  append(hits) {
    this.cells.push(...hits.map((hit) => this.cell(hit)));
    this.layOut();
  }

  // Put hits before the first one, without moving what is in the window.
  prepend(hits) {
    const first = this.cells[0];
    const before = first ? this.lines[first.line].top : 0;
    this.cells.unshift(...hits.map((hit) => this.cell(hit)));
    this.layOut();
    if (first) window.scrollBy(0, this.lines[first.line].top - before);
  }

  // Put hits behind another one, in its group.
  insert(id, hits) {
    const at = this.cells.findIndex(({ hit }) => hit.id === id);
    const { group } = this.cells[at];
    this.cells.splice(at + 1, 0, ...hits.map((hit) => ({ ...this.cell(hit), group })));
    this.layOut();
  }

  remove(ids) {
    this.cells = this.cells.filter(({ hit }) => !ids.has(hit.id));
    this.layOut();
  }

  // Draw a picture's tile anew.
  refresh(id) {
    const cell = this.cells.find(({ hit }) => hit.id === id);
    if (!cell?.node) return;
    const control = cell.node.contains(document.activeElement) ? document.activeElement.dataset.control : null;
    const old = cell.node;
    cell.node = null;
    old.replaceWith(this.nodeOf(cell));
    if (control) cell.node.querySelector(`[data-control="${control}"]`)?.focus();
    if (!this.list.querySelector('.open[tabindex="0"]')) this.makeStop(cell.node);
  }

  // Show which pictures are selected.
  markSelected() {
    for (const { node, hit } of this.cells) if (node) this.mark(node, hit);
  }

  mark(node, hit) {
    const isSelected = this.act.isSelected(hit.id);
    node.classList.toggle("selected", isSelected);
    node.querySelector(".check").setAttribute("aria-checked", isSelected);
  }

  cell(hit) {
    const shape = hit.width > 0 && hit.height > 0 ? hit.width / hit.height : null;
    return { hit, shape, isBroken: false, node: null, group: this.act.label?.(hit) ?? null };
  }

  hide(cell) {
    if (cell.isBroken || !this.cells.includes(cell)) return;
    cell.isBroken = true;
    this.hiddenCount += 1;
    this.soon("layOut");
    this.changed();
  }

  // Metadata may lack the shape, or have that of the original and not of the displayed copy.
  reshape(cell, shape) {
    if (cell.shape !== null && Math.abs(cell.shape / shape - 1) < 0.05) return;
    cell.shape = shape;
    this.soon("layOut");
  }

  soon(work) {
    this.planned ??= new Set();
    if (!this.planned.size) {
      requestAnimationFrame(() => {
        const works = this.planned;
        this.planned = new Set();
        if (works.has("layOut")) this.layOut();
        else this.mount();
      });
    }
    this.planned.add(work);
  }

  layOut() {
    this.width = this.list.clientWidth;
    if (!this.width) return;
    const rowGap = parseFloat(getComputedStyle(this.list).rowGap) || 0;
    const room = { width: this.width, target: this.rowHeight, gap: GAP, rowGap, below: this.below, heading: HEADING };
    Object.assign(this, layOutLines(this.cells, room));
    this.shownLines = null;
    this.mount();
    this.measure();
  }

  // The height of a tile below its picture depends on the font.
  measure() {
    const node = this.list.querySelector(".tile:not([hidden])");
    if (!node) return;
    const below = node.getBoundingClientRect().height - node.querySelector(".frame").getBoundingClientRect().height;
    if (Math.abs(below - this.below) < 0.5) return;
    this.below = below;
    this.layOut();
  }

  // Put the lines near the window into the document, and take the others out.
  mount() {
    const [first, last] = this.near();
    if (this.shownLines === `${first}-${last}`) return;
    this.shownLines = `${first}-${last}`;
    const held = this.list.contains(document.activeElement);
    const lines = this.lines.slice(first, last + 1);
    const nodes = lines.flatMap((line) => this.nodesOf(line));
    const kept = new Set(nodes);
    for (const node of [...this.list.children]) if (!kept.has(node)) node.remove();
    for (const cell of this.cells) if (cell.node && !kept.has(cell.node)) cell.node = null;
    let next = this.list.firstChild;
    for (const node of nodes) {
      if (node === next) next = next.nextSibling;
      else this.list.insertBefore(node, next);
    }
    const end = lines.length ? lines.at(-1).top + lines.at(-1).height : 0;
    this.list.style.paddingTop = `${lines[0]?.top ?? 0}px`;
    this.list.style.paddingBottom = `${Math.max(0, this.height - end)}px`;
    if (!this.list.querySelector('.open[tabindex="0"]')) this.makeStop(this.firstSeen());
    if (held && !this.list.contains(document.activeElement)) {
      this.list.querySelector('.open[tabindex="0"]')?.focus({ preventScroll: true }); // its tile went out of the document
    }
  }

  // The numbers of the first and the last line that belong into the document.
  near() {
    if (this.cells.length <= WHOLE) return [0, this.lines.length - 1];
    const above = -this.list.getBoundingClientRect().top;
    const first = this.lines.findIndex(({ top, height }) => top + height > above - MARGIN);
    const last = this.lines.findLastIndex(({ top }) => top < above + innerHeight + MARGIN);
    return [Math.max(0, first === -1 ? this.lines.length - 1 : first), Math.max(0, last)];
  }

  nodesOf(line) {
    if (line.label) {
      line.node ??= el("li", { class: "group" }, el("h2", {}, line.label));
      line.node.style.height = `${HEADING}px`;
      return [line.node];
    }
    return line.cells.map((cell) => this.nodeOf(cell));
  }

  nodeOf(cell) {
    if (!cell.node) {
      cell.node = tile(cell.hit, this.table, this.rowHeight, this.act, () => this.hide(cell), (shape) => this.reshape(cell, shape));
      this.mark(cell.node, cell.hit);
    }
    cell.node.hidden = cell.isBroken;
    if (!cell.isBroken) {
      cell.node.style.width = `${cell.size.width}px`;
      cell.node.querySelector(".frame").style.height = `${cell.size.height}px`;
    }
    return cell.node;
  }

  shown() {
    return this.cells.filter((cell) => !cell.isBroken);
  }

  firstSeen() {
    const nodes = [...this.list.querySelectorAll(".tile:not([hidden])")];
    return nodes.find((node) => node.getBoundingClientRect().bottom > 0) ?? nodes[0];
  }

  // The first picture that the window shows, below the header.
  firstShown() {
    const above = 80 - this.list.getBoundingClientRect().top;
    return this.lines.find(({ top, height, cells }) => cells.length && top + height > above)?.cells[0];
  }

  // Scroll to a picture's line, with its heading.
  scrollTo(cell) {
    const line = this.lines[cell.line - 1]?.label ? cell.line - 1 : cell.line;
    window.scrollTo(0, this.list.getBoundingClientRect().top + scrollY + this.lines[line].top - 90);
    this.mount();
  }

  focus(id) {
    const cell = this.shown().find(({ hit }) => hit.id === id);
    if (cell) this.focusCell(cell);
  }

  // Focus the tile that the Tab key stops at.
  focusStop() {
    this.list.querySelector('.open[tabindex="0"]')?.focus();
  }

  focusCell(cell) {
    if (!cell.node) {
      const top = this.list.getBoundingClientRect().top + scrollY;
      window.scrollTo(0, top + this.lines[cell.line].top - innerHeight / 3);
      this.mount();
    }
    cell.node.querySelector(".open").focus();
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
    if (event.altKey) return;
    const cells = this.shown();
    const at = cells.findIndex(({ node }) => node?.contains(event.target));
    if (at < 0) return;
    const isLink = event.target.matches(".open");
    if (event.ctrlKey || event.metaKey) {
      if (event.key !== "a") return;
      event.preventDefault();
      this.act.selectAll(cells.map(({ hit }) => hit));
    } else if (event.key === " " && isLink) {
      event.preventDefault();
      this.act.select(cells[at].hit, event.shiftKey);
    } else {
      this.move(event, cells, at);
    }
  }

  move(event, cells, at) {
    const next = {
      ArrowLeft: () => cells[at - 1],
      ArrowRight: () => cells[at + 1],
      ArrowUp: () => this.vertical(cells[at], -1),
      ArrowDown: () => this.vertical(cells[at], 1),
      Home: () => cells[0],
      End: () => cells.at(-1),
    }[event.key]?.();
    if (!next) return;
    event.preventDefault();
    if (event.shiftKey) this.act.extend(cells[at].hit, next.hit);
    this.focusCell(next);
  }

  // The nearest picture in the line below or above.
  vertical(cell, step) {
    const middle = cell.x + cell.size.width / 2;
    for (let i = cell.line + step; i >= 0 && i < this.lines.length; i += step) {
      const cells = this.lines[i].cells.filter((one) => !one.isBroken);
      const away = (one) => Math.abs(one.x + one.size.width / 2 - middle);
      if (cells.length) return cells.reduce((best, one) => (away(one) < away(best) ? one : best));
    }
    return undefined;
  }
}
