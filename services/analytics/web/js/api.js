// The query API, as far as the page needs it.

/** What went wrong, in words for people. `status` 0: no answer at all. `retryAfter`: seconds. */
export class ApiError extends Error {
  constructor(status, code, message, retryAfter) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }

  /** Nothing the viewer did: it will pass. */
  get outage() {
    return this.status === 0 || this.status >= 500;
  }
}

/** Parameters as a query string; empty ones are left out, dates are told as ISO 8601. */
export function query(parameters) {
  const told = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value == null || value === "") continue;
    told.set(name, value instanceof Date ? value.toISOString() : value);
  }
  return told.size ? `?${told}` : "";
}

export const logIn = (key) => call("/api/session", { method: "POST", body: JSON.stringify({ key }) });
export const logOut = () => call("/api/session", { method: "DELETE" });
export const session = () => call("/api/session");
export const summary = (parameters, signal) => call(`/api/summary${query(parameters)}`, { signal });
export const breakdown = (parameters, signal) => call(`/api/breakdown${query(parameters)}`, { signal });
export const breakdownKeys = (parameters, signal) => call(`/api/breakdown/keys${query(parameters)}`, { signal });
export const metrics = (parameters, signal) => call(`/api/metrics${query(parameters)}`, { signal });
export const events = (parameters, signal) => call(`/api/events${query(parameters)}`, { signal });
export const trace = (id, parameters, signal) =>
  call(`/api/traces/${encodeURIComponent(id)}${query(parameters)}`, { signal });
export const pipeline = (parameters, signal) => call(`/api/pipeline${query(parameters)}`, { signal });
export const exportAddress = (parameters) => `/api/export${query(parameters)}`;
export const tailAddress = (parameters) => `/api/tail${query(parameters)}`;

/** The decoded answer, or null for none. Throws ApiError, and AbortError where it was called off. */
async function call(address, { method = "GET", body, signal } = {}) {
  const headers = { accept: "application/json" };
  if (method === "POST") headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(address, { method, body, signal, headers, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "no_answer", "The analytics service does not answer.", null);
  }
  if (response.status === 204) return null;
  const answer = await response.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    return null;
  });
  if (response.ok && answer !== null) return answer;
  const message = typeof answer?.message === "string" ? answer.message : `The service answered ${response.status}.`;
  throw new ApiError(
    response.status,
    answer?.error ?? "unknown",
    message,
    Number(response.headers.get("retry-after")) || null,
  );
}
