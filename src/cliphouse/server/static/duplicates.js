// The view of duplicates: all groups of pictures that are the same file, or nearly the same picture.

import { post } from "./api.js";
import { $, el, grouped } from "./dom.js";
import { pathOf, picture } from "./picture.js";
import { showProblem } from "./status.js";
import { follow } from "./tile.js";

const THRESHOLDS = [0.99, 0.97, 0.94];
const USUAL = 0.97;
const PAGE = 50; // groups
const KINDS = { file: "the same file", picture: "similar pictures" };

let view = null;

// Show the duplicates among the rows that `asked`, with filter and table, means. `act` has href(hit),
// open(hit) and selectThese(hits).
export function showDuplicates(asked, act) {
  view ??= new Duplicates($("duplicates"));
  return view.show(asked, act);
}

class Duplicates {
  constructor(root) {
    this.asked = null;
    this.groups = [];
    this.said = el("p", { class: "quiet", role: "status", "aria-live": "polite" });
    this.bar = el("progress", { "aria-label": "Compared", max: 1, hidden: true });
    this.threshold = el("select", { onchange: () => this.start() }, THRESHOLDS.map((value) => el("option", { value, selected: value === USUAL }, value)));
    const button = (text, onclick) => el("button", { type: "button", class: "plain", onclick }, text);
    this.all = button("Select all but one of each", () => this.act.selectThese(this.groups.flatMap(({ rows }) => rows.slice(1).map(asHit))));
    this.more = button("Show more groups", () => this.draw());
    this.list = el("div", {});
    root.replaceChildren(
      el("div", { class: "status" }, el("div", {}, this.said, this.bar),
        el("div", { class: "buttons" }, el("label", { class: "field" }, "Alike from ", this.threshold), button("Compare again", () => this.start()), this.all)),
      this.list, this.more);
  }

  async show(asked, act) {
    this.act = act;
    const text = JSON.stringify(asked);
    if (text === this.asked) return;
    this.asked = text;
    await this.start();
  }

  async start() {
    this.controller?.abort();
    const { signal } = (this.controller = new AbortController());
    this.groups = [];
    this.list.replaceChildren();
    showProblem("");
    this.all.hidden = this.more.hidden = true;
    this.bar.hidden = false;
    this.bar.removeAttribute("value");
    this.said.textContent = "Comparing all pictures";
    try {
      const body = { ...JSON.parse(this.asked), threshold: Number(this.threshold.value) };
      for await (const line of linesOf(await post("/api/duplicates", body, signal))) {
        if (line.error) throw new Error(line.error.message);
        if (line.progress) this.bar.value = line.progress[0] / Math.max(1, line.progress[1]);
        else this.take(line);
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      this.said.textContent = "";
      showProblem(error.message);
    }
    this.bar.hidden = true;
  }

  take({ groups, total, more }) {
    this.groups = groups;
    const rest = total > groups.length ? `; the ${grouped(groups.length)} largest are listed` : "";
    this.said.textContent = total ? `${count(total, "group")}, ${count(more, "picture")} more than one of each${rest}` : "No duplicates found";
    this.all.hidden = !total;
    this.draw();
  }

  // Show the next groups.
  draw() {
    const from = this.list.children.length;
    this.list.append(...this.groups.slice(from, from + PAGE).map((group, at) => this.group(group, from + at + 1)));
    this.more.hidden = this.list.children.length >= this.groups.length;
    if (from) this.list.children[from].querySelector("a").focus();
  }

  group({ kind, count: size, rows }, number) {
    const name = `Group ${number}: ${grouped(size)} rows, ${KINDS[kind]}`;
    const left = size - rows.length;
    return el("section", { class: "neighbours duplicates", "aria-label": name },
      el("h2", {}, name),
      el("button", { type: "button", class: "plain", onclick: () => this.act.selectThese(rows.slice(1).map(asHit)) }, "Select all but the first"),
      el("ul", { role: "list", tabindex: 0, "aria-label": name },
        rows.map((row, at) => this.row(row, kind === "picture" && at > 0)),
        left > 0 && el("li", { class: "note" }, `and ${grouped(left)} more`)));
  }

  row(row, isScored) {
    const path = pathOf(row);
    const image = picture(row, JSON.parse(this.asked).table, 256);
    image.addEventListener("error", () => image.replaceWith(el("span", { class: "note" }, "not there")), { once: true });
    return el("li", {}, el("a", { href: this.act.href(row), onclick: follow(() => this.act.open(asHit(row))), title: [path, row.caption].filter(Boolean).join("\n") },
      image,
      el("span", { class: "words" }, path.split("/").at(-1) || row.caption || `Row ${row.id}`),
      el("span", { class: "match" }, [isScored && row.score.toFixed(3), path.split("/").at(-2)].filter(Boolean).join(" · "))));
  }
}

const asHit = (row) => ({ ...row, score: null, folded: 0 });
const count = (number, what) => `${grouped(number)} ${what}${number === 1 ? "" : "s"}`;

// The lines of an answer, each of which is JSON, as they come.
async function* linesOf(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
    if (done) return;
  }
}
