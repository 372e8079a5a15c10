/** Questions that must be answered before it can go on. */

import { element } from "./elements.js";

/**
 * Ask for an API key.
 * @param {string} problem with the last one; empty if this is the first
 * @returns {Promise<{key: string, remember: boolean} | null>} null if there is none
 */
export function askForKey(problem) {
  const dialog = element("key-dialog", HTMLDialogElement);
  const input = element("key", HTMLInputElement);
  element("key-problem", HTMLElement).textContent = problem;
  input.value = "";
  const answer = show(dialog, () => {
    return { key: input.value.trim(), remember: element("remember-key", HTMLInputElement).checked };
  });
  input.focus();
  return answer;
}

/**
 * Ask anything.
 * @template {string} T
 * @param {string} title
 * @param {string} text
 * @param {Record<T, string>} answers words by meaning; the last one is the likely one
 * @returns {Promise<T | null>} null if the question was dismissed
 */
export function ask(title, text, answers) {
  const dialog = element("question", HTMLDialogElement);
  element("question-title", HTMLElement).textContent = title;
  element("question-text", HTMLElement).textContent = text;
  const choices = /** @type {[T, string][]} */ (Object.entries(answers));
  const buttons = choices.map(([meaning, words], index) => {
    const button = document.createElement("button");
    button.value = meaning;
    button.textContent = words;
    button.className = index === choices.length - 1 ? "primary" : "secondary";
    return button;
  });
  element("question-answers", HTMLElement).replaceChildren(...buttons);
  const answer = show(dialog, (button) => /** @type {T} */ (button.value));
  buttons.at(-1)?.focus();
  return answer;
}

/**
 * @template T
 * @param {HTMLDialogElement} dialog
 * @param {(button: HTMLButtonElement) => T} read what the button that was pressed means
 * @returns {Promise<T | null>}
 */
function show(dialog, read) {
  const { promise, resolve } = Promise.withResolvers();
  const form = /** @type {HTMLFormElement} */ (dialog.querySelector("form"));
  form.onsubmit = (event) => {
    event.preventDefault();
    resolve(read(/** @type {HTMLButtonElement} */ (event.submitter)));
    dialog.close();
  };
  const cancel = dialog.querySelector("[data-answer=cancel]");
  cancel?.addEventListener("click", () => dialog.close(), { once: true });
  dialog.onclose = () => {
    // After an answer this changes nothing. The event comes late: it may be open for the next one.
    if (!dialog.open) resolve(null);
  };
  dialog.showModal();
  return promise;
}
