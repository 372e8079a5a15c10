/** How loud audio is. */

/** dBFS at which the meter shows nothing; rooms are about this quiet. */
const QUIETEST_DB = -60;

/**
 * @param {Int16Array} samples
 * @returns {number} 0 for silence, 1 for full scale, even steps in decibels
 */
export function level(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  if (sum === 0) return 0;
  const db = 10 * Math.log10(sum / samples.length) - 20 * Math.log10(32768);
  return Math.max(0, Math.min(1, 1 - db / QUIETEST_DB));
}
