/**
 * How long finals take: from when the last speech of an utterance was heard to when its text is
 * there for good.
 */

/** Marks kept; at 20 chunks a second two minutes, more than any final takes that still matters. */
const MOST_MARKS = 2400;

/** When each part of a live recording was heard. */
export class CaptureClock {
  /** @type {{end: number, at: number}[]} */
  #marks = [];
  #sampleRate;

  /** @param {number} sampleRate Hz */
  constructor(sampleRate) {
    this.#sampleRate = sampleRate;
  }

  /**
   * Note that the audio before a position has been heard.
   * @param {number} end position
   * @param {number} now milliseconds of a steady clock
   */
  mark(end, now) {
    this.#marks.push({ end, at: now });
    if (this.#marks.length > MOST_MARKS) this.#marks.splice(0, MOST_MARKS / 2);
  }

  /**
   * When a sample was heard.
   * @param {number} position
   * @returns {number | null} milliseconds of the same clock; null where it is not known any more
   */
  heardAt(position) {
    const first = this.#marks[0];
    if (first === undefined || position < first.end) return null;
    const mark = this.#marks.find(({ end }) => end >= position);
    return mark === undefined ? null : mark.at - ((mark.end - position) / this.#sampleRate) * 1000;
  }
}

/** The middle of the latest final latencies, which one slow final does not move. */
export class LatencySummary {
  /** @type {number[]} */
  #latest = [];

  /** @param {number} latencyMs */
  add(latencyMs) {
    this.#latest.push(latencyMs);
    if (this.#latest.length > 21) this.#latest.shift();
  }

  /** The median in milliseconds; null while there is none. */
  get medianMs() {
    if (this.#latest.length === 0) return null;
    const sorted = [...this.#latest].sort((a, b) => a - b);
    return sorted[Math.floor((sorted.length - 1) / 2)];
  }
}
