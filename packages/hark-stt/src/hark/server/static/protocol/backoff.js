/**
 * When to try a lost connection again: exponentially rarer, and jittered so that many pages do not
 * come at once (docs/protocol.md#what-a-good-client-does).
 */

/** Seconds; upper end of the first delay, all of which is left to chance. */
export const LONGEST_FIRST_DELAY_S = 0.2;

/** Seconds; upper end of the second delay. Of it, as of all that follow, half is left to chance. */
export const SECOND_DELAY_S = 1;

/** Seconds; upper end of every later one. */
export const LONGEST_DELAY_S = 5;

/** Counts failures since the last recovery. */
export class Backoff {
  #failures = 0;
  #random;

  /** @param {() => number} random gives numbers in [0, 1) */
  constructor(random = Math.random) {
    this.#random = random;
  }

  /**
   * Note a failure.
   * @param {number} retryAfterS the wait that the server asked for; it is never undercut
   * @returns {number} seconds to wait before the next attempt
   */
  failed(retryAfterS = 0) {
    this.#failures += 1;
    return Math.max(this.#jitteredDelay(), retryAfterS);
  }

  #jitteredDelay() {
    if (this.#failures === 1) return LONGEST_FIRST_DELAY_S * this.#random();
    const longest = Math.min(LONGEST_DELAY_S, SECOND_DELAY_S * 2 ** (this.#failures - 2));
    return longest * (0.5 + 0.5 * this.#random());
  }

  /** Note that a connection held: the next failure is the first of a new outage. */
  recovered() {
    this.#failures = 0;
  }
}
