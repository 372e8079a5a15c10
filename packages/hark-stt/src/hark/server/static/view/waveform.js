/** How loud it was in the last seconds, as bars; the newest is on the right. */

import { element } from "./elements.js";

const BAR_WIDTH = 4;
const BAR_DISTANCE = 7;

/**
 * Milliseconds between announced levels; a meter that changes all the time is of no use to a screen
 * reader.
 */
const METER_INTERVAL_MS = 1000;

export class Waveform {
  #canvas = element("waveform", HTMLCanvasElement);
  #meter = element("level", HTMLElement);
  #isStill = matchMedia("(prefers-reduced-motion: reduce)");
  /** @type {number[]} the newest last */
  #levels = [];
  #isDrawing = false;
  #metered = 0;

  constructor() {
    new ResizeObserver(() => this.#redraw()).observe(this.#canvas);
    const redraw = () => this.#redraw();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    new MutationObserver(redraw).observe(document.documentElement, {
      attributeFilter: ["data-theme"],
    });
  }

  set hidden(/** @type {boolean} */ isHidden) {
    this.#canvas.hidden = isHidden;
  }

  /** @param {number} level 0 to 1 */
  push(level) {
    this.#levels.push(level);
    if (this.#levels.length > 600) this.#levels.splice(0, 300);
    const now = performance.now();
    if (now - this.#metered > METER_INTERVAL_MS) {
      this.#metered = now;
      this.#meter.ariaValueNow = String(Math.round(level * 100));
    }
    this.#redraw();
  }

  clear() {
    this.#levels = [];
    this.#meter.ariaValueNow = "0";
    this.#redraw();
  }

  #redraw() {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    requestAnimationFrame(() => {
      this.#isDrawing = false;
      this.#draw();
    });
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = devicePixelRatio;
    this.#canvas.width = width * scale;
    this.#canvas.height = height * scale;
    const pen = this.#canvas.getContext("2d");
    if (pen === null || width === 0) return;
    pen.scale(scale, scale);
    pen.fillStyle = getComputedStyle(this.#canvas).color;
    if (this.#isStill.matches) this.#drawLevel(pen, width, height);
    else this.#drawBars(pen, width, height);
  }

  /**
   * @param {CanvasRenderingContext2D} pen
   * @param {number} width
   * @param {number} height
   */
  #drawBars(pen, width, height) {
    const count = Math.floor(width / BAR_DISTANCE);
    for (let i = 0; i < count; i++) {
      const level = this.#levels.at(-1 - i) ?? 0;
      const bar = Math.max(BAR_WIDTH, level * height);
      pen.globalAlpha = level > 0 ? 1 - (0.75 * i) / count : 0.25;
      pen.beginPath();
      pen.roundRect(
        width - (i + 1) * BAR_DISTANCE,
        (height - bar) / 2,
        BAR_WIDTH,
        bar,
        BAR_WIDTH / 2,
      );
      pen.fill();
    }
  }

  /**
   * One bar that grows, for those whom things that wander disturb.
   * @param {CanvasRenderingContext2D} pen
   * @param {number} width
   * @param {number} height
   */
  #drawLevel(pen, width, height) {
    const thickness = 8;
    for (const [alpha, length] of [
      [0.25, width],
      [1, width * (this.#levels.at(-1) ?? 0)],
    ]) {
      pen.globalAlpha = alpha;
      pen.beginPath();
      pen.roundRect(0, (height - thickness) / 2, length, thickness, thickness / 2);
      pen.fill();
    }
  }
}
