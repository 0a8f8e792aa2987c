/* Clients of MLflow print addresses of MLflow's own page, such as /#/experiments/1/runs/<id>: go where that is here. */
"use strict";

(() => {
  const { project } = document.currentScript.dataset;

  function follow() {
    const said = location.hash.match(/^#\/(experiments|models)\/([^/?]+)(?:\/runs\/([^/?]+))?/);
    if (!said) return;
    const [kind, name, run] = said.slice(1).map((part) => part && decodeURIComponent(part));
    const path = (...parts) => `/${parts.map(encodeURIComponent).join("/")}`;
    // Experiment 0 is the one that a project has without anybody naming it.
    const listed = name === "0" ? `/runs?project=${encodeURIComponent(project)}` : path("runs", project, name);
    location.replace(run ? path("runs", run) : kind === "models" ? path("models", project, name) : listed);
  }

  follow();
  addEventListener("hashchange", follow);
})();
