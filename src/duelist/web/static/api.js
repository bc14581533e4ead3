// Calls to the server. Every failure is a `Failure` whose kind says what to do next.

const TIMEOUT_MS = 20_000;

// kind: "network" (no answer), "busy" (408, 429, 5xx: try again), "session" (sign in again) or "refused" (never
// accepted).
export class Failure extends Error {
  constructor(kind, { status = 0, code = "", message = "", retrySeconds = null } = {}) {
    super(message || kind);
    this.kind = kind;
    this.status = status;
    this.code = code;
    this.retrySeconds = retrySeconds;
  }
}

export function readBootstrap(page) {
  const element = page.getElementById("bootstrap");
  return element ? JSON.parse(element.textContent) : null;
}

export class Api {
  constructor(bootstrap) {
    this.study = bootstrap.study;
    this.annotator = bootstrap.annotator;
    this.csrf = bootstrap.csrf;
  }

  get(path) {
    return this.#send("GET", path);
  }

  post(path, body) {
    return this.#send("POST", path, JSON.stringify(body));
  }

  // Take over the session that the browser has now. True if it is the same person's in the same study.
  async renew() {
    try {
      const response = await fetch(location.pathname, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (!response.ok) return false;
      const fresh = readBootstrap(new DOMParser().parseFromString(await response.text(), "text/html"));
      if (!fresh || fresh.study !== this.study) return false;
      if (fresh.annotator.name !== this.annotator.name || fresh.annotator.role !== this.annotator.role) return false;
      this.csrf = fresh.csrf;
      return true;
    } catch {
      return false;
    }
  }

  async #send(method, path, body, renewed = false) {
    let response;
    let data;
    try {
      response = await fetch(path, {
        method,
        body,
        headers: { "X-CSRF-Token": this.csrf, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
        credentials: "same-origin",
        cache: "no-store",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      data = await response.json().catch(() => null);
    } catch {
      throw new Failure("network", { message: "The server cannot be reached." });
    }
    if (response.ok && data !== null) return { ...data, serverTime: Date.parse(response.headers.get("Date") ?? "") };
    // An old CSRF token means that this browser was signed in anew, perhaps as the same person.
    if (response.status === 403 && !renewed && (await this.renew())) {
      return this.#send(method, path, body, true);
    }
    throw failureOf(response, data);
  }
}

function failureOf(response, data) {
  const seconds = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  const details = {
    status: response.status,
    code: data?.error ?? "",
    message: data?.message ?? `The server answered with status ${response.status}.`,
    retrySeconds: Number.isFinite(seconds) ? seconds : null,
  };
  if (response.status === 401 || response.status === 403) return new Failure("session", details);
  const again = response.ok || response.status === 408 || response.status === 429 || response.status >= 500;
  return new Failure(again ? "busy" : "refused", details);
}
