// The query: the text box, the chips, and pictures that are dropped, pasted or chosen.

import { $, el, toast, webAddress } from "./dom.js";
import { picture } from "./picture.js";
import { upload, uploaded } from "./uploads.js";

const WAIT = 60; // milliseconds, for another key; a search takes about as long
const NAMES = { words: "words", row: "like row", url: "picture at", upload: "picture" };

export class Query {
  // `change(patch, kind)` is called for every input. `kind` is "typing" or "step".
  constructor(change) {
    this.change = change;
    this.parts = [];
    this.timer = 0;
    const words = $("words");
    words.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.typed("typing"), WAIT);
    });
    $("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.entered();
    });
    $("add").addEventListener("click", () => this.keepWords(1));
    $("subtract").addEventListener("click", () => this.keepWords(-1));
    this.takePictures();
  }

  show({ words, parts }, rows, table) {
    this.parts = parts;
    if ($("words").value !== words) $("words").value = words;
    const held = document.activeElement?.closest?.(".chip")?.dataset.at;
    const control = document.activeElement?.dataset?.control;
    $("chips").hidden = parts.length === 0;
    $("chips").replaceChildren(...parts.map((part, i) => this.chip(part, i, rows, table)));
    if (held !== undefined) this.focusChip(Number(held), control);
  }

  // While somebody types a web address, do not search for it as words.
  typed(kind) {
    const words = $("words").value;
    if (!/^https?:\/\/\S*$/.test(words.trim())) this.change({ words }, kind);
  }

  entered() {
    clearTimeout(this.timer);
    const address = webAddress($("words").value.trim());
    if (address) this.addAddress(address);
    else this.typed("step");
  }

  addAddress(address) {
    this.change({ words: "", parts: [...this.parts, { kind: "url", value: address, weight: 1 }] }, "step");
  }

  keepWords(weight) {
    clearTimeout(this.timer);
    const value = $("words").value.trim();
    if (!value) {
      toast(weight > 0 ? "Type words first, then keep them with +" : "Type words first, then subtract them with −");
    } else {
      this.change({ words: "", parts: [...this.parts, { kind: "words", value, weight }] }, "step");
    }
    $("words").focus();
  }

  chip(part, i, rows, table) {
    const label = this.label(part, rows);
    const set = (weight) => this.change({ parts: this.parts.with(i, { ...part, weight }) }, "step");
    const weight = el("input", {
      type: "number", step: 0.5, min: 0.1, max: 100, value: Math.abs(part.weight), "aria-label": `Weight of ${label}`, "data-control": "weight",
      onchange: (event) => {
        const value = Math.min(100, Math.abs(Number(event.target.value)) || 1);
        set(Math.sign(part.weight) * value);
      },
    });
    return el("li", { class: part.weight < 0 ? "chip minus" : "chip", "data-at": i },
      el("button", {
        type: "button", class: "sign", "data-control": "sign", onclick: () => set(-part.weight),
        "aria-label": part.weight < 0 ? `Subtracted: ${label}. Add it` : `Added: ${label}. Subtract it`,
        title: part.weight < 0 ? "Subtracted; click to add" : "Added; click to subtract",
      }, part.weight < 0 ? "−" : "+"),
      this.preview(part, rows, table),
      el("span", { class: "label", title: label }, label),
      weight,
      el("button", {
        type: "button", class: "remove", "aria-label": `Remove ${label}`, title: "Remove", "data-control": "remove",
        onclick: () => this.change({ parts: this.parts.toSpliced(i, 1) }, "step"),
      }, "×"));
  }

  label(part, rows) {
    if (part.kind === "words") return part.value;
    if (part.kind === "upload") return uploaded(part.value).label;
    const row = part.kind === "row" && rows.get(part.value);
    if (part.kind === "row") return row?.caption || row?.file_name || `${NAMES.row} ${part.value}`;
    return part.value;
  }

  preview(part, rows, table) {
    let image = null;
    if (part.kind === "upload") image = el("img", { src: uploaded(part.value).preview, alt: "" });
    if (part.kind === "url") image = el("img", { src: webAddress(part.value), alt: "", referrerpolicy: "no-referrer" });
    const row = part.kind === "row" && rows.get(part.value);
    if (row) image = picture(row, table, 64, false);
    image?.addEventListener("error", () => image.remove());
    return image;
  }

  // Rendering replaces the chips, so this restores the keyboard focus.
  focusChip(at, control) {
    const chips = $("chips").children;
    const chip = chips[Math.min(at, chips.length - 1)];
    if (chip) chip.querySelector(`[data-control=${control ?? "remove"}]`)?.focus();
    else $("words").focus();
  }

  takePictures() {
    $("choose").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", () => {
      if ($("file").files.length) this.take($("file").files[0]);
      $("file").value = "";
    });
    document.addEventListener("paste", (event) => {
      const file = [...event.clipboardData.files].find(isPicture);
      const address = event.target === $("words") && webAddress(event.clipboardData.getData("text/plain").trim());
      if (!file && !address) return;
      event.preventDefault();
      if (file) this.take(file);
      else this.addAddress(address);
    });
    this.takeDrops();
  }

  takeDrops() {
    let depth = 0;
    const show = () => { $("dropping").hidden = depth === 0; };
    const holds = (event) => [...(event.dataTransfer?.types ?? [])].some((type) => ["Files", "text/uri-list"].includes(type));
    document.addEventListener("dragenter", (event) => { if (holds(event)) { depth += 1; show(); } });
    document.addEventListener("dragleave", (event) => { if (holds(event)) { depth = Math.max(0, depth - 1); show(); } });
    document.addEventListener("dragover", (event) => { if (holds(event)) event.preventDefault(); });
    document.addEventListener("drop", (event) => {
      depth = 0;
      show();
      if (!holds(event)) return;
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      const address = webAddress(event.dataTransfer.getData("text/uri-list").split("\n")[0].trim());
      if (file) this.take(file);
      else if (address) this.addAddress(address);
    });
  }

  async take(file) {
    try {
      const value = await upload(file);
      this.change({ parts: [...this.parts, { kind: "upload", value, weight: 1 }], view: "search" }, "step");
    } catch (error) {
      toast(error.message);
    }
  }
}

const isPicture = (file) => file.type.startsWith("image/");
