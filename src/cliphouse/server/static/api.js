// Requests to the service. An error carries the message that the service sent.

import { $ } from "./dom.js";

const STORED = "cliphouse key";
takeKey();
let key = sessionStorage.getItem(STORED) ?? "";
let keyDialog = null; // the promise of an open dialog

export class ServiceProblem extends Error {}

export const hasKey = () => key !== "";

// The address with the key in its fragment, which browsers send to no service.
export const linkWithKey = () => `${location.href.split("#")[0]}#key=${encodeURIComponent(key)}`;

// Take the key out of a link that was shared with it; whether there is one.
function takeKey() {
  const shared = new URLSearchParams(location.hash.slice(1)).get("key");
  if (shared === null) return false;
  sessionStorage.setItem(STORED, shared);
  history.replaceState(history.state, "", location.pathname + location.search);
  return true;
}

// A link that is pasted where the page is open changes only the fragment, and loads nothing.
addEventListener("hashchange", () => {
  if (takeKey()) location.reload();
});

export async function getJson(path, signal) {
  return (await ask(path, { signal })).json();
}

export async function postJson(path, body, signal) {
  return (await post(path, body, signal)).json();
}

export function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return ask(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

// Throws ServiceProblem with a message to show. An AbortError passes through.
export async function ask(path, options) {
  const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceProblem("The service cannot be reached. Is cliphouse serve still running?");
  }
  if (response.status === 401) {
    await askForKey();
    return ask(path, options);
  }
  if (response.ok) return response;
  throw new ServiceProblem(await problemOf(response));
}

async function problemOf(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The service answered ${response.status}`;
  }
}

// Concurrent requests share one dialog.
function askForKey() {
  keyDialog ??= new Promise((resolve) => {
    const dialog = $("key-dialog");
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("close", () => {
      key = $("key").value;
      sessionStorage.setItem(STORED, key);
      keyDialog = null;
      resolve();
    }, { once: true });
    $("key-problem").hidden = !key;
    $("key").value = "";
    dialog.showModal();
  });
  return keyDialog;
}

export const inTable = (path, table) =>
  table ? `${path}${path.includes("?") ? "&" : "?"}table=${encodeURIComponent(table)}` : path;
