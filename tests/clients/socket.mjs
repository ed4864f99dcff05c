// The graphql-ws client, which does what lines tell (lines.mjs).
//
// Nothing here waits for time to pass: before it connects again it tells "waiting", until told to.
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { follow, tell } from "./lines.mjs";

let client, socket, again;
const running = new Map();

/** An operation, or the client, ends by the event of a close, by errors of GraphQL, or by another error. */
const reason = (error) => (Array.isArray(error) ? error : { code: error.code, message: error.message });

follow({
  /**
   * Make a client, which may be told to: be `lazy` or not; ping, `keepAlive`; `retry`; be `stubborn`, and retry also where
   * nobody listens; name each operation the `sameName`; say something `first`, before its key; be `silent` and never say its key; ask for other
   * `protocols`; be `deaf` to the server's pings.
   */
  create(url, key, told = {}) {
    class Socket extends WebSocket {
      constructor(address, protocols) {
        super(address, told.protocols ?? protocols, { autoPong: !told.deaf });
        this.on("ping", () => tell("frame of ping"));
      }
    }
    client = createClient({
      url,
      webSocketImpl: Socket,
      connectionParams: () => (told.silent ? new Promise(() => {}) : key && { Authorization: `Bearer ${key}` }),
      lazy: told.lazy ?? true,
      keepAlive: told.keepAlive ?? 0,
      retryAttempts: told.retry ? Infinity : 0,
      ...(told.stubborn && { shouldRetry: () => true }),
      retryWait: () =>
        new Promise((resolve) => {
          again = resolve;
          tell("waiting");
        }),
      onNonLazyError: (error) => tell("gave up", reason(error)),
      ...(told.sameName && { generateID: () => told.sameName }),
      on: {
        opened: (opened) => {
          socket = opened;
          tell("opened");
          if (told.first) socket.send(told.first);
        },
        connected: (_, payload, retried) => tell("connected", retried),
        ping: (received) => tell(received ? "ping came" : "ping went"),
        pong: (received) => tell(received ? "pong came" : "pong went"),
        message: (message) => tell(`message ${message.type}`, message.id ?? null),
        closed: ({ code, reason: why }) => tell("closed", code, why),
        error: (error) => tell("error", error.message),
      },
    });
  },
  subscribe(name, query, variables) {
    const stop = client.subscribe(
      { query, variables },
      {
        next: (result) => tell(`${name} next`, result),
        error: (error) => tell(`${name} error`, reason(error)),
        complete: () => tell(`${name} complete`),
      },
    );
    running.set(name, stop);
  },
  unsubscribe: (name) => running.get(name)(),
  /** Send what the client itself never would. */
  send: (text) => socket.send(text),
  retry: () => again(),
  dispose: () => client.dispose(),
});
