// Results as files, and the search as text to paste elsewhere.

import { $, copyText, el, toast } from "./dom.js";
import { isAsking, isPrivate } from "./state.js";

const WHAT = { command: "Command", python: "Python", sql: "SQL" };

export function offerTakeaway(results, current) {
  const run = (work) => async (event) => {
    if (!isAsking(current())) return toast("Search for something first");
    const button = event.currentTarget;
    button.disabled = true;
    try {
      await work(button.dataset);
    } catch (error) {
      toast(error.message);
    } finally {
      button.disabled = false;
      button.focus();
    }
    return undefined;
  };
  for (const button of $("take").querySelectorAll("[data-format]")) {
    button.addEventListener("click", run(({ format }) => download(results, format)));
  }
  for (const button of $("take").querySelectorAll("[data-code]")) {
    button.addEventListener("click", run(({ code }) => (code === "link" ? copyLink(current()) : copyCode(results, code))));
  }
}

const count = () => Math.min(10_000, Math.max(1, Math.round(Number($("take-count").value)) || 100));

async function download(results, format) {
  const address = URL.createObjectURL(await results.file(format, count()));
  const link = el("a", { href: address, download: `cliphouse.${format}`, class: "hidden" });
  $("take").append(link); // a click outside the menu would close it
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

async function copyCode(results, kind) {
  const code = await results.code(count());
  if (code[kind] === null) return toast("These words would be taken for a file or a row there; copy the Python instead");
  const notes = code.notes.length ? `; ${code.notes.join(", ")}` : "";
  return copyText(code[kind], WHAT[kind] + notes);
}

function copyLink(state) {
  const without = isPrivate(state) ? "Link (without your picture, which it cannot hold)" : "Link";
  return copyText(location.href, without);
}
