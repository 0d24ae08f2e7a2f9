// Lays out pictures in rows that fill the width and keep the shape of each picture.

const NARROWEST = 0.5;
const WIDEST = 2.8;

// The size of each picture, given its shape (width / height): greedy rows near `target` pixels
// high, stretched to fill `width`; the last row is not stretched.
export function justify(shapes, width, target, gap) {
  const sizes = [];
  let row = [];
  let sum = 0;
  const place = (height) => {
    for (const shape of row) sizes.push({ width: Math.floor(shape * height * 100) / 100, height });
    row = [];
    sum = 0;
  };
  for (const shape of shapes) {
    const kept = Math.min(WIDEST, Math.max(NARROWEST, shape || 1));
    const room = (count) => width - gap * (count - 1);
    const without = room(row.length) / sum;
    const withIt = room(row.length + 1) / (sum + kept);
    // End the row at the picture that brings its height nearest to the target.
    if (row.length && withIt < target && Math.abs(without - target) < Math.abs(withIt - target)) place(without);
    row.push(kept);
    sum += kept;
    if (room(row.length) / sum <= target) place(room(row.length) / sum);
  }
  if (row.length) place(Math.min(target, (width - gap * (row.length - 1)) / sum));
  return sizes;
}
