/** A recording from a file: decoded, and given out piece by piece. */

import { SPEECH_SAMPLE_RATE } from "../protocol/messages.js";
import { toPcm16 } from "./pcm.js";

/** Seconds in a piece. */
const PIECE_S = 0.1;

/** Milliseconds between looks at the time, or at the room. */
const TICK_MS = 50;

/** The file cannot be read: it is a folder, or it is gone, or its owner forbids it. */
export class FileError extends Error {
  name = "FileError";
}

/**
 * Decode a file of any kind that the browser can play.
 * @param {Blob} file
 * @returns {Promise<AudioBuffer>} at `SPEECH_SAMPLE_RATE`
 * @throws {FileError} it cannot be read
 * @throws {DOMException} it cannot be decoded
 */
export async function decode(file) {
  const context = new OfflineAudioContext(1, 1, SPEECH_SAMPLE_RATE);
  const content = await file.arrayBuffer().catch(() => {
    throw new FileError();
  });
  return context.decodeAudioData(content);
}

/**
 * Mix to one channel.
 * @param {AudioBuffer} audio
 * @returns {Int16Array}
 */
export function mono(audio) {
  const mixed = new Float32Array(audio.length);
  for (let channel = 0; channel < audio.numberOfChannels; channel++) {
    const samples = audio.getChannelData(channel);
    for (let i = 0; i < mixed.length; i++) mixed[i] += samples[i] / audio.numberOfChannels;
  }
  return toPcm16(mixed);
}

/** Gives out a recording as fast as it is taken. */
export class FastPlayer {
  #pieces;
  #handlers;
  #timer;

  /**
   * @param {AudioBuffer} audio
   * @param {object} handlers
   * @param {(samples: Int16Array) => void} handlers.onAudio
   * @param {() => boolean} handlers.hasRoom whether more is welcome
   * @param {() => void} handlers.onEnd
   */
  constructor(audio, { onAudio, hasRoom, onEnd }) {
    this.#pieces = cut(mono(audio));
    this.#handlers = { onAudio, hasRoom, onEnd };
    this.#timer = setInterval(() => this.giveOut(), TICK_MS);
  }

  /**
   * Give out what there is room for. To be called when there may be more room: in a tab that is not
   * seen browsers hold timers back.
   */
  giveOut() {
    while (this.#handlers.hasRoom()) {
      const { done, value } = this.#pieces.next();
      if (done) {
        this.stop();
        this.#handlers.onEnd();
        return;
      }
      this.#handlers.onAudio(value);
    }
  }

  /** Stop giving out. Idempotent. */
  stop() {
    clearInterval(this.#timer);
  }
}

/** Gives out a recording as fast as it was spoken, and plays it. */
export class AudiblePlayer {
  #context = new AudioContext();
  #timer;

  /**
   * @param {AudioBuffer} audio
   * @param {object} handlers
   * @param {(samples: Int16Array) => void} handlers.onAudio
   * @param {() => void} handlers.onEnd
   */
  constructor(audio, { onAudio, onEnd }) {
    const samples = mono(audio);
    const source = new AudioBufferSourceNode(this.#context, { buffer: audio });
    source.connect(this.#context.destination);
    source.start();
    // The clock of the page, not of the sound, which stands still where there is no loudspeaker.
    const startedAt = performance.now();
    let given = 0;
    this.#timer = setInterval(() => {
      const heardS = (performance.now() - startedAt) / 1000;
      const end = Math.min(samples.length, Math.floor(heardS * SPEECH_SAMPLE_RATE));
      onAudio(samples.subarray(given, end));
      given = end;
      if (end === samples.length) {
        this.stop();
        onEnd();
      }
    }, TICK_MS);
  }

  /** Stop giving out, and playing. Idempotent. */
  stop() {
    clearInterval(this.#timer);
    if (this.#context.state !== "closed") this.#context.close();
  }
}

/** @param {Int16Array} samples */
function* cut(samples) {
  const length = PIECE_S * SPEECH_SAMPLE_RATE;
  for (let start = 0; start < samples.length; start += length)
    yield samples.subarray(start, start + length);
}
