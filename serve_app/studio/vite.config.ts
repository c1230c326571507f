import react from "@vitejs/plugin-react";
import { fileURLToPath } from "node:url";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

// `npm run dev` shows the pages of the source, with the API of this server (see README.md).
const SERVER = process.env.RAYLENS_SERVER ?? "http://127.0.0.1:8000";
const proxy = {
  target: SERVER,
  changeOrigin: true,
  // The server takes its session cookie from its own origin only.
  headers: { Origin: SERVER },
};

/** Makes src/app/startEarly.ts a script of its own before the entry: it runs while the libraries are still on their way. */
const earlyScript: Plugin = {
  name: "early-script",
  transformIndexHtml: {
    order: "post",
    handler: (_html, { bundle }) => {
      const early = Object.values(bundle ?? {}).find((file) => file.type === "chunk" && file.name === "early");
      if (!early) return []; // the development server: main.tsx imports it
      return [{ tag: "script", attrs: { type: "module", crossorigin: true, src: `/${early.fileName}` }, injectTo: "head-prepend" }];
    },
  },
};

export default defineConfig({
  plugins: [react(), earlyScript],
  build: {
    outDir: "dist",
    target: "es2022",
    assetsInlineLimit: 0, // the pages' policy allows no data: URLs
    modulePreload: { polyfill: false },
    license: { fileName: "assets/licenses.json" },
    reportCompressedSize: false,
    rolldownOptions: {
      output: {
        codeSplitting: {
          // Few files for the first page: each costs a request to the server. What pages have in common is one, the libraries another.
          groups: [
            { name: "early", test: /(src[\\/](api[\\/]early|app[\\/](startEarly|pageFiles))\.ts|preload-helper)/, priority: 1 },
            { name: "libraries", test: /node_modules[\\/](react|react-dom|scheduler|wouter|regexparam|use-sync-external-store|openapi-|@tanstack[\\/](react-)?query)/ },
            { name: "common", test: /(node_modules[\\/]@tanstack[\\/](react-)?(table|virtual|store)|src[\\/](api|format)[\\/]|components[\\/](DataTable|Facts|ArtifactLink|Page|States|Problem|ShownText|Filter|CopyJson)\.)/ },
          ],
        },
      },
    },
  },
  server: {
    proxy: { "/v1": proxy, "/openapi.json": proxy, "/docs": proxy },
    fs: { allow: [fileURLToPath(new URL("../..", import.meta.url))] }, // sae/report has the shared styles
  },
  test: { environment: "happy-dom", include: ["src/**/*.test.{ts,tsx}"], setupFiles: ["src/testing/setup.ts"], css: false },
});
