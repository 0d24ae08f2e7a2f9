// The detail view of a row: its picture, what is known of it, its place in the folder, its duplicates,
// and its neighbours by picture and by text.

import { about, addExposure } from "./about.js";
import { getJson, hasKey, inTable } from "./api.js";
import { duplicates, inFolder } from "./beside.js";
import { $, copyText, el, grouped, toast, webAddress } from "./dom.js";
import { isLocal, nameOf, picture, saveOriginal, sourceOf } from "./picture.js";
import { follow } from "./tile.js";
import { isFrame, player, stop } from "./video.js";
import { Zoom } from "./zoom.js";

const NEIGHBOURS = 12;
const PREVIEW = 1024; // pixels; the original follows when somebody enlarges the picture
const TITLES = { image: "Similar pictures", text: "Similar captions" };

export class Detail {
  // `act` has href, open(hit), findSimilar, add, subtract, step(id, by), place(id), selectThese(hits), folder(path),
  // folderHref(path), near(latitude, longitude) and close().
  constructor(act) {
    this.act = act;
    this.dialog = $("detail");
    this.id = null;
    this.dialog.addEventListener("close", () => {
      const wasOpen = this.id !== null;
      this.hide();
      if (wasOpen) act.close();
    });
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    this.dialog.addEventListener("keydown", (event) => this.onKey(event));
    this.dialog.addEventListener("cancel", (event) => {
      if (!this.dialog.classList.contains("whole")) return;
      event.preventDefault(); // first it leaves the full window
      this.fill();
    });
  }

  hide() {
    this.controller?.abort();
    this.dialog.classList.remove("whole");
    this.endVideo();
    this.id = null;
    if (this.dialog.open) this.dialog.close();
  }

  // Show the row. `hit` has the columns that are already loaded, if any.
  async show(id, hit, { table, modalities }) {
    if (this.id === id && this.dialog.open) return this.showPlace();
    this.controller?.abort();
    this.controller = new AbortController();
    const { signal } = this.controller;
    const inDialog = this.dialog.contains(document.activeElement) ? document.activeElement.dataset.control : null;
    this.id = id;
    if (!this.dialog.open) this.dialog.showModal();
    try {
      this.draw(hit ?? (await this.read(id, table, signal)), table, modalities);
      this.dialog.querySelector(`[data-control=${inDialog ?? "close"}]`)?.focus();
      if (hit) await this.read(id, table, signal);
      await Promise.all([
        this.fillFolder(table, signal),
        ...modalities.map(async (modality) => {
          const hits = await this.fillNeighbours(id, modality, table, signal);
          if (modality === "image") await this.fillDuplicates(hits, table, signal);
        }),
      ]);
    } catch (error) {
      if (error.name !== "AbortError") this.fail(error.message);
    }
    return undefined;
  }

  async read(id, table, signal) {
    const row = await getJson(inTable(`/api/items/${id}`, table), signal);
    this.row = row;
    this.dialog.querySelector(".told")?.replaceChildren(...this.about(row));
    this.dialog.querySelector(".about h2")?.replaceWith(el("h2", { id: "detail-title" }, titleOf(row)));
    if (row.camera && isLocal(row)) this.readExposure(row, table, signal);
    return this.asHit();
  }

  // How it was taken is in its file alone, and nobody misses it.
  async readExposure(row, table, signal) {
    const exposure = await getJson(inTable(`/api/image/${row.id}/exposure`, table), signal).catch(() => null);
    if (exposure && this.row === row) addExposure(this.dialog, exposure);
  }

  draw(hit, table, modalities) {
    this.endVideo();
    const box = this.picture(hit, table);
    const control = (name, label, text, onclick) =>
      el("button", { type: "button", class: "plain", "data-control": name, "aria-label": label, title: label, onclick }, text);
    this.dialog.replaceChildren(
      el("div", { class: "bar" },
        control("previous", "Previous result", "‹", () => this.act.step(hit.id, -1)),
        el("span", { class: "place", "aria-live": "polite" }),
        control("next", "Next result", "›", () => this.act.step(hit.id, 1)),
        el("span", { class: "spread" }),
        control("close", "Close", "×", () => this.dialog.close())),
      el("div", { class: "sides" },
        el("div", { class: "viewer" }, box,
          el("div", { class: "buttons", role: "group", "aria-label": "Picture" },
            isFrame(hit) && hasKey() && control("play", "Play the video from here", "▶", () => this.play(hit, table)),
            control("zoom-in", "Zoom in", "+", () => this.zoom?.in()),
            control("zoom-out", "Zoom out", "−", () => this.zoom?.out()),
            control("whole", "Fill the window", "⤢", () => this.fill()),
            isLocal(hit) && !hasKey() && el("a", { class: "plain", href: sourceOf(hit, table, 0), target: "_blank" }, "Open"),
            isLocal(hit) && el("button", { type: "button", class: "plain", onclick: () => saveOriginal(hit, table) }, "Download"))),
        el("div", { class: "about" },
          el("h2", { id: "detail-title" }, titleOf(hit)),
          this.actions(hit),
          el("div", { class: "buttons in-folder", role: "group", "aria-label": "In its folder", hidden: true }),
          el("div", { class: "told" }, this.about(this.row?.id === hit.id ? this.row : hit)))),
      el("section", { class: "neighbours duplicates", "aria-label": "Duplicates", hidden: true }),
      ...modalities.map((modality) => el("section", { class: "neighbours", "data-modality": modality, "aria-label": TITLES[modality] },
        el("h3", {}, TITLES[modality]), el("ul", { role: "list", tabindex: 0, "aria-label": TITLES[modality] }))),
    );
    this.table = table;
    this.showPlace();
    this.dialog.scrollTop = 0;
    if (isFrame(hit) && !hasKey()) this.play(hit, table);
  }

  // Put the video in the place of its still picture, if the browser can play it.
  play(hit, table) {
    const viewer = this.dialog.querySelector(".viewer");
    player(hit, table, (video) => {
      if (!viewer.isConnected || this.id !== hit.id) return stop(video);
      const wasFocused = viewer.contains(document.activeElement);
      this.zoom = null;
      viewer.classList.add("plays");
      viewer.querySelector(".large").replaceWith(el("div", { class: "large" }, video));
      if (wasFocused) video.focus();
      return undefined;
    }, () => {
      if (hasKey() && viewer.isConnected) toast("This browser cannot play the video. Download it");
    });
  }

  endVideo() {
    const video = this.dialog.querySelector("video");
    if (video) stop(video);
  }

  asHit() {
    return { url: "", caption: "", score: null, folded: 0, ...this.row };
  }

  about(row) {
    return about(row, { folder: this.act.folder, folderHref: this.act.folderHref, place: this.act.near }).filter(Boolean);
  }

  // The pictures before and after it in its folder.
  async fillFolder(table, signal) {
    const { before, after } = await inFolder(this.row, table, signal);
    const to = (hit, text) => el("button", {
      type: "button", class: "plain", disabled: hit === null, title: hit?.file_name, onclick: () => this.act.open({ caption: "", url: "", ...hit }),
    }, text);
    const box = this.dialog.querySelector(".in-folder");
    box.hidden = before === null && after === null;
    box.replaceChildren(to(before, "‹ Previous in the folder"), to(after, "Next in the folder ›"));
  }

  async fillDuplicates(near, table, signal) {
    const found = await duplicates(this.row, near, table, signal);
    const box = this.dialog.querySelector(".duplicates");
    box.hidden = found.length === 0;
    box.replaceChildren(
      el("h3", {}, found.length === 1 ? "1 duplicate" : `${grouped(found.length)} duplicates`),
      el("button", { type: "button", class: "plain", onclick: () => this.act.selectThese([this.asHit(), ...found]) }, "Select all of them"),
      el("ul", { role: "list", tabindex: 0, "aria-label": "Duplicates" }, found.map((hit) => this.neighbour(hit, table))));
  }

  // The box with the picture: first a preview, then the original if somebody enlarges it.
  picture(hit, table) {
    const image = picture(hit, table, PREVIEW, false);
    image.alt = hit.caption;
    const box = el("div", { class: "large" }, image);
    image.addEventListener("error", () => {
      box.replaceChildren(el("p", { class: "note" }, "This picture cannot be loaded."));
    }, { once: true });
    this.zoom = new Zoom(box, {
      enlarged: () => this.loadOriginal(hit, table, image),
      swiped: (by) => this.act.step(hit.id, by),
    });
    return box;
  }

  // A browser does not know every format. Then the preview stays.
  loadOriginal(hit, table, preview) {
    if (!isLocal(hit) || preview.dataset.original) return;
    preview.dataset.original = "asked";
    const original = picture(hit, table, 0, false);
    original.alt = preview.alt;
    original.addEventListener("load", () => {
      if (!preview.isConnected) return;
      preview.replaceWith(original);
      this.zoom.draw();
    }, { once: true });
    original.addEventListener("error", () => toast("The original is too large or of a format that browsers do not show. Download it"), { once: true });
  }

  // Let the picture fill the window, or show what is known of it beside it again.
  fill() {
    const isWhole = this.dialog.classList.toggle("whole");
    const button = this.dialog.querySelector("[data-control=whole]");
    button.setAttribute("aria-pressed", isWhole);
    this.zoom?.fit();
    if (isWhole) this.zoom?.act.enlarged();
  }

  actions(hit) {
    const button = (text, onclick) => el("button", { type: "button", class: "plain", onclick }, text);
    const address = webAddress(hit.url);
    return el("div", { class: "buttons" },
      button("More like this", () => this.act.findSimilar(hit)),
      button("Add to the search", () => this.act.add(hit)),
      button("Subtract", () => this.act.subtract(hit)),
      button("Copy caption", () => copyText(hit.caption, "Caption")),
      button("Copy address", () => copyText(hit.url, "Address")),
      button("Copy id", () => copyText(String(hit.id), "Id")),
      address && el("a", { class: "plain", href: address, target: "_blank", rel: "noopener noreferrer" }, "Open the original"));
  }

  showPlace() {
    const { at, count, hasMore } = this.act.place(this.id);
    const find = (name) => this.dialog.querySelector(name);
    if (!find(".place")) return;
    find(".place").textContent = at < 0 ? "" : `${at + 1} of ${count}${hasMore ? "+" : ""}`;
    find("[data-control=previous]").disabled = at <= 0;
    find("[data-control=next]").disabled = at < 0 || (at === count - 1 && !hasMore);
  }

  async fillNeighbours(id, modality, table, signal) {
    if (modality === "text" && !this.row.caption) { // all without a caption are alike
      this.dialog.querySelector("[data-modality=text]").hidden = true;
      return [];
    }
    const path = inTable(`/api/items/${id}/neighbours?k=${NEIGHBOURS}&modality=${modality}`, table);
    const { hits } = await getJson(path, signal);
    const list = this.dialog.querySelector(`[data-modality=${modality}] ul`);
    list.replaceChildren(...hits.map((hit) => this.neighbour(hit, table)));
    if (!hits.length) list.replaceChildren(el("li", { class: "note" }, "No neighbours found."));
    return hits;
  }

  neighbour(hit, table) {
    const image = picture(hit, table, 256);
    const item = el("li", {},
      el("a", { href: this.act.href(hit), onclick: follow(() => this.act.open(hit)), title: hit.caption },
        image,
        el("span", { class: "words" }, nameOf(hit)),
        hit.note ? el("span", { class: "match" }, hit.note) : hit.score !== null && el("span", { class: "match" }, hit.score.toFixed(3))));
    image.addEventListener("error", () => { item.hidden = true; }, { once: true });
    return item;
  }

  fail(message) {
    this.dialog.querySelector(".problem")?.remove();
    if (!this.dialog.querySelector(".bar")) {
      this.dialog.replaceChildren(
        el("h2", { id: "detail-title" }, "This row cannot be shown"),
        el("button", { type: "button", class: "plain", onclick: () => this.dialog.close() }, "Close"));
    }
    this.dialog.append(el("p", { class: "problem", role: "alert" }, message));
  }

  onKey(event) {
    if (this.onZoomKey(event)) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.matches("ul, input, textarea, video")) return; // the arrow keys scroll these
    event.preventDefault();
    this.act.step(this.id, step);
  }

  onZoomKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, textarea, video")) return false;
    const work = {
      "+": () => this.zoom?.in(), "=": () => this.zoom?.in(), "-": () => this.zoom?.out(), 0: () => this.zoom?.fit(), f: () => this.fill(),
    }[event.key];
    if (!work) return false;
    event.preventDefault();
    work();
    return true;
  }
}

const titleOf = ({ id, caption, file_name: name }) => caption || name || `Row ${id}`;
