// Uploaded pictures. They stay in this page, and large ones are scaled down before they are sent.

import { el } from "./dom.js";

const LARGEST_SIDE = 768; // the models scale pictures to about 224 pixels
const UNSCALED_BYTES = 400_000; // files up to this size are sent unchanged
const kept = new Map();
let last = 0;

// Keep the file and return its name in the state.
export async function upload(file) {
  if (file.type && !file.type.startsWith("image/")) throw new Error("This file is not a picture");
  const blob = await shrunk(file);
  const name = `upload-${(last += 1)}`;
  kept.set(name, { base64: await toBase64(blob), label: file.name || "your picture", preview: URL.createObjectURL(blob) });
  return name;
}

export const uploaded = (name) => kept.get(name);
export const isKept = (name) => kept.has(name);

async function shrunk(file) {
  if (file.size <= UNSCALED_BYTES) return file;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return file; // the service may read a format that the browser cannot
  }
  const scale = Math.min(1, LARGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = el("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((resolve) => { canvas.toBlob((blob) => resolve(blob ?? file), "image/jpeg", 0.93); });
}

function toBase64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result.slice(reader.result.indexOf(",") + 1)));
    reader.addEventListener("error", () => reject(new Error("The picture cannot be read")));
    reader.readAsDataURL(blob);
  });
}
