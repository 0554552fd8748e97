// A drawing that is larger than its place: made smaller and larger, pulled about by the mouse, scrolled by all else.

const STEP = 1.25;
const [LEAST, MOST] = [0.05, 4];
const ROOMY = 1.35; // times life size that a small drawing is shown at, if it still is all in sight
const TALL = 640; // [px]

/** `drawing` within `view`, which scrolls; as wide as there is room until somebody asks for another size. */
export class Zoom {
  constructor(drawing, view) {
    Object.assign(this, { drawing, view, scale: 1, fitting: true, dragged: false, width: 1, height: 1 });
    view.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    view.addEventListener("pointerdown", (event) => this.drag(event));
    view.addEventListener("dragstart", (event) => event.preventDefault());
    new ResizeObserver(() => this.fitting && this.fit()).observe(view);
  }

  /** The drawing has another size [px at life size]. */
  size(width, height) {
    Object.assign(this, { width, height });
    this.drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    if (this.fitting) this.fit();
    else this.apply();
  }

  /** As wide as there is room. */
  fit() {
    const room = (this.view.clientWidth || 900) / this.width;
    this.scale = Math.min(room, Math.max(1, Math.min(ROOMY, TALL / this.height)));
    this.fitting = true;
    this.apply();
  }

  larger() {
    this.by(STEP);
  }

  smaller() {
    this.by(1 / STEP);
  }

  /** Larger by a factor; what is at the point of the window, or in the middle, stays there. */
  by(factor, at = null) {
    const box = this.view.getBoundingClientRect();
    const [x, y] = at ? [at.x - box.left, at.y - box.top] : [box.width / 2, box.height / 2];
    const before = this.scale;
    this.scale = Math.max(LEAST, Math.min(MOST, before * factor));
    this.fitting = false;
    const grown = this.scale / before;
    const [left, top] = [(this.view.scrollLeft + x) * grown - x, (this.view.scrollTop + y) * grown - y];
    this.apply();
    this.view.scrollTo(left, top);
  }

  /** Scroll so that an element of the drawing is in sight. */
  reveal(element) {
    const [seen, own] = [this.view.getBoundingClientRect(), element.getBoundingClientRect()];
    this.view.scrollLeft += Math.max(0, own.right + 20 - seen.right) + Math.min(0, own.left - 20 - seen.left);
    this.view.scrollTop += Math.max(0, own.bottom + 20 - seen.bottom) + Math.min(0, own.top - 20 - seen.top);
    if (own.bottom > innerHeight || own.top < 0) element.scrollIntoView({ block: "nearest" });
  }

  apply() {
    this.drawing.setAttribute("width", this.width * this.scale);
    this.drawing.setAttribute("height", this.height * this.scale);
  }

  wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    this.by(2 ** (-event.deltaY / 200), { x: event.clientX, y: event.clientY });
  }

  /** `dragged` tells the click that ends it from one that was meant; fingers scroll anyway. */
  drag(start) {
    this.dragged = false;
    if (start.pointerType !== "mouse" || start.button) return;
    const [left, top] = [this.view.scrollLeft, this.view.scrollTop];
    const move = (event) => {
      const [x, y] = [event.clientX - start.clientX, event.clientY - start.clientY];
      if (Math.hypot(x, y) > 4) this.dragged = true;
      if (this.dragged) this.view.scrollTo(left - x, top - y);
    };
    document.addEventListener("pointermove", move);
    document.addEventListener("pointerup", () => document.removeEventListener("pointermove", move), { once: true });
  }
}
