// How a client talks with the test that drives it: a line of JSON each.
//
// In: [deed, ...arguments]. Out: ["done"] or ["failed", reason] for each, and in between
// [what happened, ...values] as it happens. Ends when the lines do.
import { createInterface } from "node:readline";

export const tell = (...line) => process.stdout.write(`${JSON.stringify(line)}\n`);

export async function follow(deeds) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [deed, ...args] = JSON.parse(line);
    try {
      await deeds[deed](...args);
      tell("done");
    } catch (error) {
      tell("failed", `${deed}: ${error.stack}`);
    }
  }
  // Whatever is still open: the server sees a client that is gone.
  process.exit(0);
}
