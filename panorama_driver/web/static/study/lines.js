// Thousands of lines on a canvas: a few at a time, those of one colour in one stroke, so that no frame takes long.

const FIRST = 800;
const LEAST = 250;
const MOST = 1200;
const FRAME = 40; // [ms] above which a frame draws fewer lines, below half of which it draws more

/** One layer of lines. */
export class Layer {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.portion = FIRST;
    this.back = document.createElement("canvas");
    this.drawn = 0;
    this.frames = [];
  }

  /** Set the size in pixels of the page; what was drawn is gone. */
  size(width, height) {
    const sharp = Math.min(globalThis.devicePixelRatio || 1, 2);
    if (this.canvas.width === Math.round(width * sharp) && this.canvas.height === Math.round(height * sharp)) return;
    this.canvas.width = Math.round(width * sharp);
    this.canvas.height = Math.round(height * sharp);
    this.drawn = 0;
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
    this.context.setTransform(sharp, 0, 0, sharp, 0, 0);
  }

  /**
   * Draw lines: `order` says which and in what order, `xs` and `ys` where (`ys` a column an axis), `styles` how, and
   * `style` which of them by line. What is being drawn is given up. The first ones are a fair sample of all, seen at
   * once; with `calm`, what was there stays until all are drawn.
   */
  paint({ calm = false, ...asked }) {
    cancelAnimationFrame(this.waiting);
    const work = { ...asked, next: 0, context: calm && this.drawn ? this.behind() : this.context };
    const step = (now) => {
      if (work.last) this.took(now - work.last);
      work.last = now;
      if (!work.next && work.context === this.context) this.clear();
      this.some(work);
      if (work.next < work.order.length) this.waiting = requestAnimationFrame(step);
      else if (work.context !== this.context) this.show();
      this.drawn = work.context === this.context || work.next === work.order.length ? work.next : this.drawn;
    };
    this.waiting = requestAnimationFrame(step);
  }

  /** An empty sheet of the same size, not seen. */
  behind() {
    Object.assign(this.back, { width: this.canvas.width, height: this.canvas.height });
    const context = this.back.getContext("2d");
    context.setTransform(this.context.getTransform());
    return context;
  }

  show() {
    this.clear();
    this.plainly((context) => context.drawImage(this.back, 0, 0));
  }

  clear() {
    this.plainly((context) => context.clearRect(0, 0, this.canvas.width, this.canvas.height));
  }

  /** In pixels of the canvas, with nothing shining through. */
  plainly(act) {
    this.context.save();
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.globalAlpha = 1;
    act(this.context);
    this.context.restore();
  }

  some(work) {
    const until = Math.min(work.next + this.portion, work.order.length);
    const heaps = new Map();
    for (; work.next < until; work.next += 1) {
      const line = work.order[work.next];
      const style = work.style(line);
      if (!heaps.has(style)) heaps.set(style, []);
      heaps.get(style).push(line);
    }
    for (const [style, lines] of heaps) stroke(work, lines, work.styles[style]);
  }

  took(time) {
    this.frames.push(time);
    if (this.frames.length > 200) this.frames.shift();
    if (time > FRAME) this.portion = Math.max(LEAST, Math.round(this.portion / 2));
    else if (time < FRAME / 2) this.portion = Math.min(MOST, Math.round(this.portion * 1.3));
  }
}

function stroke({ context, xs, ys }, lines, { colour, width = 1, alpha = 1, dash = [] }) {
  Object.assign(context, { strokeStyle: colour, lineWidth: width, globalAlpha: alpha });
  context.setLineDash(dash);
  context.beginPath();
  for (const line of lines) {
    context.moveTo(xs[0], ys[0][line]);
    for (let axis = 1; axis < xs.length; axis += 1) context.lineTo(xs[axis], ys[axis][line]);
  }
  context.stroke();
}

/** Numbers below `count` in an order of which each beginning is a fair sample of all. */
export function mixed(count) {
  let step = Math.max(1, Math.round(count * 0.6180339887));
  while (divisor(step, count) !== 1) step += 1;
  return Uint32Array.from({ length: count }, (_, i) => (i * step) % count);
}

function divisor(a, b) {
  return b ? divisor(b, a % b) : a;
}
