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
  #sent;
  #hasEnded = false;
  #closeSent = false;

  /**
   * @param {number} most samples to say again at most
   * @param {number} headroom samples that may come while a connection is made: were there no room
   *   for them, what was to be said first would be gone by then
   */
  constructor(most, headroom) {
    this.#replay = new ReplayBuffer(most + headroom);
    this.#most = most;
    this.#sent = 0;
  }

  /** Position after the newest audio. */
  get end() {
    return this.#replay.end;
  }

  /** Samples that the server is not done with. */
  get held() {
    return this.#replay.end - this.#replay.start;
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
   * @returns {number} the position from which its audio goes on
   */
  rewind() {
    this.#replay.forget(this.#replay.end - this.#most);
    this.#sent = this.#replay.start;
    this.#closeSent = false;
    return this.#sent;
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
   * All audio before a position is done with.
   * @param {number} finalized
   */
  forget(finalized) {
    this.#replay.forget(Math.min(finalized, this.#sent));
  }
}
