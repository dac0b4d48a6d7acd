// Small tokenizer.json documents for tests.
#pragma once

#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace contextpool::engine {

inline nlohmann::json AddedTokenJson(const std::string& content, int id,
                                     const std::vector<std::string>& set_flags = {}) {
  nlohmann::json token = {{"content", content}, {"id", id}};
  for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized", "special"}) {
    token[flag] = false;
  }
  for (const std::string& flag : set_flags) token[flag] = true;
  return token;
}

// Uncased; the ids are the positions in the list below.
inline nlohmann::json WordPieceJson() {
  nlohmann::json vocab;
  for (const char* token : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##want", "##ed",
                            "want", "run", "##ning", ",", "low", "##low", "##lowest", "\u4e2d"}) {
    const auto id = vocab.size();
    vocab[token] = id;
  }
  return {{"version", "1.0"},
          {"truncation", {{"max_length", 3}}},
          {"padding", {{"strategy", {{"Fixed", 128}}}}},
          {"added_tokens",
           {AddedTokenJson("[CLS]", 2, {"special"}), AddedTokenJson("[MASK]", 4, {"special"})}},
          {"normalizer",
           {{"type", "BertNormalizer"},
            {"clean_text", true},
            {"handle_chinese_chars", true},
            {"strip_accents", nullptr},
            {"lowercase", true}}},
          {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single",
             {{{"SpecialToken", {{"id", "[CLS]"}, {"type_id", 0}}}},
              {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
              {{"SpecialToken", {{"id", "[SEP]"}, {"type_id", 0}}}}}},
            {"special_tokens", {{"[CLS]", {{"ids", {2}}}}, {"[SEP]", {{"ids", {3}}}}}}}},
          {"decoder", {{"type", "WordPiece"}}},
          {"model",
           {{"type", "WordPiece"},
            {"unk_token", "[UNK]"},
            {"continuing_subword_prefix", "##"},
            {"max_input_chars_per_word", 10},
            {"vocab", vocab}}}};
}

// Every byte b has the id b + 1; 0 is "<pad>".
inline nlohmann::json ByteLevelJson() {
  nlohmann::json vocab = {{"<pad>", 0}};
  int next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD);
    const int c = printable ? b : next++;
    std::string spelling;
    if (c < 0x80) {
      spelling = static_cast<char>(c);
    } else {
      spelling = {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
    }
    vocab[spelling] = b + 1;
  }
  return {{"version", "1.0"},
          {"added_tokens", {AddedTokenJson("<pad>", 0, {"special"})}},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
          {"post_processor", nullptr},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", nlohmann::json::array()}}}};
}

}  // namespace contextpool::engine
