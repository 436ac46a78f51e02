import { defineConfig } from "vite";

// File names carry no hash: the broker gives each an ETag, and the browser asks again with it.
export default defineConfig({
  base: "/dashboard/",
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none", charset: "ascii" },
  build: {
    outDir: process.env.DASHBOARD_OUT ?? "../dist",
    emptyOutDir: true,
    target: ["chrome123", "firefox128", "safari17.5"],
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 1000,
    assetsInlineLimit: 0,
    rollupOptions: {
      output: {
        entryFileNames: "app.js",
        chunkFileNames: "[name].js",
        assetFileNames: (asset) => (asset.names[0]?.endsWith(".css") ? "app.css" : "[name][extname]"),
        manualChunks: (id) => (id.includes("/node_modules/mqtt/") ? "mqtt" : undefined),
      },
    },
  },
});
