/** Keeps the screen on while somebody reads captions from it, where the browser can. */

/** @type {WakeLockSentinel | null} */
let lock = null;
let isWanted = false;
let isSettling = false;

/** @param {boolean} wanted */
export function keepAwake(wanted) {
  isWanted = wanted;
  settle();
}

/**
 * Ask for the lock or give it back, one at a time: a second lock would be forgotten and never given
 * back.
 */
async function settle() {
  if (isSettling || !("wakeLock" in navigator)) return;
  isSettling = true;
  try {
    while (isDue() !== isHeld()) {
      if (isDue()) lock = await navigator.wakeLock.request("screen");
      else await lock?.release();
    }
  } catch (error) {
    if (!(error instanceof DOMException)) throw error; // low on battery: then the screen goes off
  } finally {
    isSettling = false;
  }
}

function isDue() {
  // From a page that is not seen the browser takes it away.
  return isWanted && document.visibilityState === "visible";
}

function isHeld() {
  return lock !== null && !lock.released;
}

document.addEventListener("visibilitychange", settle);
