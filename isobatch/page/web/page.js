// The page: draws a lesson in every section, again when the lesson or the width changes.
"use strict";

const page = (() => {
  const RESIZE_DELAY = 150;
  let drawnWidth = 0;
  let timer = 0;

  /** Draw a lesson. @param {Lesson} lesson */
  function show(lesson) {
    elements.byId("lesson").hidden = false;
    tooltip.hide();
    tokenGrid.draw(lesson);
    attentionView.open(lesson);
    const summary = logitsView.draw(lesson);
    randomBatchesView.open(lesson);
    modelInfoView.draw(lesson);
    drawnWidth = document.documentElement.clientWidth;
    announce(summary);
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
    }, RESIZE_DELAY);
  }

  function start() {
    const { endpoint, data, sentences, maxSentences } = JSON.parse(
      elements.byId("payload").textContent || "",
    );
    const texts = data ? data.sentences.map((sentence) => sentence.text) : sentences;
    // The page is at the root of its server, to which a proxy may give a prefix: /a/ or /a.
    const address = endpoint && window.location.pathname.replace(/\/+$/, "") + endpoint;
    const onChange = address ? (changed) => live.request(address, changed, show) : null;
    elements.byId("lesson").hidden = false;
    sentenceEditor.open(texts, maxSentences, onChange);
    if (data) show(data);
    if (address && !data?.random_batches) live.request(address, texts, show, 0);
    window.addEventListener("resize", onResize);
  }

  return { start, announce };
})();

page.start();
