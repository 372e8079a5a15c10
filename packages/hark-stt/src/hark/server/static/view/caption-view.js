/** The transcript on the page: finished captions, and the one that is being said. */

import { clockTime, element } from "./elements.js";

/** Pixels from the end within which the reader is taken to follow. */
const FOLLOWING_WITHIN = 80;

/**
 * @typedef {import("../transcript/transcript.js").Caption} Caption
 * @typedef {import("../transcript/transcript.js").Gap} Gap
 * @typedef {import("../transcript/transcript.js").OpenUtterance} OpenUtterance
 */

export class CaptionView {
  #scroller = element("transcript", HTMLElement);
  #captions = element("captions", HTMLElement);
  #open = element("open", HTMLElement);
  #welcome = element("welcome", HTMLElement);
  #newest = element("newest", HTMLButtonElement);
  #isFollowing = true;

  constructor() {
    this.#scroller.addEventListener("scroll", () => this.#noticeScroll(), { passive: true });
    new ResizeObserver(() => this.#follow()).observe(this.#scroller);
    this.#newest.addEventListener("click", () => {
      this.#isFollowing = true;
      this.#follow();
      this.#scroller.focus({ preventScroll: true });
    });
  }

  /** Whether a screen reader says new captions as they come. */
  set areReadOut(/** @type {boolean} */ areReadOut) {
    this.#captions.ariaLive = areReadOut ? "polite" : "off";
  }

  /** @param {Caption | Gap} entry */
  append(entry) {
    this.#welcome.hidden = true;
    this.#captions.append(entry.kind === "gap" ? gapRow(entry) : captionRow(entry));
    this.#follow();
  }

  /** @param {OpenUtterance | null} open */
  showOpen(open) {
    this.#open.hidden = open === null;
    if (open !== null) {
      this.#welcome.hidden = true;
      part(this.#open, "time").textContent = clockTime(open.startS);
      part(this.#open, ".stable").textContent = open.stable;
      part(this.#open, ".unstable").textContent = open.unstable;
    }
    this.#follow();
  }

  clear() {
    this.#captions.replaceChildren();
    this.#welcome.hidden = false;
    this.#isFollowing = true;
    this.showOpen(null);
  }

  /** Keep the newest words in sight, unless the reader has gone back. */
  #follow() {
    if (this.#isFollowing) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#newest.hidden = this.#isFollowing;
  }

  #noticeScroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    this.#isFollowing = scrollHeight - scrollTop - clientHeight < FOLLOWING_WITHIN;
    this.#newest.hidden = this.#isFollowing;
  }
}

/** @param {Caption} caption */
function captionRow({ startS, text }) {
  return row("caption", startS, text);
}

/** @param {Gap} gap */
function gapRow({ startS, endS }) {
  const seconds = Math.max(1, Math.round(endS - startS));
  return row(
    "caption gap",
    startS,
    `${seconds} ${seconds === 1 ? "second" : "seconds"} could not be captioned.`,
  );
}

/**
 * @param {string} className
 * @param {number} startS
 * @param {string} text
 */
function row(className, startS, text) {
  const paragraph = document.createElement("p");
  paragraph.className = className;
  const time = document.createElement("time");
  time.textContent = clockTime(startS);
  time.setAttribute("aria-hidden", "true"); // read out before every sentence it would be in the way
  const words = document.createElement("span");
  words.className = "text";
  words.dir = "auto";
  words.textContent = text;
  paragraph.append(time, words);
  return paragraph;
}

/**
 * @param {HTMLElement} parent
 * @param {string} selector
 */
function part(parent, selector) {
  return /** @type {HTMLElement} */ (parent.querySelector(selector));
}
