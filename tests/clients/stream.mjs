// The graphql-sse client, a connection for each operation, which does what lines tell (lines.mjs).
import { createClient, NetworkError } from "graphql-sse";
import { follow, tell } from "./lines.mjs";

let client, again;
const running = new Map();

async function reason(error) {
  if (!(error instanceof NetworkError)) return { message: error.message };
  const { response } = error;
  return { status: response?.status ?? null, body: response ? await response.json() : null };
}

follow({
  /** Make a client, which may be told to `retry`: before it does, it tells "waiting", until told to. */
  create(url, key, told = {}) {
    client = createClient({
      url,
      headers: key ? { Authorization: `Bearer ${key}` } : {},
      singleConnection: false,
      retryAttempts: told.retry ? Infinity : 0,
      retry: () =>
        new Promise((resolve) => {
          again = resolve;
          tell("waiting");
        }),
      on: {
        connected: () => tell("connected"),
        message: ({ event }) => tell(`message ${event}`),
      },
    });
  },
  subscribe(name, query, variables, operationName) {
    const stop = client.subscribe(
      { query, variables, operationName },
      {
        next: (result) => tell(`${name} next`, result),
        error: async (error) => tell(`${name} error`, await reason(error)),
        complete: () => tell(`${name} complete`),
      },
    );
    running.set(name, stop);
  },
  retry: () => again(),
  unsubscribe: (name) => running.get(name)(),
  dispose: () => client.dispose(),
});
