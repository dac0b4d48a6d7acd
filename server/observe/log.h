// One line per event on stderr, as text or JSON, with named values.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/string_view.h"
#include "server/config/options.h"

namespace contextpool::server {

struct LogField {
  absl::string_view key;
  std::variant<absl::string_view, int64_t, double, bool> value;
};

// Thread safe: a line is written in one piece.
class Logger {
 public:
  // `file_descriptor` stays the caller's.
  Logger(LogFormat format, LogLevel level, int file_descriptor = 2)
      : format_(format), level_(level), file_descriptor_(file_descriptor) {}

  // Values may hold anything: what would break the line is escaped.
  void Log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields = {});

  bool enabled(LogLevel level) const { return level >= level_; }

  // The line without its end, for example
  //   2026-01-31T12:00:00.123Z INFO model loaded model=minilm seconds=0.41
  //   {"time":"...","level":"info","message":"model loaded","model":"minilm","seconds":0.41}
  static std::string Format(LogFormat format, absl::string_view time, LogLevel level,
                            absl::string_view message, std::initializer_list<LogField> fields);

 private:
  const LogFormat format_;
  const LogLevel level_;
  const int file_descriptor_;
};

}  // namespace contextpool::server
