/** Runs on the audio thread: gathers what the microphone gives into chunks of PCM16. */

import { toPcm16 } from "./pcm.js";

/**
 * Samples in a chunk are this part of a second: often enough for a lively meter and early interims.
 */
const CHUNKS_PER_SECOND = 20;

class PcmWorklet extends AudioWorkletProcessor {
  #chunk = new Float32Array(Math.round(sampleRate / CHUNKS_PER_SECOND));
  #length = 0;
  #isDone = false;

  constructor() {
    super();
    this.port.onmessage = () => {
      this.#post();
      this.port.postMessage(null); // that was all
      this.#isDone = true;
    };
  }

  /** @param {Float32Array[][]} inputs the first is the microphone, mixed to one channel */
  process([[samples]]) {
    for (let read = 0; samples !== undefined && read < samples.length;) {
      const part = samples.subarray(read, read + this.#chunk.length - this.#length);
      this.#chunk.set(part, this.#length);
      this.#length += part.length;
      read += part.length;
      if (this.#length === this.#chunk.length) this.#post();
    }
    return !this.#isDone;
  }

  #post() {
    const pcm = toPcm16(this.#chunk.subarray(0, this.#length));
    this.#length = 0;
    this.port.postMessage(pcm, [pcm.buffer]);
  }
}

registerProcessor("hark-pcm", PcmWorklet);
