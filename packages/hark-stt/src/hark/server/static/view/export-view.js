/** Taking the transcript away: to the clipboard, or as a file. */

import { FORMATS, toText } from "../transcript/formats.js";
import { element } from "./elements.js";

/** Milliseconds for which a button says that it was done. */
const DONE_MS = 2000;

export class ExportView {
  #copy = element("copy", HTMLButtonElement);
  #clear = element("clear", HTMLButtonElement);
  #downloads = /** @type {HTMLButtonElement[]} */ ([...document.querySelectorAll("[data-format]")]);
  /** Whether there is something that was neither copied nor downloaded. */
  isUnsaved = false;

  /**
   * @param {object} handlers
   * @param {() => import("../transcript/transcript.js").Caption[]} handlers.captions
   * @param {() => string} handlers.fileName without its extension
   * @param {() => void} handlers.onClear
   */
  constructor({ captions, fileName, onClear }) {
    this.#copy.addEventListener("click", async () => {
      await copy(toText(captions()));
      this.isUnsaved = false;
      confirmOn(this.#copy, "Copied");
    });
    this.#clear.addEventListener("click", onClear);
    for (const button of this.#downloads) {
      button.addEventListener("click", () => {
        const extension = /** @type {keyof typeof FORMATS} */ (button.dataset.format);
        const { mediaType, render } = FORMATS[extension];
        download(`${fileName()}.${extension}`, mediaType, render(captions()));
        this.isUnsaved = false;
      });
    }
  }

  /**
   * @param {boolean} hasCaptions
   * @param {boolean} canClear
   */
  update(hasCaptions, canClear) {
    for (const button of [this.#copy, ...this.#downloads]) button.disabled = !hasCaptions;
    this.#clear.disabled = !canClear;
  }
}

/** @param {string} text */
async function copy(text) {
  if (navigator.clipboard !== undefined) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Browsers give the clipboard to secure pages only, and this way to all.
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/**
 * @param {string} name
 * @param {string} mediaType
 * @param {string} content
 */
function download(name, mediaType, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: mediaType }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/**
 * @param {HTMLButtonElement} button
 * @param {string} done
 */
function confirmOn(button, done) {
  const words = "Copy";
  button.textContent = done;
  setTimeout(() => (button.textContent = words), DONE_MS);
}
