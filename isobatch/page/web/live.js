// The live page: posts edited sentences to the endpoint and draws the response. The batch is
// requested first; the random batches, which take ten times as long, once typing has stopped; the
// cost of a forgotten mask once, when it is scrolled to.
"use strict";

const live = (() => {
  const PAUSE = 350;
  /** @type {AbortController | null} */
  let pending = null;
  let timer = 0;

  /**
   * Request the lesson on `texts` after a pause in typing; cancels the previous request.
   * @param {string} endpoint @param {string[]} texts @param {(lesson: Lesson) => void} onLesson
   * @param {(lesson: Lesson) => void} onBatches gets the same lesson again with random batches
   */
  function request(endpoint, texts, onLesson, onBatches, pause = PAUSE) {
    window.clearTimeout(timer);
    pending?.abort();
    const own = new AbortController();
    pending = own;
    progress("Computing…");
    timer = window.setTimeout(async () => {
      try {
        const first = await post(endpoint, { sentences: texts, random_batches: false }, own.signal);
        onLesson(first);
        failure("");
        if (!first.random_batches) {
          await new Promise((done) => window.setTimeout(done, 2 * pause));
          own.signal.throwIfAborted();
          onBatches(await post(endpoint, { sentences: texts, random_batches: true }, own.signal));
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
   * Request the cost of a forgotten mask on the built-in sample.
   * @param {string} endpoint @param {(cost: MaskCost) => void} onCost
   * @param {(reason: string) => void} onFailure
   */
  async function requestCost(endpoint, onCost, onFailure) {
    try {
      onCost((await post(endpoint, { cost: true })).cost);
    } catch (error) {
      onFailure(error instanceof Error ? error.message : String(error));
    }
  }

  /**
   * @param {string} endpoint @param {object} body @param {AbortSignal} [signal]
   * @returns {Promise<any>}
   */
  async function post(endpoint, body, signal) {
    const response = await fetch(endpoint, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
    if (!response.ok) throw new Error(await reason(response));
    return response.json();
  }

  /** The server's error message, as {"error": "..."}, or the status. @param {Response} response */
  async function reason(response) {
    const text = await response.text();
    try {
      return String(JSON.parse(text).error || response.status);
    } catch {
      return `status ${response.status}`;
    }
  }

  /**
   * Say what is awaited. Only the random batches are marked as busy: screen readers may be silent
   * about everything inside a busy element, the progress and the sentence being typed included.
   * @param {string} text
   */
  function progress(text) {
    elements.byId("progress").textContent = text;
    elements.byId("random-batches").setAttribute("aria-busy", String(text !== ""));
  }

  /** @param {string} text */
  function failure(text) {
    const box = elements.byId("failure");
    box.textContent = text;
    box.hidden = text === "";
  }

  return { request, requestCost };
})();
