/** Taking the transcript away: to the clipboard, or as a file. */

import { FORMATS, toText } from "../transcript/formats.js";
import { element } from "./elements.js";

/** Milliseconds for which a button says what came of it. */
const ANSWER_MS = 2000;

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
      const isCopied = await copy(toText(captions()));
      if (isCopied) this.isUnsaved = false;
      answerOn(this.#copy, isCopied ? "Copied" : "Not copied");
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

/**
 * @param {string} text
 * @returns {Promise<boolean>} whether it was done
 */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelection(text); // the page is not secure, or may not use the clipboard
  }
}

/**
 * The way that is deprecated, and that browsers leave open to every page.
 * @param {string} text
 */
function copySelection(text) {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  return isCopied;
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
 * @param {string} answer
 */
function answerOn(button, answer) {
  const words = "Copy";
  button.textContent = answer;
  setTimeout(() => (button.textContent = words), ANSWER_MS);
}
