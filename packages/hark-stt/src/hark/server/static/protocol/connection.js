/** One WebSocket to the server, from its config to its end. */

import { PROTOCOL_VERSION } from "./messages.js";
import { ServerError } from "./server.js";

/** Seconds; longest wait for `ready`. */
export const READY_TIMEOUT_S = 10;

/**
 * Seconds; the server speaks at least once a second while audio flows, so after these it is gone.
 */
const SILENCE_TIMEOUT_S = 5;

/** Seconds; the same after `close`, when the server may still be decoding the last words. */
const CLOSING_TIMEOUT_S = 20;

/**
 * Bytes; no more than this waits in the browser, because there it can be neither counted nor taken
 * back.
 */
const MOST_BUFFERED_BYTES = 256 * 1024;

/**
 * @typedef {import("./messages.js").ServerMessage} ServerMessage
 *
 * @typedef {object} ConnectionHandlers
 * @property {(message: ServerMessage) => void} onMessage everything but `error`
 * @property {(error: ServerError) => void} onLost it is of no use any more; not called if closed here
 */

export class Connection {
  #socket;
  /** @type {ConnectionHandlers | null} null once closed */
  #handlers;
  /** When it was ready, by `performance.now()`; null while it is not. */
  readyAt = /** @type {number | null} */ (null);
  #isClosing = false;
  /** Since when the server owes an answer; null while it owes none. */
  #owedSince = /** @type {number | null} */ (performance.now());

  /**
   * Connect, and send the config as soon as that is possible.
   * @param {{url: string, protocols: string[], config: () => object}} address
   * @param {ConnectionHandlers} handlers
   */
  constructor({ url, protocols, config }, handlers) {
    this.#handlers = handlers;
    this.#socket = new WebSocket(url, protocols);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () =>
      this.#sendJson({ type: "config", version: PROTOCOL_VERSION, ...config() });
    this.#socket.onmessage = (event) => this.#receive(event.data);
    this.#socket.onclose = () => this.#lose(new ServerError(this.#isReady ? "lost" : "refused"));
  }

  /** Whether the config went out. */
  get isOpen() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  /** Whether audio may be sent now. */
  get canSend() {
    return this.#isReady && !this.#isClosing && this.#socket.bufferedAmount < MOST_BUFFERED_BYTES;
  }

  /** @param {Int16Array} samples little-endian, as all machines are that run browsers */
  sendAudio(samples) {
    this.#socket.send(samples);
    this.#expectAnswer();
  }

  /** @param {object} options what changes from now on; nothing does after `close` */
  sendConfig(options) {
    if (!this.#isClosing) this.#sendJson({ type: "config", ...options });
  }

  /** No audio will follow: the server answers `closed`. */
  sendClose() {
    this.#isClosing = true;
    this.#sendJson({ type: "close" });
    this.#expectAnswer();
  }

  /**
   * Find out whether the server is still there. To be called now and then.
   * @param {number} now of `performance.now()`
   */
  checkLiveness(now) {
    if (this.#owedSince === null) return;
    const longest = this.#isClosing
      ? CLOSING_TIMEOUT_S
      : this.#isReady
        ? SILENCE_TIMEOUT_S
        : READY_TIMEOUT_S;
    if (now - this.#owedSince > longest * 1000)
      this.#lose(new ServerError(this.#isReady ? "silent" : "unreachable"));
  }

  /** Give up the connection without a word to its owner. */
  close() {
    this.#handlers = null;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(1000);
  }

  /** @param {object} message */
  #sendJson(message) {
    if (this.isOpen) this.#socket.send(JSON.stringify(message));
  }

  get #isReady() {
    return this.readyAt !== null;
  }

  #expectAnswer() {
    this.#owedSince ??= performance.now();
  }

  /** @param {unknown} data */
  #receive(data) {
    let message;
    try {
      message = JSON.parse(String(data));
    } catch {
      this.#lose(new ServerError("not_hark", { retryable: this.#isReady }));
      return;
    }
    this.#owedSince = this.#isClosing ? performance.now() : null;
    if (message.type === "error") {
      this.#lose(ServerError.fromMessage(message));
      return;
    }
    if (message.type === "ready") this.readyAt = performance.now();
    this.#handlers?.onMessage(message);
  }

  /** @param {ServerError} error */
  #lose(error) {
    const handlers = this.#handlers;
    this.close();
    handlers?.onLost(error);
  }
}
