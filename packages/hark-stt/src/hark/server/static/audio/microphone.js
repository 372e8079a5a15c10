/** The microphone: its devices, and its sound as PCM16. */

import { MAX_SAMPLE_RATE, SPEECH_SAMPLE_RATE } from "../protocol/messages.js";

/** Milliseconds; longest wait for the last chunk when a recording stops. */
const LAST_CHUNK_TIMEOUT_MS = 500;

/** The microphone cannot be used; the name is that of a `DOMException`, or one of ours. */
export class MicrophoneError extends Error {
  /** @param {string} name */
  constructor(name) {
    super(name);
    this.name = name;
  }
}

/**
 * Whether a page may ask for a microphone here: browsers allow it over https and on localhost only.
 */
export function isAvailable() {
  return window.isSecureContext && navigator.mediaDevices !== undefined;
}

/**
 * The microphones. Until one was allowed to be used they may have no names.
 * @returns {Promise<{id: string, name: string}[]>}
 */
export async function listMicrophones() {
  if (!isAvailable()) return [];
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices
    .filter(({ kind, deviceId }) => kind === "audioinput" && deviceId !== "")
    .map(({ deviceId, label }) => ({ id: deviceId, name: label }));
}

/** An open microphone. */
export class Microphone {
  #media;
  #context;
  #node;
  /** @type {(() => void) | null} */
  #onLastChunk = null;

  /**
   * Ask for a microphone and start it.
   * @param {string | null} deviceId null for the browser's choice
   * @param {{onAudio: (samples: Int16Array) => void, onUnplugged: () => void}} handlers
   * @returns {Promise<Microphone>}
   * @throws {DOMException | MicrophoneError}
   */
  static async open(deviceId, handlers) {
    if (!isAvailable()) throw new MicrophoneError("InsecureContext");
    const media = await navigator.mediaDevices.getUserMedia({ audio: constraints(deviceId) });
    try {
      const { context, source } = await listen(media);
      return new Microphone(media, context, source, handlers);
    } catch (error) {
      release(media);
      throw error;
    }
  }

  /**
   * @param {MediaStream} media
   * @param {AudioContext} context
   * @param {MediaStreamAudioSourceNode} source
   * @param {{onAudio: (samples: Int16Array) => void, onUnplugged: () => void}} handlers
   */
  constructor(media, context, source, { onAudio, onUnplugged }) {
    this.#media = media;
    this.#context = context;
    this.#node = new AudioWorkletNode(context, "hark-pcm", {
      channelCount: 1,
      channelCountMode: "explicit",
      numberOfInputs: 1,
    });
    this.#node.port.onmessage = ({ data }) =>
      data === null ? this.#onLastChunk?.() : onAudio(data);
    // Not every browser runs a node that leads nowhere. It is silent.
    source.connect(this.#node).connect(context.destination);
    media.getAudioTracks()[0].onended = onUnplugged;
    // Telephones interrupt it for a call.
    context.onstatechange = () => {
      if (context.state !== "running") context.resume().catch(() => {}); // it may be closed by then
    };
  }

  /** Hz */
  get sampleRate() {
    return this.#context.sampleRate;
  }

  /** Stop recording; what was recorded until now is handed out before this returns. */
  async stop() {
    await new Promise((resolve) => {
      this.#onLastChunk = () => resolve(undefined);
      setTimeout(resolve, LAST_CHUNK_TIMEOUT_MS);
      this.#node.port.postMessage(null);
    });
    this.#node.port.onmessage = this.#context.onstatechange = null;
    release(this.#media);
    await this.#context.close();
  }
}

/** @param {string | null} deviceId */
function constraints(deviceId) {
  return {
    ...(deviceId === null ? {} : { deviceId: { exact: deviceId } }),
    channelCount: 1,
    autoGainControl: true,
    // Made for calls: they cut into speech, and models know noise.
    echoCancellation: false,
    noiseSuppression: false,
  };
}

/**
 * Have the browser resample to what speech models hear; where it cannot (Firefox), the server will.
 * @param {MediaStream} media
 */
async function listen(media) {
  try {
    return await connect(new AudioContext({ sampleRate: SPEECH_SAMPLE_RATE }), media);
  } catch (error) {
    if (!(error instanceof DOMException) || error.name !== "NotSupportedError") throw error;
    return connect(new AudioContext(), media);
  }
}

/**
 * @param {AudioContext} context closed again if this fails
 * @param {MediaStream} media
 */
async function connect(context, media) {
  try {
    if (context.sampleRate > MAX_SAMPLE_RATE) throw new MicrophoneError("SampleRateTooHigh");
    await context.audioWorklet.addModule(new URL("pcm-worklet.js", import.meta.url));
    await context.resume();
    return { context, source: context.createMediaStreamSource(media) };
  } catch (error) {
    await context.close();
    throw error;
  }
}

/** @param {MediaStream} media */
function release(media) {
  for (const track of media.getTracks()) {
    track.onended = null;
    track.stop();
  }
}
