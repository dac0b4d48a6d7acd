#include "engine/model/safetensors.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SafetensorsTest : public ::testing::Test {
 protected:
  absl::StatusOr<SafetensorsFile> Open(const std::string& content) {
    directory_.Write("m.safetensors", absl::string_view(content));
    return SafetensorsFile::Open(directory_.path(), "m.safetensors");
  }

  // Why a file with this header and this much data is refused.
  std::string Refusal(const json& header, size_t data_bytes) {
    return std::string(
        Open(SafetensorsBytes(header, std::string(data_bytes, 'x'))).status().message());
  }

  TempDirectory directory_;
};

json Entry(const char* dtype, json shape, json offsets) {
  return {{"dtype", dtype}, {"shape", std::move(shape)}, {"data_offsets", std::move(offsets)}};
}

TEST_F(SafetensorsTest, ReadsTheTensorsOfAFile) {
  auto file = Open(SafetensorsBytes({{"a", F32Tensor({2, 2}, {1, -2, 3.5, 0})},
                                     {"b", HalfTensor("F16", {3}, {0x3c00, 0x0001, 0xfc00})},
                                     {"c", HalfTensor("BF16", {1}, {0xc040})},
                                     {"empty", F32Tensor({0, 7}, {})},
                                     {"scalar", F32Tensor({}, {9})}}));
  ASSERT_TRUE(file.ok()) << file.status();
  const TensorEntry* a = file->Find("a");
  ASSERT_NE(a, nullptr);
  EXPECT_THAT(a->shape, ElementsAre(2, 2));
  std::vector<float> values(4);
  ASSERT_TRUE(file->ReadFloats(*a, values).ok());
  EXPECT_THAT(values, ElementsAre(1, -2, 3.5, 0));
  values.resize(3);
  ASSERT_TRUE(file->ReadFloats(*file->Find("b"), values).ok());
  EXPECT_THAT(values, ElementsAre(1, 0x1p-24f, -std::numeric_limits<float>::infinity()));
  values.resize(1);
  ASSERT_TRUE(file->ReadFloats(*file->Find("c"), values).ok());
  EXPECT_THAT(values, ElementsAre(-3));
  EXPECT_EQ(file->Find("empty")->size, 0);
  ASSERT_TRUE(file->ReadFloats(*file->Find("scalar"), values).ok());
  EXPECT_THAT(values, ElementsAre(9));
  EXPECT_EQ(file->Find("d"), nullptr);
}

TEST_F(SafetensorsTest, ConvertsTensorsLargerThanOneChunk) {
  std::vector<uint16_t> bits(100001);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i % 0x7c00);
  auto file = Open(SafetensorsBytes({{"a", HalfTensor("F16", {100001}, bits)}}));
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<float> values(bits.size());
  ASSERT_TRUE(file->ReadFloats(*file->Find("a"), values).ok());
  EXPECT_EQ(values[0], 0);
  EXPECT_EQ(values[0x3c00], 1);
  EXPECT_EQ(values[3 * 0x7c00 + 1], 0x1p-24f);
}

TEST_F(SafetensorsTest, AcceptsMetadataAndPaddingAndDtypesThatNobodyNeeds) {
  std::string text = json({{"__metadata__", {{"format", "pt"}}},
                           {"ids", Entry("I64", {1, 2}, {0, 16})},
                           {"packed", Entry("F4", {2}, {16, 17})}})
                         .dump();
  text += "    ";
  std::string file(8, '\0');
  file[0] = static_cast<char>(text.size());
  auto opened = Open(file + text + std::string(17, 'x'));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_FALSE(SafetensorsFile::IsFloat(*opened->Find("ids")));
}

TEST_F(SafetensorsTest, RefusesAHeaderThatCannotBe) {
  EXPECT_THAT(Open("").status().message(), HasSubstr("m.safetensors: is too short"));
  EXPECT_THAT(Open("1234567").status().message(), HasSubstr("too short"));
  EXPECT_THAT(Open(std::string(8, '\xff')).status().message(), HasSubstr("announces a header"));
  EXPECT_THAT(Open(std::string("\x09\0\0\0\0\0\0\0{}", 10)).status().message(),
              HasSubstr("announces a header of 9 bytes"));
  EXPECT_THAT(Open(std::string("\x02\0\0\0\0\0\0\0{x", 10)).status().message(),
              HasSubstr("not valid JSON"));
  EXPECT_THAT(Open(std::string("\x02\0\0\0\0\0\0\0[]", 10)).status().message(),
              HasSubstr("not a JSON object"));
  EXPECT_THAT(Open(std::string(8, '\0')).status().message(), HasSubstr("not valid JSON"));
}

TEST_F(SafetensorsTest, RefusesShapesThatLie) {
  EXPECT_THAT(Refusal({{"w", Entry("F32", {3}, {0, 8})}}, 8),
              AllOf(HasSubstr("\"w\""), HasSubstr("has 8 bytes")));
  EXPECT_THAT(Refusal({{"w", Entry("F32", {-1, -2}, {0, 8})}}, 8), HasSubstr("\"w\""));
  EXPECT_THAT(Refusal({{"w", Entry("F32", {2.0}, {0, 8})}}, 8), HasSubstr("\"shape\""));
  EXPECT_THAT(Refusal({{"w", Entry("F32", {1ull << 32, 1ull << 32}, {0, 0})}}, 0),
              HasSubstr("overflows"));
  // 2^62 elements of 4 bytes are 2^64 bytes, which must not count as 0.
  EXPECT_THAT(Refusal({{"w", Entry("F32", {1ull << 62}, {0, 0})}}, 0), HasSubstr("has 0 bytes"));
  EXPECT_THAT(Refusal({{"w", Entry("F32", {UINT64_MAX}, {0, 0})}}, 0), HasSubstr("\"shape\""));
  EXPECT_THAT(Refusal({{"w", Entry("F4", {3}, {0, 1})}}, 1), HasSubstr("has 1 bytes"));
  EXPECT_THAT(Refusal({{"w", Entry("F32", json(std::vector<int>(17, 1)), {0, 4})}}, 4),
              HasSubstr("too many dimensions"));
  EXPECT_THAT(Refusal({{"w", Entry("F32", "2", {0, 8})}}, 8), HasSubstr("\"shape\""));
}

TEST_F(SafetensorsTest, RefusesOffsetsOutsideTheFile) {
  EXPECT_THAT(Refusal({{"w", Entry("F32", {2}, {0, 8})}}, 7), HasSubstr("outside the file's 7"));
  EXPECT_THAT(Refusal({{"w", Entry("F32", {2}, {8, 0})}}, 8), HasSubstr("\"data_offsets\""));
  EXPECT_THAT(Refusal({{"w", Entry("F32", {2}, {-8, 0})}}, 8), HasSubstr("\"data_offsets\""));
  EXPECT_THAT(Refusal({{"w", Entry("F32", {2}, {0, INT64_MAX})}}, 8), HasSubstr("outside"));
  EXPECT_THAT(Refusal({{"w", Entry("F32", {2}, {UINT64_MAX, UINT64_MAX})}}, 8),
              HasSubstr("outside"));
  EXPECT_THAT(Refusal({{"w", Entry("F32", {2}, {0})}}, 8), HasSubstr("two numbers"));
}

TEST_F(SafetensorsTest, RefusesOverlapsGapsAndStrayBytes) {
  EXPECT_THAT(Refusal({{"a", Entry("F32", {2}, {0, 8})}, {"b", Entry("F32", {2}, {4, 12})}}, 12),
              HasSubstr("\"b\" overlaps"));
  EXPECT_THAT(Refusal({{"a", Entry("F32", {2}, {0, 8})}, {"b", Entry("F32", {2}, {0, 8})}}, 8),
              HasSubstr("overlaps"));
  EXPECT_THAT(Refusal({{"a", Entry("F32", {1}, {0, 4})}, {"b", Entry("F32", {1}, {8, 12})}}, 12),
              HasSubstr("\"b\" leaves a gap"));
  EXPECT_THAT(Refusal({{"a", Entry("F32", {1}, {0, 4})}}, 5), HasSubstr("1 bytes after the last"));
  EXPECT_THAT(Refusal(json::object(), 5), HasSubstr("5 bytes after the last"));
}

TEST_F(SafetensorsTest, RefusesBrokenDescriptions) {
  EXPECT_THAT(Refusal({{"w", Entry("F33", {2}, {0, 8})}}, 8),
              AllOf(HasSubstr("\"w\""), HasSubstr("unknown dtype \"F33\"")));
  EXPECT_THAT(Refusal({{"w", 5}}, 0), HasSubstr("not described by an object"));
  EXPECT_THAT(Refusal({{"w", json::object()}}, 0), HasSubstr("no \"dtype\""));
  EXPECT_THAT(Refusal({{"__metadata__", {{"a", 1}}}}, 0), HasSubstr("__metadata__"));
  EXPECT_THAT(Refusal({{"__metadata__", "x"}}, 0), HasSubstr("__metadata__"));
}

TEST_F(SafetensorsTest, RefusesATensorNamedTwice) {
  const std::string entry = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  const std::string header = "{" + entry + "," + entry + "}";
  std::string file(8, '\0');
  file[0] = static_cast<char>(header.size());
  EXPECT_THAT(Open(file + header + "x").status().message(), HasSubstr("the key \"a\" twice"));
}

TEST_F(SafetensorsTest, EscapesHostileNamesInMessages) {
  const std::string refusal = Refusal({{"\n\x1b[31m" + std::string(5000, 'x'), 5}}, 0);
  EXPECT_THAT(refusal, HasSubstr("\\n\\033[31m"));
  EXPECT_LT(refusal.size(), 400u);
}

TEST_F(SafetensorsTest, AFileThatShrinksAfterOpeningIsAnError) {
  auto file = Open(SafetensorsBytes({{"a", F32Tensor({1000}, std::vector<float>(1000))}}));
  ASSERT_TRUE(file.ok());
  std::filesystem::resize_file(directory_.path() + "/m.safetensors", 500);
  std::vector<float> values(1000);
  EXPECT_EQ(file->ReadFloats(*file->Find("a"), values).code(), absl::StatusCode::kDataLoss);
}

TEST_F(SafetensorsTest, MissingFilesAndFoldersAreErrors) {
  EXPECT_TRUE(absl::IsNotFound(SafetensorsFile::Open(directory_.path(), "none").status()));
  std::filesystem::create_directory(directory_.path() + "/folder");
  EXPECT_THAT(SafetensorsFile::Open(directory_.path(), "folder").status().message(),
              HasSubstr("not a regular file"));
}

}  // namespace
}  // namespace contextpool::engine
