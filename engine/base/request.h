// What a caller asks of the engine. A plain value: no wire type, no device type.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/base/clock.h"

namespace contextpool::engine {

enum class TaskKind : uint8_t { kEmbed, kClassify };
enum class Modality : uint8_t { kText, kImage };
enum class Priority : uint8_t { kInteractive, kBulk };
inline constexpr int kPriorities = 2;
enum class Truncation : uint8_t { kRight, kLeft, kReject };
// kPooler: the first token through the layer that the checkpoint calls its pooler.
enum class Pooling : uint8_t { kMean, kCls, kMax, kLastToken, kPooler };

// As the API and serving.textproto call it, behind "POOLING_".
constexpr const char* Name(Pooling pooling) {
  switch (pooling) {
    case Pooling::kMean:
      return "MEAN";
    case Pooling::kCls:
      return "CLS";
    case Pooling::kMax:
      return "MAX";
    case Pooling::kLastToken:
      return "LAST_TOKEN";
    case Pooling::kPooler:
      return "POOLER";
  }
  return "UNKNOWN";
}

// The views below point into the caller's message.
struct TextInput {
  absl::string_view utf8;
};
struct ImageInput {
  absl::string_view file;
};
struct TokenIdsInput {
  std::span<const int32_t> ids;
};
using Input = std::variant<TextInput, ImageInput, TokenIdsInput>;

struct Request {
  TaskKind task = TaskKind::kEmbed;
  // Empty: the only model that offers the task and the modality.
  std::string model;
  // 0: the version that serves by default.
  int64_t version = 0;
  // Everything the views point to must live until the request is answered.
  std::vector<Input> inputs;

  Truncation truncation = Truncation::kRight;
  // Embedding only; unset: as the model says.
  std::optional<Pooling> pooling;
  std::optional<bool> normalize;

  // Whether to report what ContextPool chose for each token.
  bool explain = false;

  Priority priority = Priority::kInteractive;
  // Unset: the model's default deadline.
  std::optional<TimePoint> deadline;
  // Asked to stop when the caller gives up: work that still waits is then dropped at once and the
  // request is answered with CANCELLED.
  std::stop_token stop;

  // Of the engine's own, to see whether it answers: not counted as traffic, and always computed.
  bool canary = false;
};

}  // namespace contextpool::engine
