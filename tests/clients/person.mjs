// A person at GraphiQL in headless Chromium, who does what a line of JSON tells and answers by one.
//
// In: [deed, ...arguments]. Out: {"done": value} or {"failed": reason}. Ends when the lines do.
// Nothing here waits for time to pass: each deed waits until the page shows what it needs.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const browser = await chromium.launch({
  executablePath: process.argv[2],
  headless: true,
  args: [
    "--no-sandbox", // CI is root in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // Besides what is recorded below: the browser itself finds no other host either.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
  ],
});

let context, page;
let requests = [];
let complaints = [];

const button = (name) => page.getByRole("button", { name, exact: true });
const editor = (name) => page.getByRole("textbox", { name: `${name}. ` });
const docs = () => page.locator(".graphiql-plugin");
const response = () => page.locator(".result-window");

function record(host) {
  requests = [];
  complaints = [];
  const ask = (method, address) => {
    const url = new URL(address);
    const own = url.host === host;
    requests.push(`${method} ${own ? url.pathname : url}`);
    if (!own) complaints.push(`asked another host: ${url}`);
    return own;
  };
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`uncaught: ${error}`));
  page.on("requestfailed", (request) => {
    complaints.push(`failed: ${request.method()} ${request.url()} ${request.failure()?.errorText}`);
  });
  page.on("response", (answer) => {
    if (answer.status() >= 400) complaints.push(`answered ${answer.status()}: ${new URL(answer.url()).pathname}`);
  });
  page.on("websocket", (socket) => ask("WEBSOCKET", socket.url().replace(/^ws/, "http")));
  return context.route("**/*", (route) => {
    const request = route.request();
    return ask(request.method(), request.url()) ? route.continue() : route.abort();
  });
}

/** The page tells in order: once it has answered, it has told of all that went before. */
const settled = (tell) => page.evaluate(() => null).then(tell);

const deeds = {
  /** Open the page in a browser that has never seen it. */
  async open(url) {
    await deeds.leave();
    context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
    context.setDefaultTimeout(15_000);
    page = await context.newPage();
    await record(new URL(url).host);
    // The console is not told of a forbidden eval whose error the script catches; the document is.
    await page.addInitScript(() =>
      document.addEventListener("securitypolicyviolation", (event) =>
        console.error(`against the policy: ${event.violatedDirective} ${event.blockedURI}`),
      ),
    );
    await page.goto(url);
    await button("Execute query (Ctrl-Enter)").waitFor();
  },
  /** Paste over what stands in an editor. */
  async paste(name, text) {
    await editor(name).focus();
    await page.keyboard.press("Control+A");
    await page.keyboard.insertText(text);
  },
  /** Type key by key, so that the editor completes and closes brackets as it does for anyone. */
  type: (text) => page.keyboard.type(text),
  press: (keys) => page.keyboard.press(keys),
  click: (name) => button(name).click(),
  /** GraphiQL names a tab after its operation, and takes a moment before it runs the new one. */
  titled: (name) => page.locator(".graphiql-tab-button").getByText(name, { exact: true }).waitFor(),
  focused: () => page.evaluate(() => document.activeElement.ariaLabel),
  /** Return the text of the response, once it holds this. */
  async response(holding) {
    const shown = async () => {
      const lines = await response().locator(".CodeMirror-line").allTextContents();
      return lines.join("\n").replaceAll("\u00a0", " "); // the editor indents by spaces that do not break
    };
    try {
      await response().filter({ hasText: holding }).waitFor();
    } catch (error) {
      throw new Error(`waited for ${holding}, and was shown ${await shown()}`, { cause: error });
    }
    return shown();
  },
  /** Follow a link of the documentation, and wait until a text is shown. */
  async docs(link, text) {
    if (link) await docs().getByRole("link", { name: link, exact: true }).first().click();
    await docs().getByText(text).first().waitFor();
  },
  async picture(path) {
    await page.screenshot({ path });
  },
  requests: () => settled(() => requests),
  complaints: () => settled(() => complaints),
  async leave() {
    await context?.close();
    context = undefined;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [deed, ...args] = JSON.parse(line);
  let answer;
  try {
    answer = { done: (await deeds[deed](...args)) ?? null };
  } catch (error) {
    answer = { failed: [`${deed}: ${error.message}`, "The page complained of:", ...complaints].join("\n") };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
