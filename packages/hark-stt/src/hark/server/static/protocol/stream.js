/** One recording on its way to the server, over as many connections as it takes. */

import { Backoff } from "./backoff.js";
import { Connection, READY_TIMEOUT_S } from "./connection.js";
import { subprotocols } from "./key.js";
import { Outbox } from "./outbox.js";
import { ServerError, fetchModels, streamUrl } from "./server.js";

/**
 * Seconds of audio kept until it is finalized, or as context: an outage that lasts longer loses
 * words.
 */
export const REPLAY_S = 60;

/** Seconds of audio that may come while a connection is made; it is given up after as long. */
const HEADROOM_S = READY_TIMEOUT_S;

/**
 * Seconds. A connection that held this long, and got somewhere, ends an outage: what follows is a
 * new one. A server that accepts and dies at once, or always dies of the same audio, is not to be
 * tried again and again without a pause.
 */
const HEALTHY_AFTER_S = 5;

/** Milliseconds between looks at the connection where nothing else happens. */
const TICK_MS = 250;

/**
 * @typedef {import("./messages.js").ServerMessage} ServerMessage
 *
 * @typedef {object} StreamOptions
 * @property {number} sampleRate Hz
 * @property {string | null} key
 * @property {string} model
 * @property {string | null} language null lets the model decide
 * @property {boolean} words whether to ask for word times
 *
 * @typedef {object} StreamHandlers
 * @property {(message: ServerMessage) => void} onMessage
 * @property {() => void} onConnected
 * @property {(error: ServerError) => void} onInterrupted another attempt follows
 * @property {(position: number) => void} onSkipped all audio before it is gone, finalized or not
 * @property {() => void} onDone everything is finalized
 * @property {(error: ServerError) => void} onFailed no attempt follows
 */

/** Sends audio, keeps what is not finalized, and sends it again on a new connection. */
export class CaptionStream {
  #options;
  #handlers;
  #outbox;
  #transcript;
  #backoff = new Backoff();
  /** @type {Connection | null} */
  #connection = null;
  /** Position from which the audio of this connection is new. */
  #start = 0;
  /** Position up to which this connection's server has said that it heard the audio. */
  #received = 0;
  #isMoving = false;
  #isOver = false;
  #ticker;
  /** When to connect again, by `performance.now()`; null while there is no need. */
  #retryAt = /** @type {number | null} */ (null);

  /**
   * @param {StreamOptions} options
   * @param {import("../transcript/transcript.js").Transcript} transcript knows what is finalized
   * @param {StreamHandlers} handlers
   */
  constructor(options, transcript, handlers) {
    this.#options = { ...options };
    this.#handlers = handlers;
    this.#transcript = transcript;
    const { sampleRate } = options;
    this.#outbox = new Outbox(REPLAY_S * sampleRate, HEADROOM_S * sampleRate);
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    addEventListener("online", this.#hurry);
    this.#connect();
  }

  /** Samples that were pushed so far. */
  get length() {
    return this.#outbox.end;
  }

  /** Seconds of audio that the server is not done with. */
  get heldS() {
    return this.#outbox.held / this.#options.sampleRate;
  }

  /** @param {Int16Array} samples the next ones */
  push(samples) {
    this.#outbox.push(samples);
    // Not the timer's business alone: in a tab that is not seen browsers hold timers back, for up
    // to a minute, but not the microphone.
    this.#tick();
  }

  /** No audio will follow: `onDone` once all of it is finalized. */
  finish() {
    this.#outbox.finish();
    this.#pump();
  }

  /** @param {string | null} language what is spoken from now on */
  setLanguage(language) {
    this.#options.language = language;
    this.#outbox.forgetContext();
    this.#connection?.sendConfig({ language });
  }

  /** Give up. Idempotent; no handler is called any more. */
  abort() {
    this.#isOver = true;
    clearInterval(this.#ticker);
    this.#retryAt = null;
    removeEventListener("online", this.#hurry);
    this.#connection?.close();
    this.#connection = null;
  }

  /** The network is back: no need to wait any longer. */
  #hurry = () => {
    if (this.#retryAt !== null) this.#connect();
  };

  async #connect() {
    this.#retryAt = null;
    const { key } = this.#options;
    try {
      await fetchModels(key);
    } catch (error) {
      if (!this.#isOver) this.#lost(/** @type {ServerError} */ (error));
      return;
    }
    if (this.#isOver) return;
    this.#connection = new Connection(
      { url: streamUrl(), protocols: subprotocols(key), config: () => this.#begin() },
      { onMessage: (message) => this.#receive(message), onLost: (error) => this.#lost(error) },
    );
  }

  /**
   * Go on where the last connection left off, with all options as they are now.
   * @returns {import("./messages.js").Config}
   */
  #begin() {
    const { start, context } = this.#outbox.rewind();
    this.#start = start;
    this.#received = context;
    if (start > this.#transcript.finalized) this.#handlers.onSkipped(start);
    const { sampleRate, model, language, words } = this.#options;
    const positions = { start_sample: start, context_sample: context };
    const config = { sample_rate: sampleRate, model, words, ...positions };
    return language === null ? config : { ...config, language };
  }

  /** Send what can be sent. */
  #pump() {
    const connection = this.#connection;
    if (connection === null || !connection.isOpen) return;
    if (this.#outbox.isCutOff) {
      this.#move("silent"); // it is there, but it takes no audio
      return;
    }
    while (connection.canSend) {
      const next = this.#outbox.next();
      if (next === null) return;
      if (next === "close") connection.sendClose();
      else connection.sendAudio(next);
    }
  }

  #tick() {
    const now = performance.now();
    if (this.#retryAt !== null && now >= this.#retryAt) this.#connect();
    this.#connection?.checkLiveness(now);
    this.#pump();
  }

  /** @param {ServerMessage} message */
  #receive(message) {
    this.#handlers.onMessage(message);
    if (this.#isOver) return;
    if (message.type === "ready") this.#handlers.onConnected();
    if (message.type === "progress") this.#received = message.received ?? 0;
    const { finalized, context, open } = this.#transcript;
    this.#outbox.forget(finalized, context);
    if (message.type === "closed") {
      this.abort();
      this.#handlers.onDone();
      return;
    }
    // With all audio sent there is nothing to move: the server finishes what it has.
    if (message.type === "draining") this.#isMoving = !this.#outbox.hasEnded;
    if (this.#isMoving && open === null && message.type !== "final") this.#move("draining");
    else this.#pump();
  }

  /**
   * Go on over another connection.
   * @param {string} reason the code of a ServerError
   */
  #move(reason) {
    this.#connection?.close();
    this.#lost(new ServerError(reason));
  }

  /** Whether the connection held, and got somewhere. */
  #wasHealthy() {
    const readyAt = this.#connection?.readyAt ?? null;
    if (readyAt === null || performance.now() - readyAt < HEALTHY_AFTER_S * 1000) return false;
    return this.#transcript.finalized > this.#start || this.#received >= this.#outbox.sent;
  }

  /** @param {ServerError} error */
  #lost(error) {
    if (this.#wasHealthy()) this.#backoff.recovered();
    this.#connection = null;
    this.#isMoving = false;
    this.#transcript.disconnected();
    if (!error.retryable) {
      this.abort();
      this.#handlers.onFailed(error);
      return;
    }
    this.#retryAt = performance.now() + this.#backoff.failed(error.retryAfterS) * 1000;
    this.#handlers.onInterrupted(error);
  }
}
