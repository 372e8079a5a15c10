/** The server that the page came from: what it has, and why it says no. */

/** Seconds; longest wait for an answer that needs no work. */
const TIMEOUT_S = 10;

/**
 * @typedef {object} Model
 * @property {string} id
 * @property {boolean} default
 * @property {import("./messages.js").Capabilities} capabilities
 */

/** The server cannot be used, now or at all. */
export class ServerError extends Error {
  /**
   * @param {string} code of docs/protocol.md#errors, or "unreachable"
   * @param {{message?: string, retryable?: boolean, retryAfterS?: number}} details
   */
  constructor(code, { message = "", retryable = true, retryAfterS = 0 } = {}) {
    super(message || code);
    this.code = code;
    this.retryable = retryable;
    this.retryAfterS = retryAfterS;
  }

  /** @param {import("./messages.js").ServerMessage} error the protocol's `error` message */
  static fromMessage({ code = "internal", message, retryable = false, retry_after_s = 0 }) {
    return new ServerError(code, { message, retryable, retryAfterS: retry_after_s });
  }
}

/**
 * Where audio is streamed to: beside this page, also behind a proxy that puts it under another
 * path.
 */
export function streamUrl() {
  const url = new URL("ws/transcribe", document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

/**
 * Ask the server for its models. A browser does not tell why a WebSocket was refused, so this also
 * serves to find that out: a server that answers here takes the key, has loaded its models and is
 * not about to end.
 * @param {string | null} key
 * @returns {Promise<Model[]>} the default one first
 * @throws {ServerError}
 */
export async function fetchModels(key) {
  const url = new URL("v1/models", document.baseURI);
  let headers;
  try {
    headers = new Headers(key === null ? {} : { Authorization: `Bearer ${key}` });
  } catch {
    // Not even a header can hold it, as where quotation marks were copied along.
    throw new ServerError("unauthorized", { retryable: false });
  }
  let response;
  try {
    response = await fetch(url, {
      headers,
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT_S * 1000),
    });
  } catch {
    throw new ServerError("unreachable");
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body.data;
  throw body?.code ? ServerError.fromMessage(body) : fromStatus(response.status);
}

/**
 * What a refusal means that is not Hark's own, such as a proxy's.
 * @param {number} status
 */
function fromStatus(status) {
  if (status === 401) return new ServerError("unauthorized", { retryable: false });
  if (status === 429 || status >= 500) return new ServerError("unreachable");
  return new ServerError("not_hark", { retryable: false });
}
