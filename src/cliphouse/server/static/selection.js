// The selected pictures, and the bar of what can be done with them.

import { post } from "./api.js";
import { $, copyText, grouped, saveFile, toast } from "./dom.js";
import { pathOf } from "./picture.js";

const MOST_SUMMED = 16; // what a search may sum

export class Selection {
  // `act` has shownHits(), refresh() to show what is selected, searchBy(hits), subtract(hits),
  // partCount(), the number of parts of the search, exclude(hits) and focusGrid().
  constructor(act) {
    this.act = act;
    this.hits = new Map();
    this.last = null; // the id from which a range reaches
    this.isOn = false;
    $("select").addEventListener("click", () => (this.isSelecting ? this.clear() : this.begin()));
    $("deselect").addEventListener("click", () => {
      this.clear();
      this.act.focusGrid();
    });
    $("save-selected").addEventListener("click", () => this.save());
    $("copy-selected").addEventListener("click", () => copyText(this.lines(), this.hits.size === 1 ? "Path" : "Paths"));
    $("list-selected").addEventListener("click", () => saveFile(new Blob([`${this.lines()}\n`], { type: "text/plain" }), "cliphouse.txt"));
    for (const [id, work] of [["like-selected", "searchBy"], ["unlike-selected", "subtract"], ["hide-selected", "exclude"]]) {
      $(id).addEventListener("click", () => {
        const hits = [...this.hits.values()];
        this.clear();
        this.act[work](hits);
      });
    }
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.isSelecting || event.defaultPrevented || event.target.matches("input, select") || document.querySelector("dialog[open], details[open]")) return;
      this.clear();
    });
  }

  // The paths or addresses, one a line. A name with a line break is written as an address.
  lines() {
    const paths = [...this.hits.values()].map(pathOf);
    return paths.map((path) => (/[\r\n]/.test(path) ? `file://${encodeURI(path)}` : path)).join("\n");
  }

  get isSelecting() {
    return this.isOn || this.hits.size > 0;
  }

  has(id) {
    return this.hits.has(id);
  }

  begin() {
    this.isOn = true;
    this.show();
  }

  clear() {
    this.isOn = false;
    this.hits.clear();
    this.last = null;
    this.show();
  }

  // Select a picture, or take it out of the selection; with `isRange` all from the last one to it.
  toggle(hit, table, isRange) {
    if (isRange && this.last !== null && this.last !== hit.id) this.addRange(this.last, hit.id);
    else if (this.hits.has(hit.id)) this.hits.delete(hit.id);
    else this.hits.set(hit.id, hit);
    this.table = table;
    this.last = hit.id;
    this.show();
  }

  // From one picture to its neighbour, as with Shift and an arrow key.
  extend(from, to, table) {
    for (const hit of [from, to]) this.hits.set(hit.id, hit);
    this.table = table;
    this.last = to.id;
    this.show();
  }

  add(hits, table) {
    for (const hit of hits) this.hits.set(hit.id, hit);
    this.table = table;
    this.show();
  }

  addRange(from, to) {
    const hits = this.act.shownHits();
    const ends = [from, to].map((id) => hits.findIndex((hit) => hit.id === id)).toSorted((a, b) => a - b);
    if (ends[0] < 0) return;
    for (const hit of hits.slice(ends[0], ends[1] + 1)) this.hits.set(hit.id, hit);
  }

  show() {
    const count = this.hits.size;
    document.body.classList.toggle("selecting", this.isSelecting);
    $("select").setAttribute("aria-pressed", this.isSelecting);
    $("selected").hidden = !this.isSelecting;
    $("selected-count").textContent = count === 0 ? "Choose pictures" : `${grouped(count)} selected`;
    for (const id of ["save-selected", "list-selected", "copy-selected", "hide-selected"]) $(id).disabled = count === 0;
    const room = MOST_SUMMED - this.act.partCount();
    offer($("like-selected"), count, MOST_SUMMED, "Search by the mean of the selected pictures");
    offer($("unlike-selected"), count, room === MOST_SUMMED ? 0 : room, "Subtract them from the search");
    if (room === MOST_SUMMED) $("unlike-selected").title = "Search for something first, and then subtract pictures from it";
    this.act.refresh();
  }

  async save() {
    $("save-selected").disabled = true;
    try {
      const body = { ids: [...this.hits.keys()], ...(this.table && { table: this.table }) };
      const answer = await post("/api/pictures/zip", body);
      saveFile(await answer.blob(), "cliphouse.zip");
      const missing = Number(answer.headers.get("X-Cliphouse-Left-Out"));
      if (missing) toast(`${grouped(missing)} of them are no local files; the zip file names them`);
    } catch (error) {
      toast(error.message);
    } finally {
      $("save-selected").disabled = this.hits.size === 0;
    }
  }
}

// A button that takes one to `most` of the selected pictures.
function offer(button, count, most, title) {
  button.disabled = count === 0 || count > most;
  button.title = count > most ? `A search has at most ${MOST_SUMMED} parts` : title;
}
