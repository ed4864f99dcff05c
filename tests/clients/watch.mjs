// Watch a balance with the graphql-ws client and print each version on a line.
//
// Arguments: URL, key, organization, version to end at.
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const [url, key, organizationId, last] = process.argv.slice(2);
const client = createClient({
  url,
  webSocketImpl: WebSocket,
  connectionParams: { Authorization: `Bearer ${key}` },
  retryAttempts: 0,
});

const query = `subscription Watch($organizationId: ID!) {
  creditBalanceUpdated(organizationId: $organizationId) { version available reserved usedThisPeriod }
}`;

for await (const result of client.iterate({ query, variables: { organizationId } })) {
  if (result.errors) {
    console.error(JSON.stringify(result.errors));
    process.exit(1);
  }
  const balance = result.data.creditBalanceUpdated;
  console.log(JSON.stringify(balance));
  if (balance.version >= Number(last)) break;
}
await client.dispose();
