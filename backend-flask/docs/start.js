// This page loads nothing from another host, so Swagger UI's remote validator is off. The document's
// address is relative to this script, because a proxy may add a prefix to all paths.
SwaggerUIBundle({
  url: new URL("../openapi.json", document.currentScript.src).href,
  dom_id: "#reference",
  deepLinking: true,
  validatorUrl: null,
});
