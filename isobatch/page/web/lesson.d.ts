// The shapes that the scripts share, for readers and for `tsc --checkJs`; not part of the page.
// They are those of isobatch/page/data.py.

interface Attention {
  weights: string;
  leaks: number[][][];
  head_leaks: number[][];
  leak: number;
}

interface Verdict {
  same_bits: boolean;
  moved: number;
  steps: number;
  flipped: boolean;
  text: string;
}

type Way = "alone" | "forgotten" | "masked" | "packed_alone" | "packed";

interface Outcome {
  way: Way;
  logits: number[];
  bits: string[];
  label: string;
  score: number;
  verdict: Verdict;
}

interface Sentence {
  text: string;
  cut: boolean;
  tokens: string[];
  input_ids: number[];
  attention_mask: number[];
  num_tokens: number;
  unmasked: Attention;
  masked: Attention;
  labels: string[];
  outcomes: Outcome[];
}

interface Draw {
  neighbours: number[];
  place: number;
  columns: number;
  pads: number;
}

interface Strip {
  way: "forgotten" | "masked" | "packed";
  differences: number[];
  steps: number[];
  num_moved: number;
  num_flipped: number;
  largest: number;
}

interface Company {
  sentence: number;
  neighbours: string[];
  draws: Draw[];
  strips: Strip[];
}

interface Lesson {
  facts: {
    checkpoint: string;
    family: string;
    labels: string[];
    num_layers: number;
    num_heads: number;
    pad_token: string;
    versions: string;
    instruction_set: string;
  };
  limits: { max_sentences: number; max_tokens: number; left_out: number };
  sentences: Sentence[];
  company: Company | null;
}

// d3's own types are for modules; here it is one global object.
declare const d3: any;
