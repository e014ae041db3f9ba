// The page: draws a lesson in every section, again when the lesson or the width changes.
"use strict";

const page = (() => {
  const RESIZE_DELAY = 150;
  let drawnWidth = 0;
  let timer = 0;
  /** The address that the cost is requested from, once; null where it is not live, or requested. */
  let costAddress = null;

  /** Draw a lesson. @param {Lesson} lesson */
  function show(lesson) {
    elements.byId("lesson").hidden = false;
    tooltip.hide();
    tokenGrid.draw(lesson);
    attentionView.open(lesson);
    const summary = logitsView.draw(lesson);
    showBatches(lesson);
    if (lesson.cost) maskCostView.open(lesson.cost);
    modelInfoView.draw(lesson);
    drawnWidth = document.documentElement.clientWidth;
    announce(summary);
  }

  /** Draw the random batches alone: focus and readings elsewhere stay where they are. */
  function showBatches(lesson) {
    randomBatchesView.open(lesson);
    if (lesson.random_batches && !lesson.cost) awaitCost();
  }

  /**
   * Request the cost of a forgotten mask, which no sentence of the page changes, when its section
   * is scrolled to: it takes seconds, for which other lessons have to wait.
   */
  function awaitCost() {
    const address = costAddress;
    if (!address) return;
    costAddress = null;
    const observer = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      maskCostView.wait();
      live.requestCost(address, maskCostView.open, (reason) => {
        maskCostView.fail(reason);
        costAddress = address; // requested again after the next edit
      });
    });
    observer.observe(elements.byId("cost-section"));
  }

  /** Announce to screen readers. @param {string} text */
  function announce(text) {
    elements.byId("announcement").textContent = text;
  }

  /** Redraw plots, whose width follows their frames. */
  function onResize() {
    window.clearTimeout(timer);
    timer = window.setTimeout(() => {
      if (document.documentElement.clientWidth === drawnWidth) return;
      drawnWidth = document.documentElement.clientWidth;
      tokenGrid.fit();
      attentionView.draw();
      randomBatchesView.draw();
      maskCostView.draw();
    }, RESIZE_DELAY);
  }

  function start() {
    const { endpoint, data, sentences, maxSentences } = JSON.parse(
      elements.byId("payload").textContent || "",
    );
    const texts = data ? data.sentences.map((sentence) => sentence.text) : sentences;
    // The page is at the root of its server, to which a proxy may give a prefix: /a/ or /a.
    const address = endpoint && window.location.pathname.replace(/\/+$/, "") + endpoint;
    const request = (changed, pause) => live.request(address, changed, show, showBatches, pause);
    const onChange = address ? (changed) => request(changed) : null;
    elements.byId("lesson").hidden = false;
    sentenceEditor.open(texts, maxSentences, onChange);
    if (!data?.cost) costAddress = address;
    elements.byId("cost-section").hidden = !costAddress && !data?.cost;
    if (data) show(data);
    if (address && !data?.random_batches) request(texts, 0);
    window.addEventListener("resize", onResize);
  }

  return { start, announce };
})();

page.start();
