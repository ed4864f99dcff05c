import CodeMirror from "codemirror";
import { GraphiQL } from "graphiql";
import "graphiql/style.css";
import { createElement } from "react";
import { createRoot } from "react-dom/client";
import { reachableEditor } from "./editors.js";
import { createFetcher } from "./fetcher.js";
import "./main.css";
import { createStorage, keepsHeaders } from "./storage.js";

const DEFAULT_QUERY = `# Exchequer
# 1. Paste your API key into Headers, below:
#    {"Authorization": "Bearer <key>"}
# 2. Put your organization's id for the zeros.
# 3. Run Balance (run button, or Ctrl-Enter).
# 4. Run BalanceLive: it shows every change
#    of the balance until you stop it.
# No docs? Re-fetch the schema, lower left.

query Balance {
  creditBalance(organizationId: "00000000-0000-0000-0000-000000000000") {
    available
    reserved
    spendable
    version
  }
}

subscription BalanceLive {
  creditBalanceUpdated(organizationId: "00000000-0000-0000-0000-000000000000") {
    available
    reserved
    spendable
    version
  }
}
`;

const root = document.getElementById("graphiql");
const { graphql, subscriptions, query, headers } = root.dataset;

// Both are resolved against the page, not against <base>, which only moves the assets.
const httpUrl = new URL(graphql || "/graphql", location.href);
const socketUrl = new URL(subscriptions || httpUrl, location.href);
socketUrl.protocol = socketUrl.protocol.replace(/^http/, "ws");

CodeMirror.defineInitHook(reachableEditor);

createRoot(root).render(
  createElement(
    GraphiQL,
    {
      fetcher: createFetcher(httpUrl.href, socketUrl.href),
      storage: createStorage(),
      shouldPersistHeaders: keepsHeaders(),
      showPersistHeadersSettings: true,
      defaultEditorToolsVisibility: "headers",
      defaultQuery: query || DEFAULT_QUERY,
      defaultHeaders: headers || undefined,
    },
    createElement(GraphiQL.Logo, null, createElement("h1", { className: "house" }, "Exchequer")),
  ),
);
