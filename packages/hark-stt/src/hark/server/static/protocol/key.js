/** The API key: kept in memory, and for as long as the tab lives where its owner asks for that. */

import { SafeStorage } from "../storage.js";

const NAME = "hark.key";

export class KeyStore {
  #storage = new SafeStorage(() => sessionStorage);
  /** @type {string | null} */
  #key = this.#storage.get(NAME);

  /** The key; null while there is none. */
  get key() {
    return this.#key;
  }

  /**
   * Take a key.
   * @param {string} key
   * @param {boolean} remember whether a reload of this tab finds it again
   */
  set(key, remember) {
    this.forget();
    this.#key = key;
    if (remember) this.#storage.set(NAME, key);
  }

  forget() {
    this.#key = null;
    this.#storage.remove(NAME);
  }
}

/**
 * The WebSocket subprotocols to offer. A browser cannot set a header on a WebSocket, so the key is
 * one of them.
 * @param {string | null} key
 * @returns {string[]}
 */
export function subprotocols(key) {
  return key === null ? ["hark.v1"] : ["hark.v1", `hark.key.${base64url(key)}`];
}

/** @param {string} text */
function base64url(text) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
