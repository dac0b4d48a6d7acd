// The command line of `contextpool`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "clients/cli/bench/load_options.h"
#include "clients/cli/inputs.h"
#include "contextpool/v1/types.pb.h"

namespace contextpool::cli {

enum class Command : uint8_t { kEmbed, kClassify, kTokenize, kModels, kBench };

// What one run does.
struct Options {
  Command command = Command::kEmbed;
  std::string server;
  std::string model;
  int64_t model_version = 0;
  // Longest wait for each request.
  double timeout_s = 60;
  bool json = false;
  std::vector<InputSource> sources;
  v1::Truncation truncation = v1::TRUNCATION_UNSPECIFIED;
  v1::Priority priority = v1::PRIORITY_UNSPECIFIED;
  bool explain = false;
  // Where pictures of explanations go; empty: nowhere.
  std::string explain_file;

  // embed
  std::optional<bool> normalize;
  uint32_t dimensions = 0;
  v1::Pooling pooling = v1::POOLING_UNSPECIFIED;
  bool similarity = false;
  std::string output;

  // classify
  std::optional<uint32_t> top_k;
  std::optional<float> threshold;
  std::vector<std::string> labels;
  bool logits = false;

  // tokenize
  bool without_special_tokens = false;

  bench::LoadOptions load;
};

// What the command line asks for: a run, or a text to print.
struct Invocation {
  Options options;
  std::optional<std::string> print;
};

// Reads `args`, the words after the program's name. `default_server` serves where --server is not
// given.
//
// INVALID_ARGUMENT: the message says what is wrong and what would be right.
absl::StatusOr<Invocation> ParseCommandLine(const std::vector<std::string>& args,
                                            const std::string& default_server);

}  // namespace contextpool::cli
