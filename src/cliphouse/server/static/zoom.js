// A picture that can be enlarged and moved: by wheel, by double click, by two fingers, by keys. A
// finger that moves sideways over a picture that is not enlarged goes to the next one.

const MOST = 8;
const STEP = 1.5;
const SWIPE = 50; // pixels

export class Zoom {
  // `act` has enlarged(), called before the first enlargement, and swiped(by).
  constructor(box, act) {
    this.box = box;
    this.act = act;
    this.fingers = new Map();
    this.fit();
    box.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    box.addEventListener("dblclick", (event) => this.to(this.scale > 1 ? 1 : this.original(), this.at(event)));
    box.addEventListener("pointerdown", (event) => this.onDown(event));
    box.addEventListener("pointermove", (event) => this.onMove(event));
    for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, (event) => this.onUp(event));
    box.addEventListener("dragstart", (event) => event.preventDefault());
  }

  get image() {
    return this.box.querySelector("img");
  }

  fit() {
    Object.assign(this, { scale: 1, x: 0, y: 0 });
    this.draw();
  }

  by(factor) {
    this.to(this.scale * factor, { x: 0, y: 0 });
  }

  in() {
    this.by(STEP);
  }

  out() {
    this.by(1 / STEP);
  }

  // The scale at which a pixel of the picture is one of the screen, at least 2.
  original() {
    const { naturalWidth = 0, clientWidth = 1 } = this.image ?? {};
    return Math.min(MOST, Math.max(2, naturalWidth / clientWidth / (devicePixelRatio || 1)));
  }

  // Scale so that the point `at`, from the box's middle, stays where it is.
  to(scale, at) {
    const next = Math.min(MOST, Math.max(1, scale));
    if (next > 1 && this.scale === 1) this.act.enlarged();
    this.x = at.x - ((at.x - this.x) * next) / this.scale;
    this.y = at.y - ((at.y - this.y) * next) / this.scale;
    this.scale = next;
    this.draw();
  }

  move(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.draw();
  }

  // The picture's edges stay at the box's edges, or outside.
  draw() {
    const { clientWidth, clientHeight } = this.box;
    const most = (side) => (side * (this.scale - 1)) / 2;
    this.x = Math.max(-most(clientWidth), Math.min(most(clientWidth), this.x));
    this.y = Math.max(-most(clientHeight), Math.min(most(clientHeight), this.y));
    this.box.classList.toggle("enlarged", this.scale > 1);
    if (this.image) this.image.style.transform = this.scale > 1 ? `translate(${this.x}px, ${this.y}px) scale(${this.scale})` : "";
  }

  at({ clientX, clientY }) {
    const box = this.box.getBoundingClientRect();
    return { x: clientX - box.left - box.width / 2, y: clientY - box.top - box.height / 2 };
  }

  // Without Ctrl the wheel scrolls the view, unless the picture fills it or is enlarged.
  onWheel(event) {
    if (!event.ctrlKey && this.scale === 1 && !this.box.closest(".whole")) return;
    event.preventDefault();
    this.to(this.scale * 1.0015 ** -event.deltaY, this.at(event));
  }

  onDown(event) {
    if (event.button) return;
    this.fingers.set(event.pointerId, { x: event.clientX, y: event.clientY, left: event.clientX, top: event.clientY });
    if (this.scale > 1) this.box.setPointerCapture(event.pointerId);
  }

  onMove(event) {
    const finger = this.fingers.get(event.pointerId);
    if (!finger) return;
    const before = this.spread();
    const [dx, dy] = [event.clientX - finger.x, event.clientY - finger.y];
    Object.assign(finger, { x: event.clientX, y: event.clientY });
    const after = this.spread();
    if (after) this.to((this.scale * after.distance) / before.distance, this.at({ clientX: after.x, clientY: after.y }));
    else if (this.scale > 1) this.move(dx, dy);
  }

  // The distance of two fingers and the point between them; null for one finger.
  spread() {
    if (this.fingers.size !== 2) return null;
    const [one, other] = this.fingers.values();
    return { distance: Math.max(1, Math.hypot(one.x - other.x, one.y - other.y)), x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 };
  }

  onUp(event) {
    const finger = this.fingers.get(event.pointerId);
    const isLast = this.fingers.size === 1;
    this.fingers.delete(event.pointerId);
    if (!finger || !isLast || this.scale > 1 || event.pointerType === "mouse" || event.type === "pointercancel") return;
    const [dx, dy] = [event.clientX - finger.left, event.clientY - finger.top];
    if (Math.abs(dx) > SWIPE && Math.abs(dx) > 2 * Math.abs(dy)) this.act.swiped(dx < 0 ? 1 : -1);
  }
}
