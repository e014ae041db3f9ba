// Element creation. Invariant: external data becomes text, never markup.
"use strict";

const elements = (() => {
  /**
   * Create an element; strings among the children become text.
   * @param {string} tag
   * @param {Record<string, string | number>} [attributes]
   * @param {...(Node | string)} children
   */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      element.setAttribute(name, String(value));
    }
    element.append(...children);
    return element;
  }

  /** Find an element of the template. @param {string} id */
  function byId(id) {
    const element = document.getElementById(id);
    if (!element) throw new Error(`the page has no element #${id}`);
    return element;
  }

  /** A token's name, with its text direction isolated. @param {string} token */
  function tokenName(token) {
    return make("bdi", { class: "token-name" }, token);
  }

  /**
   * Mark every character of `text` that differs from `reference`; adjacent ones share a mark.
   * @param {string} text @param {string} reference
   */
  function marked(text, reference) {
    const fragment = document.createDocumentFragment();
    const differs = [...text].map((character, index) => character !== reference[index]);
    for (let start = 0, end = 0; start < text.length; start = end) {
      while (end < text.length && differs[end] === differs[start]) end += 1;
      const part = text.slice(start, end);
      fragment.append(differs[start] ? make("mark", {}, part) : part);
    }
    return fragment;
  }

  /** Content width; clientWidth includes the CSS padding. @param {Element} element */
  function innerWidth(element) {
    const style = getComputedStyle(element);
    return element.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  }

  return { make, byId, tokenName, marked, innerWidth };
})();
