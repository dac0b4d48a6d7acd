// Small tokenizer.json documents for the fuzzers.
#pragma once

#include <cstdint>
#include <string>

#include "nlohmann/json.hpp"

namespace contextpool::engine {

inline nlohmann::json AddedTokenJson(const std::string& content, int id, unsigned flags) {
  return {{"content", content},
          {"id", id},
          {"single_word", (flags & 1) != 0},
          {"lstrip", (flags & 2) != 0},
          {"rstrip", (flags & 4) != 0},
          {"normalized", (flags & 8) != 0},
          {"special", (flags & 16) != 0}};
}

// A WordPiece document; `flags` choose the normaliser's switches and the added tokens' kinds.
inline nlohmann::json WordPieceJson(unsigned flags) {
  nlohmann::json vocab;
  for (const char* token :
       {"[PAD]", "[UNK]", "[CLS]", "[SEP]",  "[MASK]",   "a", "##a",      "b",      "##b",
        "ab",    "##ab",  "abc",   "\u00e9", "##\u00e9", "e", "##e",      "\u4e2d", "!",
        "##!",   "[",     "]",     "cl",     "##s",      "i", "##\u0307", "\u1112", "##\u1161"}) {
    const auto id = vocab.size();
    vocab[token] = id;
  }
  const int size = static_cast<int>(vocab.size());
  const nlohmann::json strip = (flags & 4) ? nlohmann::json((flags & 8) != 0) : nullptr;
  return {{"version", "1.0"},
          {"added_tokens",
           {AddedTokenJson("[CLS]", 2, 16), AddedTokenJson("[MASK]", 4, 2 | 16),
            AddedTokenJson("<e>", size, flags >> 4), AddedTokenJson(" ", size + 1, 4),
            AddedTokenJson("A!", size + 2, 8 | flags >> 5)}},
          {"normalizer",
           {{"type", "BertNormalizer"},
            {"clean_text", (flags & 1) != 0},
            {"handle_chinese_chars", (flags & 2) != 0},
            {"strip_accents", strip},
            {"lowercase", (flags & 16) != 0}}},
          {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
          {"post_processor",
           {{"type", "BertProcessing"}, {"cls", {"[CLS]", 2}}, {"sep", {"[SEP]", 3}}}},
          {"model",
           {{"type", "WordPiece"},
            {"unk_token", "[UNK]"},
            {"continuing_subword_prefix", "##"},
            {"max_input_chars_per_word", 10},
            {"vocab", vocab}}}};
}

}  // namespace contextpool::engine
