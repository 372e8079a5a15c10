/**
 * When to try a lost connection again: exponentially rarer, and jittered so that many pages do not
 * come at once.
 */

/** Seconds; upper end of the first delay. */
export const FIRST_DELAY_S = 0.5;

/** Seconds; upper end of every later one. */
export const LARGEST_DELAY_S = 5;

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
    const longest = Math.min(LARGEST_DELAY_S, FIRST_DELAY_S * 2 ** this.#failures);
    this.#failures += 1;
    return Math.max(longest * (0.5 + 0.5 * this.#random()), retryAfterS);
  }

  /** Note that a connection held: the next failure is the first of a new outage. */
  recovered() {
    this.#failures = 0;
  }
}
