/** Choosing a recording: with the button, or by dropping it on the page. */

import { element } from "./elements.js";

/**
 * @param {(file: File) => void} onFile
 * @param {() => boolean} isWelcome whether a file can be taken now
 */
export function offerFiles(onFile, isWelcome) {
  offerButton(onFile);
  offerDrop(onFile, isWelcome);
}

/** @param {(file: File) => void} onFile */
function offerButton(onFile) {
  const input = element("file-input", HTMLInputElement);
  const button = element("choose-file", HTMLButtonElement);
  button.addEventListener("click", () => {
    if (button.ariaDisabled !== "true") input.click();
  });
  input.addEventListener("change", () => {
    const file = input.files?.[0];
    if (file !== undefined) onFile(file);
    input.value = ""; // so that the same file can be chosen again
  });
}

/**
 * @param {(file: File) => void} onFile
 * @param {() => boolean} isWelcome
 */
function offerDrop(onFile, isWelcome) {
  const overlay = element("drop", HTMLElement);
  let depth = 0; // of the elements that the pointer has entered
  const show = (/** @type {number} */ change) => {
    depth = Math.max(0, depth + change);
    overlay.hidden = depth === 0 || !isWelcome();
  };
  document.addEventListener("dragenter", (event) => {
    if (hasFile(event)) show(1);
  });
  document.addEventListener("dragleave", (event) => {
    if (hasFile(event)) show(-1);
  });
  document.addEventListener("dragover", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault(); // else the file would replace the page
    if (event.dataTransfer !== null) event.dataTransfer.dropEffect = isWelcome() ? "copy" : "none";
  });
  document.addEventListener("drop", (event) => {
    show(-depth);
    const file = event.dataTransfer?.files[0];
    if (file === undefined) return;
    event.preventDefault();
    onFile(file);
  });
}

/** @param {DragEvent} event */
function hasFile(event) {
  return event.dataTransfer?.types.includes("Files") ?? false;
}
