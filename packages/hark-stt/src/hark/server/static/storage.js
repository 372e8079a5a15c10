/**
 * What the browser keeps for this page, where it keeps anything: with cookies blocked it may
 * refuse.
 */

export class SafeStorage {
  #open;

  /** @param {() => globalThis.Storage} open gives `localStorage` or `sessionStorage`; may throw */
  constructor(open) {
    this.#open = open;
  }

  /**
   * @param {string} name
   * @returns {string | null} null where there is nothing
   */
  get(name) {
    return this.#try((storage) => storage.getItem(name)) ?? null;
  }

  /**
   * @param {string} name
   * @param {string} value
   */
  set(name, value) {
    this.#try((storage) => storage.setItem(name, value));
  }

  /** @param {string} name */
  remove(name) {
    this.#try((storage) => storage.removeItem(name));
  }

  /**
   * @template T
   * @param {(storage: globalThis.Storage) => T} action
   */
  #try(action) {
    try {
      return action(this.#open());
    } catch (error) {
      if (error instanceof DOMException) return undefined; // then nothing outlives the page
      throw error;
    }
  }
}
