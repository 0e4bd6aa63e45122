// Bundle every pages/*.js with the packages of package-lock.json into build/, beside its *.html.
//
// `node build.mjs` is all there is to call: it installs the locked packages when they are missing or
// the lock changed, and prints the folder that a web server should serve.
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const pages = path.join(here, "pages");
const build = path.join(here, "build");
const installed = path.join(here, "node_modules", ".installed-from");
const lock = readFileSync(path.join(here, "package-lock.json"), "utf8");

if (!existsSync(installed) || readFileSync(installed, "utf8") !== lock) {
  const options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  execFileSync("npm", ["ci", ...options], { cwd: here, stdio: ["ignore", 2, 2] });
  writeFileSync(installed, lock);
}

const { build: bundle } = await import("esbuild");
rmSync(build, { recursive: true, force: true });
mkdirSync(build);
const sources = readdirSync(pages).filter((name) => name.endsWith(".js"));
await bundle({
  entryPoints: sources.map((name) => path.join(pages, name)),
  outdir: build,
  bundle: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  sourcemap: "inline",
  logLevel: "warning",
});
for (const name of readdirSync(pages).filter((name) => !name.endsWith(".js"))) {
  cpSync(path.join(pages, name), path.join(build, name), { recursive: true });
}
console.log(build);
