/**
 * What the user has chosen: microphone, model, language, pace and text size. Remembered, for none
 * of it is secret.
 */

import { listMicrophones } from "../audio/microphone.js";
import { SafeStorage } from "../storage.js";
import { element } from "./elements.js";

/** Stands for: let the model find the language. */
const DETECT = "";

/** @typedef {import("../protocol/server.js").Model} Model */

export class Choices {
  #microphone = element("microphone", HTMLSelectElement);
  #model = element("model", HTMLSelectElement);
  #language = element("language", HTMLSelectElement);
  #pace = element("pace", HTMLSelectElement);
  #textSize = element("text-size", HTMLInputElement);
  #stored = new SafeStorage(() => localStorage);
  /** @type {Model[]} */
  #models = [];

  /** @param {() => void} onLanguage called when another language was chosen */
  constructor(onLanguage) {
    this.#remember(this.#microphone);
    this.#remember(this.#model, () => this.#offerLanguages());
    this.#remember(this.#language, onLanguage);
    this.#remember(this.#pace);
    this.#remember(this.#textSize, () => this.#applyTextSize());
    this.#restore(this.#pace);
    this.#restore(this.#textSize);
    this.#applyTextSize();
    navigator.mediaDevices?.addEventListener("devicechange", () => this.offerMicrophones());
  }

  /** The model; null while none is known. */
  get model() {
    return this.#models.find(({ id }) => id === this.#model.value) ?? null;
  }

  /** A BCP 47 tag; null to let the model find it. */
  get language() {
    return this.#language.value === DETECT ? null : this.#language.value;
  }

  /** The device's id; null for the browser's choice. */
  get microphone() {
    return this.#microphone.value || null;
  }

  /** Whether a recording is played as it was spoken. */
  get playsLive() {
    return this.#pace.value === "live";
  }

  /** What cannot be changed while a recording goes on. */
  set isBusy(/** @type {boolean} */ isBusy) {
    this.#microphone.disabled = isBusy;
    this.#model.disabled = isBusy || this.#models.length === 0;
    this.#pace.disabled = isBusy;
  }

  /** Offer what microphones there are now. */
  async offerMicrophones() {
    const named = (await listMicrophones()).filter(({ name }) => name !== "");
    const options = named.map(({ id, name }) => new Option(name, id));
    const hasOwnDefault = named.some(({ id }) => id === "default");
    this.#offer(
      this.#microphone,
      hasOwnDefault ? options : [new Option("Default", ""), ...options],
    );
  }

  /** @param {Model[]} models what the server has, the default one first */
  offerModels(models) {
    this.#models = models;
    this.#offer(
      this.#model,
      models.map(({ id }) => new Option(id, id)),
    );
    this.#model.disabled = false;
    this.#offerLanguages();
  }

  #offerLanguages() {
    const { languages = [], language_detection: canDetect = false } =
      this.model?.capabilities ?? {};
    const names = new Intl.DisplayNames(undefined, { type: "language" });
    const options = languages.map((tag) => new Option(names.of(tag) ?? tag, tag));
    options.sort((a, b) => a.text.localeCompare(b.text));
    if (canDetect) options.unshift(new Option("Detect", DETECT));
    this.#offer(this.#language, options);
    this.#language.disabled = options.length === 0;
  }

  #applyTextSize() {
    document.documentElement.dataset.textSize = this.#textSize.value;
  }

  /**
   * @param {HTMLSelectElement} select
   * @param {HTMLOptionElement[]} options
   */
  #offer(select, options) {
    const present = select.value;
    select.replaceChildren(...options);
    if (!this.#restore(select) && options.some(({ value }) => value === present))
      select.value = present;
  }

  /**
   * @param {HTMLSelectElement | HTMLInputElement} control
   * @param {() => void} [onChange]
   */
  #remember(control, onChange) {
    control.addEventListener("input", () => {
      this.#stored.set(`hark.${control.id}`, control.value);
      onChange?.();
    });
  }

  /**
   * Choose what was chosen last, if it is there.
   * @param {HTMLSelectElement | HTMLInputElement} control
   * @returns {boolean} whether it was
   */
  #restore(control) {
    const value = this.#stored.get(`hark.${control.id}`);
    if (value === null) return false;
    if (
      control instanceof HTMLSelectElement &&
      ![...control.options].some((option) => option.value === value)
    )
      return false;
    control.value = value;
    return true;
  }
}
