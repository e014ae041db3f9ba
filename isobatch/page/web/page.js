// The page: one lesson drawn in every section, and drawn again when it, or the width, changes.
"use strict";

const page = (() => {
  const REST = 150;
  let drawnWidth = 0;
  let timer = 0;

  /** Draw everything of a lesson. @param {Lesson} lesson */
  function show(lesson) {
    elements.byId("lesson").hidden = false;
    tip.hide();
    tokenGrid.draw(lesson);
    attentionView.open(lesson);
    const said = logitsView.draw(lesson);
    companyView.open(lesson);
    factsView.draw(lesson);
    drawnWidth = document.documentElement.clientWidth;
    announce(said);
  }

  /** Tell a screen reader, politely. @param {string} text */
  function announce(text) {
    elements.byId("announcement").textContent = text;
  }

  /** Pictures are as wide as their frames; texts flow by themselves. */
  function onResize() {
    window.clearTimeout(timer);
    timer = window.setTimeout(() => {
      if (document.documentElement.clientWidth === drawnWidth) return;
      drawnWidth = document.documentElement.clientWidth;
      tokenGrid.fit();
      attentionView.draw();
      companyView.draw();
    }, REST);
  }

  function start() {
    const { endpoint, data, sentences, maxSentences } = JSON.parse(
      elements.byId("payload").textContent || "",
    );
    const texts = data ? data.sentences.map((sentence) => sentence.text) : sentences;
    const onChange = endpoint ? (changed) => live.ask(endpoint, changed, show) : null;
    elements.byId("lesson").hidden = false;
    sentenceEditor.open(texts, maxSentences, onChange);
    if (data) show(data);
    if (endpoint && !data?.company) live.ask(endpoint, texts, show, 0);
    window.addEventListener("resize", onResize);
  }

  return { start, announce };
})();

page.start();
