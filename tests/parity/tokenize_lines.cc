// Tokenises texts for tokenizer_parity.py and tokenizer_bench.py.
//
//   tokenize_lines TOKENIZER_JSON MAX_TOKENS right|left SPECIAL(0|1) [REPETITIONS]
//
// stdin: per text a uint32 size in bytes and the text. stdout: per text a uint32 count and that
// many int32 ids, or a count of 2^32 - 1 for an error. With REPETITIONS, stdout is instead one
// line: the seconds of each repetition over all texts, reading not counted.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "engine/preprocess/tokenizer.h"

namespace contextpool::engine {
namespace {

bool ReadText(std::string& text) {
  uint32_t size;
  if (std::fread(&size, sizeof(size), 1, stdin) != 1) return false;
  text.resize(size);
  return std::fread(text.data(), 1, size, stdin) == size;
}

void WriteIds(const Tokenizer& tokenizer, const EncodeOptions& options) {
  std::string text;
  std::vector<int32_t> ids;
  while (ReadText(text)) {
    ids.clear();
    uint32_t count = UINT32_MAX;
    if (tokenizer.Encode(text, options, ids).ok()) count = static_cast<uint32_t>(ids.size());
    std::fwrite(&count, sizeof(count), 1, stdout);
    std::fwrite(ids.data(), sizeof(int32_t), ids.size(), stdout);
  }
}

void Measure(const Tokenizer& tokenizer, const EncodeOptions& options, int repetitions) {
  std::vector<std::string> texts;
  for (std::string text; ReadText(text);) texts.push_back(text);
  std::vector<int32_t> ids;
  for (int i = 0; i < repetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    for (const std::string& text : texts) {
      ids.clear();
      if (!tokenizer.Encode(text, options, ids).ok()) std::exit(1);
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    std::printf("%.6f ", elapsed.count());
  }
  std::printf("\n");
}

int Main(int argc, char** argv) {
  if (argc < 5) return 2;
  std::ifstream file(argv[1], std::ios::binary);
  const std::string json{std::istreambuf_iterator<char>(file), {}};
  const absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromJson(json);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status() << "\n";
    return 1;
  }
  EncodeOptions options;
  options.max_tokens = std::atoi(argv[2]);
  options.truncation = std::strcmp(argv[3], "left") == 0 ? Truncation::kLeft : Truncation::kRight;
  options.add_special_tokens = std::atoi(argv[4]) != 0;
  if (argc > 5) {
    Measure(**tokenizer, options, std::atoi(argv[5]));
  } else {
    WriteIds(**tokenizer, options);
  }
  return 0;
}

}  // namespace
}  // namespace contextpool::engine

int main(int argc, char** argv) { return contextpool::engine::Main(argc, argv); }
