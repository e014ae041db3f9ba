// Types shared by the scripts, for readers and for `tsc --checkJs`; not part of the page.
// They match isobatch/page/lesson_data.py.

interface AttentionWeights {
  weights: string;
  leaks: number[][][];
  head_leaks: number[][];
  leak: number;
}

interface LogitComparison {
  same_bits: boolean;
  max_difference: number;
  max_ulps: number;
  label_flipped: boolean;
  summary: string;
}

type Way = "alone" | "forgotten" | "masked" | "packed_alone" | "packed";

interface SentenceResult {
  way: Way;
  logits: number[];
  bits: string[];
  label: string;
  score: number;
  comparison: LogitComparison;
}

interface LessonSentence {
  text: string;
  cut: boolean;
  tokens: string[];
  input_ids: number[];
  attention_mask: number[];
  num_tokens: number;
  unmasked: AttentionWeights;
  masked: AttentionWeights;
  labels: string[];
  results: SentenceResult[];
}

interface RandomBatch {
  neighbours: number[];
  row: number;
  columns: number;
  pads: number;
}

interface DifferenceSeries {
  way: "forgotten" | "masked" | "packed";
  differences: number[];
  ulps: number[];
  num_moved: number;
  num_flipped: number;
  largest: number;
}

interface RandomBatches {
  sentence: number;
  neighbours: string[];
  batches: RandomBatch[];
  series: DifferenceSeries[];
}

interface MaskEffect {
  num_moved: number;
  num_flipped: number;
  median: number;
  largest: number;
}

interface MoveBin {
  low: number;
  high: number;
  num_texts: number;
  num_flipped: number;
}

interface MovedText {
  index: number;
  text: string;
  num_tokens: number;
  num_pads: number;
  batch: number;
  neighbours: string[];
  longest: number;
  alone: number[];
  forgotten: number[];
  masked: number[];
  label_alone: string;
  label_forgotten: string;
  label_masked: string;
  moved: number;
  replay_moved: number;
  replay_same_bits: boolean;
}

interface MaskCost {
  source: string;
  num_texts: number;
  num_left_out: number;
  num_truncated: number;
  batch_size: number;
  num_batches: number;
  num_padded: number;
  num_pads: number;
  forgotten: MaskEffect;
  masked: MaskEffect;
  bins: MoveBin[];
  furthest: MovedText | null;
}

interface Lesson {
  model: {
    checkpoint: string;
    family: string;
    labels: string[];
    num_layers: number;
    num_heads: number;
    pad_token: string;
    versions: string;
    instruction_set: string;
  };
  limits: { max_sentences: number; max_tokens: number; max_characters: number; left_out: number };
  sentences: LessonSentence[];
  random_batches: RandomBatches | null;
  cost: MaskCost | null;
}

// d3's own types are for modules; here it is one global object.
declare const d3: any;
