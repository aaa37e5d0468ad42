/**
 * Bundles Preact, its hooks and htm into resilience/web/vendor, with their licences: `node build-vendor.mjs`.
 * With a folder as its argument it writes there instead, so that a test can compare.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { build } from "esbuild";

const here = import.meta.dirname ?? new URL(".", import.meta.url).pathname;
const target = process.argv[2] ?? join(here, "../../resilience/web/vendor");
const modules = join(here, "node_modules");
const version = (name) => JSON.parse(readFileSync(join(modules, name, "package.json"), "utf-8")).version;

const ENTRY = `
import { h } from "preact";
import htm from "htm";
export { Fragment, h, render } from "preact";
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
export const html = htm.bind(h);
`;

const banner = `/* preact ${version("preact")} (MIT), htm ${version("htm")} (Apache-2.0); see LICENSE-preact and LICENSE-htm.
   Made by tests/browser/build-vendor.mjs with esbuild ${version("esbuild")}; a test makes it again and compares. */`;

await build({
  stdin: { contents: ENTRY, resolveDir: here },
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
  banner: { js: banner },
  outfile: join(target, "preact.js"),
  logLevel: "error",
});
for (const name of ["preact", "htm"]) {
  writeFileSync(join(target, `LICENSE-${name}`), readFileSync(join(modules, name, "LICENSE")));
}
