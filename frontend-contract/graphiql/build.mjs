// Builds app/static/graphiql from src/. `--check` builds in memory and fails if the committed bytes differ.
import { readFile, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = path.dirname(fileURLToPath(import.meta.url));
const target = path.resolve(here, "../../app/static/graphiql");

/** No web fonts: nothing to fetch, nothing to license, 370 kB less. */
const systemFonts = {
  name: "system-fonts",
  setup(builder) {
    builder.onLoad({ filter: /graphiql[\\/]dist[\\/]style\.css$/ }, async ({ path: file }) => {
      const css = (await readFile(file, "utf8"))
        .replace(/@font-face\s*\{[^}]*\}/g, "")
        .replaceAll(/"?Roboto"?\s*,\s*sans-serif/g, "system-ui, sans-serif")
        .replaceAll(/"?Fira Code"?\s*,\s*monospace/g, "ui-monospace, Menlo, Consolas, monospace");
      if (/Roboto|Fira|url\((?!"?data:image\/)/.test(css)) throw new Error(`${file}: a font or an address is left`);
      return { contents: css, loader: "css" };
    });
  },
};

async function bundle() {
  const result = await build({
    absWorkingDir: here,
    entryPoints: { graphiql: "src/main.js" },
    outdir: target,
    bundle: true,
    minify: true,
    format: "iife",
    target: "es2022",
    charset: "utf8",
    define: { "process.env.NODE_ENV": '"production"' },
    legalComments: "none", // LICENSES.txt carries them, whole
    alias: { "react-style-singleton": "./src/no-style.js" },
    plugins: [systemFonts],
    metafile: true,
    write: false,
  });
  const files = new Map(result.outputFiles.map((file) => [path.basename(file.path), file.text]));
  files.set("LICENSES.txt", await licenses(Object.values(result.metafile.outputs)));
  return files;
}

/** Packages that ship no licence text, and the one of the same project that does. */
const SAME_PROJECT = {
  "@graphiql/plugin-doc-explorer": "graphiql",
  "@graphiql/plugin-history": "graphiql",
  "react-compiler-runtime": "react",
  "react-remove-scroll-bar": "react-remove-scroll",
};

async function licenses(outputs) {
  const folders = new Set();
  for (const { inputs } of outputs)
    for (const [file, { bytesInOutput }] of Object.entries(inputs)) {
      const folder = file.match(/^.*node_modules\/(?:@[^/]+\/)?[^/]+/)?.[0];
      if (folder && bytesInOutput > 0) folders.add(folder);
    }
  const notices = await Promise.all([...folders].map(notice));
  const whole = [...new Set(notices)].sort();
  return `Third-party software in graphiql.js and graphiql.css (${whole.length} packages)\n\n${whole.join("\n")}`;
}

async function notice(folder) {
  const about = JSON.parse(await readFile(path.join(here, folder, "package.json"), "utf8"));
  if (!about.license) throw new Error(`${about.name} names no licence`);
  const rule = "=".repeat(80);
  return `${rule}\n${about.name} ${about.version}: ${about.license}\n${rule}\n${await licenceText(folder, about)}\n`;
}

async function licenceText(folder, { name, license, author }) {
  const source = name in SAME_PROJECT ? `node_modules/${SAME_PROJECT[name]}` : folder;
  const file = (await readdir(path.join(here, source))).sort().find((entry) => /^licen[cs]e/i.test(entry));
  if (file) return (await readFile(path.join(here, source, file), "utf8")).replaceAll("\r\n", "\n").trim();
  return `Author: ${author?.name ?? author}. The package ships no licence text; the words of ${license} stand elsewhere in this file.`;
}

const files = await bundle();
let stale = false;
for (const [name, text] of files) {
  const file = path.join(target, name);
  if (process.argv.includes("--check")) {
    const same = (await readFile(file, "utf8").catch(() => "")) === text;
    stale ||= !same;
    console.log(`${same ? "same " : "STALE"} ${name}`);
  } else {
    await writeFile(file, text);
    console.log(`${String(Buffer.byteLength(text)).padStart(8)} ${name}`);
  }
}
if (stale) process.exitCode = 1;
