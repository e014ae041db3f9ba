// Number formatting. Invariant: only exact zero is shown as zero.
"use strict";

const numbers = (() => {
  const SPACE = "\u00a0";
  const MINUS = "\u2212";

  /** Format a share as a percentage: "14.6 %", "0 %", "under 0.1 %". @param {number} share */
  function percent(share) {
    if (share === 0) return `0${SPACE}%`;
    if (share < 0.0005) return `under${SPACE}0.1${SPACE}%`;
    if (share > 0.9995 && share < 1) return `over${SPACE}99.9${SPACE}%`;
    const shown = (100 * share).toFixed(1).replace(/\.0$/, "");
    return `${shown}${SPACE}%`;
  }

  /** Nine significant digits, which distinguish any two float32 numbers. @param {number} value */
  function float32(value) {
    return signed(value.toPrecision(9));
  }

  /** Two significant digits without an exponent: 0.17, 0.00000048. @param {number} value */
  function plain(value) {
    if (value === 0) return "0";
    const zeros = Math.max(0, -Math.floor(Math.log10(Math.abs(value))) - 1);
    const digits = Math.abs(value) >= 1 ? 1 : zeros + 2;
    return signed(value.toFixed(Math.min(20, digits)));
  }

  /** An integer with thousands separators. @param {number} value */
  function whole(value) {
    return signed(value.toLocaleString("en-GB"));
  }

  /** "1 pad", "3 pads". @param {number} count @param {string} noun */
  function counted(count, noun) {
    return `${whole(count)}${SPACE}${noun}${count === 1 ? "" : "s"}`;
  }

  /** A magnification, to two significant digits: "360,000". @param {number} factor */
  function rounded(factor) {
    return whole(Number(factor.toPrecision(2)));
  }

  /** Use a typographic minus, as wide as a digit. @param {string} text */
  function signed(text) {
    return text.replace("-", MINUS);
  }

  return { percent, float32, plain, whole, counted, rounded, signed };
})();
