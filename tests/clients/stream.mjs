// The graphql-sse client, a connection for each operation, which does what lines tell (lines.mjs).
import { createClient, NetworkError } from "graphql-sse";
import { follow, tell } from "./lines.mjs";

let client;
const running = new Map();

async function reason(error) {
  if (!(error instanceof NetworkError)) return { message: error.message };
  const { response } = error;
  return { status: response?.status ?? null, body: response ? await response.json() : null };
}

follow({
  create(url, key) {
    client = createClient({
      url,
      headers: key ? { Authorization: `Bearer ${key}` } : {},
      singleConnection: false,
      retryAttempts: 0,
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
  unsubscribe: (name) => running.get(name)(),
  dispose: () => client.dispose(),
});
