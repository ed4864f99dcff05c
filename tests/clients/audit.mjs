// Run every audit of graphql-http against a server and print what came of them, as one line of JSON.
//
// Arguments: the URL of the endpoint.
import { serverAudits } from "graphql-http";

const [url] = process.argv.slice(2);
const results = [];
for (const audit of serverAudits({ url })) {
  const { id, name, status, reason = null, response } = await audit.fn();
  results.push({ id, name, status, reason, answered: response?.status ?? null });
}
console.log(JSON.stringify(results));
