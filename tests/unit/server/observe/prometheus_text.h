// A strict reader of Prometheus' text format, for tests.
#pragma once

#include <map>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

namespace contextpool::server {

// Samples by their text, for example `up{job="x"}`.
using Samples = std::map<std::string, double>;

// The family that a sample belongs to.
inline std::string FamilyOf(const std::string& sample,
                            const std::map<std::string, std::string>& types) {
  const std::string name = sample.substr(0, sample.find('{'));
  if (types.count(name) != 0) return name;
  for (const char* suffix : {"_bucket", "_sum", "_count"}) {
    if (!absl::EndsWith(name, suffix)) continue;
    const std::string family = name.substr(0, name.size() - std::string(suffix).size());
    const auto type = types.find(family);
    if (type != types.end() && type->second == "histogram") return family;
  }
  return "";
}

// Fails the test on a line that is not in the format, a family that is described twice or torn
// apart, a sample without a type, and a series that stands twice.
inline Samples ParsePrometheusText(const std::string& text) {
  Samples samples;
  std::map<std::string, std::string> types;
  std::set<std::string> closed;
  std::string current;
  for (const absl::string_view view : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::string line(view);
    if (absl::StartsWith(line, "# TYPE ")) {
      const std::vector<std::string> parts = absl::StrSplit(line, ' ');
      EXPECT_EQ(parts.size(), 4) << line;
      EXPECT_TRUE(types.emplace(parts[2], parts[3]).second) << "twice: " << line;
      continue;
    }
    if (absl::StartsWith(line, "# HELP ")) continue;
    const size_t space = line.rfind(' ');
    double value = 0;
    if (space == std::string::npos || !absl::SimpleAtod(line.substr(space + 1), &value)) {
      ADD_FAILURE() << "not a sample: " << line;
      continue;
    }
    const std::string sample = line.substr(0, space);
    const std::string family = FamilyOf(sample, types);
    EXPECT_FALSE(family.empty()) << "no type: " << line;
    if (family != current) {
      EXPECT_TRUE(closed.insert(family).second) << "torn apart: " << family;
      current = family;
    }
    EXPECT_TRUE(samples.emplace(sample, value).second) << "twice: " << line;
  }
  return samples;
}

}  // namespace contextpool::server
