// Everything comes from this host: without a validator of somebody else's, too. A proxy may have put
// a prefix before all paths, so the document is found from here.
SwaggerUIBundle({
  url: new URL("../openapi.json", document.currentScript.src).href,
  dom_id: "#reference",
  deepLinking: true,
  validatorUrl: null,
});
