/** What a stream has to say, in order, on whatever connection it has. */

import { MAX_MESSAGE_BYTES, PCM16_BYTES_PER_SAMPLE } from "./messages.js";
import { ReplayBuffer } from "./replay.js";

const MOST_SAMPLES = MAX_MESSAGE_BYTES / PCM16_BYTES_PER_SAMPLE;

/**
 * Audio and the end of a stream, each said again on a new connection until the server is done with
 * it.
 */
export class Outbox {
  #replay;
  #most;
  #sent = 0;
  #finalized = 0;
  /** Where the audio begins that helps to recognize what is not finalized. */
  #context = 0;
  /** What is before it was heard with other options. */
  #leastContext = 0;
  #hasEnded = false;
  #closeSent = false;

  /**
   * @param {number} most samples to say again at most, context included
   * @param {number} headroom samples that may come while a connection is made: were there no room
   *   for them, what was to be said first would be gone by then
   */
  constructor(most, headroom) {
    this.#replay = new ReplayBuffer(most + headroom);
    this.#most = most;
  }

  /** Position after the newest audio. */
  get end() {
    return this.#replay.end;
  }

  /** Samples that the server is not done with. */
  get held() {
    return this.#replay.end - Math.max(this.#finalized, this.#replay.start);
  }

  /** Position up to which audio went out on this connection. */
  get sent() {
    return this.#sent;
  }

  /**
   * Whether audio went before it was sent: then this connection can no longer count samples as the
   * stream does.
   */
  get isCutOff() {
    return this.#sent < this.#replay.start;
  }

  /** Whether the stream has ended. */
  get hasEnded() {
    return this.#hasEnded;
  }

  /**
   * Add audio; when there is too much, the oldest goes.
   * @param {Int16Array} samples
   */
  push(samples) {
    this.#replay.append(samples);
  }

  /** No audio will follow. */
  finish() {
    this.#hasEnded = true;
  }

  /**
   * Begin anew, for a new connection.
   * @returns {{start: number, context: number}} the position from which its audio goes on, and that
   *   of the first audio that will be sent: before it, if there is context
   */
  rewind() {
    this.#replay.forget(this.#replay.end - this.#most);
    const start = Math.max(this.#finalized, this.#replay.start);
    const isContextHeld = this.#replay.start <= this.#context && this.#context <= start;
    this.#sent = isContextHeld ? this.#context : start;
    this.#closeSent = false;
    return { start, context: this.#sent };
  }

  /**
   * The next message for this connection: samples, "close", or null while there is nothing to say.
   * Not to be called while `isCutOff`.
   * @returns {Int16Array | "close" | null}
   */
  next() {
    if (this.#sent < this.#replay.end) {
      const samples = this.#replay.read(this.#sent, MOST_SAMPLES);
      this.#sent += samples.length;
      return samples;
    }
    if (this.#hasEnded && !this.#closeSent) {
      this.#closeSent = true;
      return "close";
    }
    return null;
  }

  /**
   * All audio before a position is done with, but from another on it may help again.
   * @param {number} finalized
   * @param {number} context
   */
  forget(finalized, context) {
    this.#finalized = Math.max(this.#finalized, Math.min(finalized, this.#sent));
    const isOfUse = this.#leastContext <= context && context <= this.#finalized;
    this.#context = isOfUse ? context : this.#finalized;
    this.#letGo();
  }

  /** The audio so far is no help any more: what follows is heard with other options. */
  forgetContext() {
    this.#leastContext = this.#replay.end;
    this.#context = this.#finalized;
    this.#letGo();
  }

  #letGo() {
    // What this connection was promised it gets, even where nobody has use for it any more.
    this.#replay.forget(Math.min(this.#context, this.#sent));
  }
}
