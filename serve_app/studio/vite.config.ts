import react from "@vitejs/plugin-react";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// `npm run dev` shows the pages of the source, with the API of this server (see README.md).
const SERVER = process.env.RAYLENS_SERVER ?? "http://127.0.0.1:8000";
const proxy = {
  target: SERVER,
  changeOrigin: true,
  // The server takes its session cookie from its own origin only.
  headers: { Origin: SERVER },
};

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: "dist",
    target: "es2022",
    assetsInlineLimit: 0, // the pages' policy allows no data: URLs
    modulePreload: { polyfill: false },
    license: { fileName: "assets/licenses.json" },
    reportCompressedSize: false,
  },
  server: {
    proxy: { "/v1": proxy, "/openapi.json": proxy, "/docs": proxy },
    fs: { allow: [fileURLToPath(new URL("../..", import.meta.url))] }, // sae/report has the shared styles
  },
  test: { environment: "happy-dom", include: ["src/**/*.test.{ts,tsx}"], setupFiles: ["src/testing/setup.ts"], css: false },
});
