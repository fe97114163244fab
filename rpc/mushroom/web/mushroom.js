// The browser's side of a mushroom session: requests and notifications in both directions over a
// websocket or HTTP long polling. It speaks to servers of packetstream and of the original.
//
//   import { Client } from "./mushroom.js";
//
//   const client = new Client({ url: "/", methods: { take: (data) => console.log(data) } });
//   await client.connect();
//   const sum = await client.request("add", [1, 2]);
//   client.notify("seen", sum);
//
// Events of a client: "connected", "retrying" (a poll exchange failed and is repeated; detail is the
// error), "recovered" (it succeeded), "closed" (the session is over; detail is the reason) and "error"
// (a method failed; detail is the error).

const DISCONNECT = -1, HEARTBEAT = 0, NOTIFICATION = 1, REQUEST = 2, RESPONSE = 3, ERROR = 4;

const MAX_BATCH = 256 * 1024; // characters in one POST, or one message
const MAX_UNACKED = 16384; // messages; past it the session ends
const CLOSE_TIMEOUT = 5000; // milliseconds for what is left to send
const FIRST_PAUSE = 50, LONGEST_PAUSE = 2000; // milliseconds between attempts

/** The other side answered a request with an error; data is what it said. */
export class RequestError extends Error {
  constructor(method, data) {
    super(`request ${JSON.stringify(method)} failed: ${JSON.stringify(data)}`);
    this.name = "RequestError";
    this.data = data;
  }
}

/** A request got no answer in time. */
export class RequestTimeout extends Error {
  constructor(method) {
    super(`request ${JSON.stringify(method)} timed out`);
    this.name = "RequestTimeout";
  }
}

/** The session is over, or could not begin; status is the HTTP status where there is one. */
export class SessionEnded extends Error {
  constructor(reason, status) {
    super(reason);
    this.name = "SessionEnded";
    this.status = status;
  }
}

/** Thrown by a method to have its data sent to the caller. */
export class RPCError extends Error {
  constructor(data) {
    super(JSON.stringify(data));
    this.name = "RPCError";
    this.data = data;
  }
}

export class Client extends EventTarget {
  #options;
  #carrier = null;
  #nextId = 0;
  #unacked = []; // [id, text], in order
  #last = null; // the last id taken from the server
  #pending = new Map(); // id -> { resolve, reject, method, timer }
  #onPageHide = () => this.#carrier?.leave();

  /**
   * options: url of the server; transports to ask for, in order; auth, any JSON value; methods, an
   * object of functions (data, message) => result; requestTimeout, pollWait and retryTimeout in
   * milliseconds, 0 for none.
   */
  constructor(options) {
    super();
    this.#options = {
      transports: ["ws", "poll"], auth: null, methods: {},
      requestTimeout: 0, pollWait: 60000, retryTimeout: 60000, ...options,
    };
    /** "new", "connecting", "connected", "retrying" or "closed" */
    this.state = "new";
    /** "ws" or "poll", once connected */
    this.transport = null;
  }

  /** Begins the session. It can be done once; a new session is a new client. */
  async connect() {
    if (this.state !== "new") throw new Error("connect was called before");
    this.state = "connecting";
    try {
      const welcome = await this.#bootstrap();
      if (this.state === "closed") {
        this.#decline(welcome);
        throw new SessionEnded("closed while connecting");
      }
      const Carrier = { ws: Socket, poll: Poller }[welcome.transport];
      if (!Carrier) throw new SessionEnded(`unknown transport ${welcome.transport}`);
      this.transport = welcome.transport;
      this.#carrier = new Carrier(welcome.url, this.#options, {
        take: (list) => this.#take(list),
        unacked: () => this.#unacked,
        acknowledge: (last) => this.#acknowledge(last),
        last: () => this.#last,
        end: (reason) => this.#end(reason),
        retrying: (error) => this.#retrying(error),
        recovered: () => this.#recovered(),
      });
      await this.#carrier.open();
    } catch (error) {
      this.#end(error);
      throw error;
    }
    if (this.state === "closed") throw new SessionEnded("closed while connecting");
    this.state = "connected";
    globalThis.addEventListener?.("pagehide", this.#onPageHide);
    this.#emit("connected");
  }

  async #bootstrap() {
    const { url, transports, auth } = this.#options;
    const response = await fetch(url, {
      method: "POST",
      // text/plain is a simple request: the browser asks no permission before it.
      headers: { "Content-Type": "text/plain" },
      body: JSON.stringify({ transports, auth }),
    });
    if (response.status === 401) throw new SessionEnded("authentication failed", 401);
    if (response.status === 501) throw new SessionEnded("no suitable transport found", 501);
    if (!response.ok) throw new SessionEnded(`HTTP status ${response.status}`, response.status);
    return response.json();
  }

  /** Gives back a session that nobody wants any more. One by websocket ends by itself if it is never opened. */
  #decline({ transport, url }) {
    if (transport !== "poll") return;
    const headers = { "Content-Type": "text/plain" };
    fetch(url, { method: "POST", headers, body: JSON.stringify([[DISCONNECT]]) }).catch(() => {});
  }

  /** Calls a method of the server. Rejects with RequestError, RequestTimeout or SessionEnded. */
  request(method, data = null, { timeout = this.#options.requestTimeout } = {}) {
    return new Promise((resolve, reject) => {
      const id = this.#send(REQUEST, method, data);
      const call = { resolve, reject, method };
      if (timeout > 0) {
        call.timer = setTimeout(() => {
          this.#pending.delete(id);
          reject(new RequestTimeout(method));
        }, timeout);
      }
      this.#pending.set(id, call);
    });
  }

  /** Sends a notification, which is never answered. Throws SessionEnded. */
  notify(method, data = null) {
    this.#send(NOTIFICATION, method, data);
  }

  /** The number of messages that the server has not acknowledged. */
  get unacknowledged() {
    return this.#unacked.length;
  }

  /** Ends the session. What was sent before goes out first. */
  async close() {
    if (this.state === "closed") return;
    const carrier = this.#carrier;
    this.#end(new SessionEnded("closed by this end"), true);
    await carrier?.finish();
  }

  #send(code, subject, data) {
    if (this.state === "closed" || this.state === "new") throw new SessionEnded(`the session is ${this.state}`);
    const text = JSON.stringify([code, this.#nextId, subject, data === undefined ? null : data]);
    const id = this.#nextId++;
    this.#unacked.push([id, text]);
    if (this.#unacked.length > MAX_UNACKED) {
      const error = new SessionEnded("too much is not acknowledged by the server");
      this.#end(error);
      throw error;
    }
    this.#carrier?.wake();
    return id;
  }

  /** Takes messages from the server in order. The result says whether the session goes on. */
  #take(list) {
    for (const message of list) {
      const [code, id, subject, data = null] = message;
      if (code === DISCONNECT) {
        this.#end(new SessionEnded("disconnected by the server"));
        return false;
      }
      if (code === HEARTBEAT) {
        this.#acknowledge(id);
      } else if (this.#last === null || id > this.#last) {
        this.#last = id;
        this.#handle({ code, id, subject, data });
      }
    }
    return true;
  }

  #acknowledge(last) {
    if (last === null) return;
    let taken = 0;
    while (taken < this.#unacked.length && this.#unacked[taken][0] <= last) taken++;
    this.#unacked.splice(0, taken);
  }

  #handle({ code, id, subject, data }) {
    switch (code) {
      case NOTIFICATION:
        this.#run(subject, data, { notification: true }).catch((error) => this.#emit("error", error));
        break;
      case REQUEST:
        this.#run(subject, data, { id }).then(
          (result) => this.#answer(RESPONSE, id, result),
          (error) => {
            this.#answer(ERROR, id, error instanceof RPCError ? error.data : "Internal client error");
            this.#emit("error", error);
          },
        );
        break;
      case RESPONSE:
      case ERROR: {
        const call = this.#pending.get(subject);
        this.#pending.delete(subject);
        clearTimeout(call?.timer);
        if (code === RESPONSE) call?.resolve(data);
        else call?.reject(new RequestError(call.method, data));
      }
    }
  }

  async #run(name, data, message) {
    const { methods } = this.#options;
    const method = typeof name === "string" && Object.hasOwn(methods, name) ? methods[name] : null;
    if (!method) throw new RPCError(name);
    return method(data, message);
  }

  #answer(code, id, data) {
    if (this.state !== "closed") this.#send(code, id, data);
  }

  #retrying(error) {
    if (this.state !== "connected") return;
    this.state = "retrying";
    this.#emit("retrying", error);
  }

  #recovered() {
    if (this.state !== "retrying") return;
    this.state = "connected";
    this.#emit("recovered");
  }

  #end(reason, goodbye = false) {
    if (this.state === "closed") return;
    this.state = "closed";
    globalThis.removeEventListener?.("pagehide", this.#onPageHide);
    this.#carrier?.end(goodbye);
    for (const call of this.#pending.values()) {
      clearTimeout(call.timer);
      call.reject(reason);
    }
    this.#pending.clear();
    this.#emit("closed", reason);
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** Carries a session by websocket: one text frame a message. The session ends with the socket. */
class Socket {
  #session; #socket; #url; #written = -1; #closed;

  constructor(url, _options, session) {
    this.#url = url;
    this.#session = session;
  }

  open() {
    const socket = this.#socket = new WebSocket(this.#url);
    this.#closed = new Promise((resolve) => { socket.onclose = resolve; });
    this.#closed.then(() => this.#session.end(new SessionEnded("the websocket was closed")));
    socket.onmessage = (event) => {
      try {
        const message = JSON.parse(event.data);
        if (!this.#session.take([message])) return;
        if (message[0] >= NOTIFICATION) socket.send(JSON.stringify([HEARTBEAT, this.#session.last()]));
      } catch (error) {
        this.#session.end(new SessionEnded(`bad message: ${error.message}`));
      }
    };
    return new Promise((resolve, reject) => {
      socket.onopen = () => { resolve(); this.wake(); };
      socket.onerror = () => reject(new SessionEnded("the websocket failed"));
    });
  }

  wake() {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    for (const [id, text] of this.#session.unacked()) {
      if (id <= this.#written) continue;
      this.#socket.send(text);
      this.#written = id;
    }
  }

  end(goodbye) {
    if (goodbye) this.leave();
    this.#socket?.close();
  }

  leave() {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify([DISCONNECT]));
  }

  finish() {
    return this.#closed;
  }
}

/**
 * Carries a session by HTTP: one loop sends, one POST at a time, and one polls. Every POST begins with
 * the first message that no earlier POST was confirmed for, so a late copy of it never leaves a gap.
 */
class Poller {
  #session; #url; #options;
  #over = false;
  #goodbye = false;
  #abort = new AbortController();
  #wake = () => {};
  #sender = Promise.resolve();

  constructor(url, options, session) {
    this.#url = url;
    this.#options = options;
    this.#session = session;
  }

  async open() {
    this.#sender = this.#guard(this.#send());
    this.#guard(this.#poll());
  }

  wake() {
    this.#wake();
  }

  end(goodbye) {
    this.#over = true;
    this.#goodbye = goodbye;
    if (goodbye) setTimeout(() => this.#abort.abort(), CLOSE_TIMEOUT);
    else this.#abort.abort();
    this.#wake();
  }

  /** The page goes away: nothing can be awaited any more. */
  leave() {
    navigator.sendBeacon?.(this.#url, JSON.stringify([[DISCONNECT]]));
  }

  finish() {
    return this.#sender;
  }

  async #guard(loop) {
    try {
      await loop;
    } catch (error) {
      if (!this.#over) this.#session.end(error);
    }
  }

  async #send() {
    for (;;) {
      const batch = this.#batch();
      if (batch.length === 0) {
        if (this.#over) break;
        await new Promise((resolve) => { this.#wake = resolve; });
        continue;
      }
      try {
        await this.#exchange(`[${batch.map(([, text]) => text).join()}]`, this.#options.pollWait);
      } catch (error) {
        // The server may have closed the session, and may still have something for a poll.
        if (error.status === 404 && !this.#over) return;
        throw error;
      }
      // A POST that succeeded says as much as a heartbeat, which may only come with the end of a poll.
      this.#session.acknowledge(batch.at(-1)[0]);
    }
    if (this.#goodbye) await this.#exchange(JSON.stringify([[DISCONNECT]]), this.#options.pollWait);
    this.#abort.abort();
  }

  #batch() {
    const batch = [];
    let size = 0;
    for (const item of this.#session.unacked()) {
      size += item[1].length;
      if (batch.length > 0 && size > MAX_BATCH) break;
      batch.push(item);
    }
    return batch;
  }

  async #poll() {
    while (!this.#over) {
      const text = await this.#exchange(JSON.stringify([[HEARTBEAT, this.#session.last()]]), this.#options.pollWait);
      if (!this.#session.take(JSON.parse(text))) return;
    }
  }

  /** Posts a body until it is answered, or the server says that it never will be. */
  async #exchange(body, wait) {
    let failing = null, pause = FIRST_PAUSE;
    for (;;) {
      try {
        const text = await this.#post(body, wait);
        if (failing !== null) this.#session.recovered();
        return text;
      } catch (error) {
        if (error instanceof SessionEnded || this.#abort.signal.aborted) throw error;
        failing ??= Date.now();
        if (Date.now() - failing > this.#options.retryTimeout) throw error;
        this.#session.retrying(error);
      }
      await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random())));
      pause = Math.min(2 * pause, LONGEST_PAUSE);
    }
  }

  async #post(body, wait) {
    const signals = [this.#abort.signal];
    if (wait > 0) signals.push(AbortSignal.timeout(wait));
    const response = await fetch(this.#url, {
      method: "POST", headers: { "Content-Type": "text/plain" }, body, signal: AbortSignal.any(signals),
    });
    if (response.status === 404) throw new SessionEnded("the server does not know the session", 404);
    if ([408, 429, 502, 503, 504].includes(response.status)) throw new Error(`HTTP status ${response.status}`);
    if (!response.ok) throw new SessionEnded(`HTTP status ${response.status}`, response.status);
    return response.text();
  }
}
