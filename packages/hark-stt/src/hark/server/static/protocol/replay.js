/** The audio that the server is not done with, kept so that it can be sent again. */

/**
 * PCM16 of a stream, addressed by position, in a ring of fixed size; when it is full the oldest
 * goes.
 */
export class ReplayBuffer {
  #ring;
  #start;
  #end;

  /**
   * @param {number} capacity samples held at most
   * @param {number} start position of the first sample that will come
   */
  constructor(capacity, start = 0) {
    this.#ring = new Int16Array(capacity);
    this.#start = start;
    this.#end = start;
  }

  /** Position of the oldest sample held. */
  get start() {
    return this.#start;
  }

  /** Position after the newest sample held. */
  get end() {
    return this.#end;
  }

  /**
   * Add samples at the end.
   * @param {Int16Array} samples any number of them
   * @returns {number} how many of the oldest samples had to go
   */
  append(samples) {
    const capacity = this.#ring.length;
    const kept = samples.subarray(Math.max(0, samples.length - capacity));
    const at = (this.#end + samples.length - kept.length) % capacity;
    const first = kept.subarray(0, capacity - at);
    this.#ring.set(first, at);
    this.#ring.set(kept.subarray(first.length), 0);
    this.#end += samples.length;
    const lost = Math.max(0, this.#end - this.#start - capacity);
    this.#start += lost;
    return lost;
  }

  /**
   * Let go of what is older than a position.
   * @param {number} position
   */
  forget(position) {
    this.#start = Math.max(this.#start, Math.min(position, this.#end));
  }

  /**
   * A copy of the samples from a position on.
   * @param {number} position
   * @param {number} most samples at most
   * @returns {Int16Array}
   * @throws {RangeError} the position is not held
   */
  read(position, most) {
    if (position < this.#start || position > this.#end) {
      throw new RangeError(`${position} is not within [${this.#start}, ${this.#end}]`);
    }
    const capacity = this.#ring.length;
    const samples = new Int16Array(Math.min(most, this.#end - position));
    const at = position % capacity;
    const first = this.#ring.subarray(at, Math.min(capacity, at + samples.length));
    samples.set(first);
    samples.set(this.#ring.subarray(0, samples.length - first.length), first.length);
    return samples;
  }
}
