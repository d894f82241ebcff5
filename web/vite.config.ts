import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// Another server than the default one is named by CLOCHE_URL.
const server = process.env["CLOCHE_URL"] ?? "http://127.0.0.1:8000";

export default defineConfig({
  base: "./",
  plugins: [react()],
  build: {
    outDir: "../src/cloche/web/built",
    emptyOutDir: true,
    target: "es2022",
    sourcemap: false,
    // A font or picture as text in the CSS would need `data:` in the content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // What is bundled is passed on under its own licences.
    license: { fileName: "licenses.md" },
    rolldownOptions: {
      output: {
        entryFileNames: "assets/[name]-[hash].js",
        chunkFileNames: "assets/[name]-[hash].js",
        assetFileNames: "assets/[name]-[hash][extname]",
        codeSplitting: {
          // Day-to-day changes of the page leave this file, and what browsers keep of it, as it is.
          groups: [{ name: "vendor", test: /node_modules\/(react|react-dom|scheduler|@tanstack)\// }],
        },
      },
    },
  },
  server: {
    // The server takes live connections from pages of its own only: what comes through here says that it is one.
    // Every request needs the browser's session all the same.
    proxy: { "/v1": { target: server, ws: true, rewriteWsOrigin: true } },
  },
  test: {
    environment: "happy-dom",
    include: ["tests/**/*.test.{ts,tsx}"],
    restoreMocks: true,
  },
});
