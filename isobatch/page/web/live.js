// The live page: edited sentences go to the endpoint, and what comes back is drawn. First the batch
// is asked for, then, once nobody types any more, its company, which takes ten times as long.
"use strict";

const live = (() => {
  const PAUSE = 350;
  /** @type {AbortController | null} */
  let asking = null;
  let timer = 0;

  /**
   * Ask for `texts` after a pause in typing; what was asked before is dropped.
   * @param {string} endpoint @param {string[]} texts @param {(lesson: Lesson) => void} onLesson
   */
  function ask(endpoint, texts, onLesson, pause = PAUSE) {
    window.clearTimeout(timer);
    asking?.abort();
    const own = new AbortController();
    asking = own;
    progress("Computing…");
    timer = window.setTimeout(async () => {
      try {
        const first = await post(endpoint, { sentences: texts, company: false }, own.signal);
        onLesson(first);
        failure("");
        if (!first.company) {
          await new Promise((done) => window.setTimeout(done, 2 * pause));
          own.signal.throwIfAborted();
          onLesson(await post(endpoint, { sentences: texts, company: true }, own.signal));
        }
        progress("");
      } catch (error) {
        if (own.signal.aborted) return;
        progress("");
        failure(
          `The sentences could not be computed: ${error instanceof Error ? error.message : error}`,
        );
      }
    }, pause);
  }

  /**
   * @param {string} endpoint @param {object} body @param {AbortSignal} signal
   * @returns {Promise<Lesson>}
   */
  async function post(endpoint, body, signal) {
    const answer = await fetch(endpoint, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
    if (!answer.ok) throw new Error(await reason(answer));
    return answer.json();
  }

  /** The server's own words, as {"error": "..."}, or the status. @param {Response} answer */
  async function reason(answer) {
    const text = await answer.text();
    try {
      return String(JSON.parse(text).error || answer.status);
    } catch {
      return `status ${answer.status}`;
    }
  }

  /** @param {string} text */
  function progress(text) {
    elements.byId("progress").textContent = text;
    elements.byId("lesson").setAttribute("aria-busy", String(text !== ""));
  }

  /** @param {string} text */
  function failure(text) {
    const box = elements.byId("failure");
    box.textContent = text;
    box.hidden = text === "";
  }

  return { ask };
})();
