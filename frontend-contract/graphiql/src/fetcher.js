import { getOperationAST } from "graphql";
import { createClient } from "graphql-ws";

/** Queries and mutations go over HTTP, subscriptions over graphql-transport-ws; both carry the headers editor. */
export function createFetcher(httpUrl, socketUrl) {
  return (params, { headers = {}, documentAST } = {}) => {
    const operation = documentAST && getOperationAST(documentAST, params.operationName);
    return operation?.operation === "subscription"
      ? subscribe(socketUrl, params, headers)
      : post(httpUrl, params, headers);
  };
}

async function post(url, params, headers) {
  let response, text;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/graphql-response+json, application/json;q=0.9",
        ...headers,
      },
      body: JSON.stringify(params),
    });
    text = await response.text();
  } catch (error) {
    return failure(`The request did not go through: ${error.message}`);
  }
  try {
    return JSON.parse(text);
  } catch {
    return failure(`HTTP ${response.status} ${response.statusText}: ${text.slice(0, 500)}`);
  }
}

/** One socket a subscription, so that a changed key is always the one that is sent. */
function subscribe(url, params, headers) {
  let accepted = false;
  const client = createClient({
    url,
    connectionParams: initPayload(headers),
    on: { connected: () => (accepted = true) },
    // Come back after a restart or a lost line, but never argue with a refusal (44xx).
    shouldRetry: ({ code }) => accepted && !(code >= 4400 && code < 4500),
  });
  return {
    subscribe(sink) {
      const stop = client.subscribe(params, {
        next: (result) => sink.next(result),
        complete: () => sink.complete(),
        error(reason) {
          sink.next(refusal(reason));
          sink.complete();
        },
      });
      return { unsubscribe: stop };
    },
  };
}

/** Header names have no case, keys of a payload do: the server reads `Authorization`. */
function initPayload(headers) {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [/^authorization$/i.test(name) ? "Authorization" : name, value]),
  );
}

function refusal(reason) {
  if (Array.isArray(reason)) return { errors: reason };
  if (reason?.code) return failure(`The subscription's socket was closed: ${reason.code} ${reason.reason}`.trim());
  return failure(reason?.message ?? "The subscription's socket could not be opened");
}

function failure(message) {
  return { errors: [{ message }] };
}
