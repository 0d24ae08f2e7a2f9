// The Export menu: downloads the results, and copies the search as code or as a link.

import { hasKey, linkWithKey } from "./api.js";
import { $, copyText, saveFile, toast } from "./dom.js";
import { isAsking, isPrivate } from "./state.js";

const LABELS = { command: "Command", python: "Python", sql: "SQL" };

// `shown` is what is shown, the results of the search or a list; `current` the page's state.
export function offerExport(shown, current) {
  const run = (work) => async (event) => {
    const button = event.currentTarget;
    if (!isAsking(current()) && button.dataset.code && !(button.dataset.code in LINKS)) return toast("Only a search by meaning can be copied as code");
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
  for (const button of $("export").querySelectorAll("[data-format]")) {
    button.addEventListener("click", run(({ format }) => download(shown(), format)));
  }
  for (const button of $("export").querySelectorAll("[data-code]")) {
    button.addEventListener("click", run(({ code }) => (LINKS[code] ? LINKS[code](current()) : copyCode(shown(), code))));
  }
  $("export-menu").addEventListener("toggle", () => { $("link-with-key").hidden = !hasKey(); });
}

const count = () => Math.min(10_000, Math.max(1, Math.round(Number($("export-count").value)) || 100));

async function download(results, format) {
  saveFile(await results.file(format, count()), `cliphouse.${format}`);
}

async function copyCode(results, kind) {
  const code = await results.code(count());
  if (code[kind] === null) return toast("A command line would read these words as a file or a row. Copy the Python instead");
  const notes = code.notes.filter((note) => kind === "sql" || !note.startsWith("the SQL "));
  await copyText(code[kind], LABELS[kind]);
  if (notes.length) toast(`${LABELS[kind]} copied: ${notes.join(", ")}`);
  return undefined;
}

const LINKS = {
  link: (state) => copyText(location.href, isPrivate(state) ? "Link (without your picture)" : "Link"),
  keyed: () => copyText(linkWithKey(), "Link with your key, for anyone who has it,"),
};
