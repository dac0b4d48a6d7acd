// golden.safetensors as it is read and as values are compared with it; engine_test.cc runs it.
#include "engine/model/golden.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

template <typename T>
TestTensor Integers(const char* dtype, const std::vector<T>& values) {
  return {dtype,
          {static_cast<int64_t>(values.size())},
          std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T))};
}

TestTensor I32(const std::vector<int32_t>& values) { return Integers("I32", values); }
TestTensor I64(const std::vector<int64_t>& values) { return Integers("I64", values); }

// A directory whose model has 2 dimensions, 3 labels, 10 tokens in its vocabulary and reads 4.
class GoldenTest : public ::testing::Test {
 protected:
  GoldenTest() {
    info_.embedding_dimensions = 2;
    info_.labels = {"a", "b", "c"};
    info_.vocabulary_size = 10;
    info_.max_tokens = 4;
    tensors_ = {{"input_ids", I32({1, 2, 3, 9, 0})},
                {"cu_lengths", I32({0, 1, 5})},
                {"embedding", F32Tensor({2, 2}, {0.5, -8, 0.25, 4})},
                {"logits", F32Tensor({2, 3}, {1, 2, 3, -4, 5, 6})}};
    spec_.directory = directory_.path();
  }

  absl::StatusOr<std::optional<GoldenFile>> Read() {
    directory_.Write("golden.safetensors", absl::string_view(SafetensorsBytes(tensors_)));
    return ReadGolden(spec_, info_);
  }

  GoldenFile MustRead() {
    auto golden = Read();
    EXPECT_TRUE(golden.ok()) << golden.status();
    return golden->value();
  }

  // Why the file is refused with this tensor in place of the good one.
  std::string ErrorWith(const std::string& name, TestTensor tensor) {
    const auto good = tensors_;
    tensors_[name] = std::move(tensor);
    const absl::Status status = Read().status();
    tensors_ = good;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  }

  std::string ErrorWithout(const std::string& name) {
    const auto good = tensors_;
    tensors_.erase(name);
    const absl::Status status = Read().status();
    tensors_ = good;
    return std::string(status.message());
  }

  TempDirectory directory_;
  ModelSpec spec_;
  ModelInfo info_;
  std::map<std::string, TestTensor> tensors_;
};

TEST_F(GoldenTest, ADirectoryWithoutTheFileHasNothingToCheck) {
  const auto golden = ReadGolden(spec_, info_);
  ASSERT_TRUE(golden.ok()) << golden.status();
  EXPECT_EQ(*golden, std::nullopt);
}

TEST_F(GoldenTest, HoldsSequencesAndWhatIsExpectedOfThem) {
  const GoldenFile golden = MustRead();
  ASSERT_EQ(golden.sequences(), 2);
  EXPECT_THAT(golden.Input(0).token_ids, ElementsAre(1));
  EXPECT_THAT(golden.Input(1).token_ids, ElementsAre(2, 3, 9, 0));
  ASSERT_EQ(golden.tensors.size(), 2u);
  EXPECT_EQ(golden.tensors[0].output.task, TaskKind::kEmbed);
  EXPECT_THAT(golden.tensors[0].values, ElementsAre(0.5, -8, 0.25, 4));
  EXPECT_EQ(golden.tensors[1].output.task, TaskKind::kClassify);
  EXPECT_THAT(golden.tensors[1].values, ElementsAre(1, 2, 3, -4, 5, 6));
}

TEST_F(GoldenTest, SixtyFourBitIntegersAreTheSame) {
  tensors_["input_ids"] = I64({1, 2, 3, 9, 0});
  tensors_["cu_lengths"] = I64({0, 1, 5});
  const GoldenFile golden = MustRead();
  EXPECT_THAT(golden.Input(1).token_ids, ElementsAre(2, 3, 9, 0));
  EXPECT_THAT(ErrorWith("input_ids", I64({1, 2, int64_t{1} << 32, 0, 0})),
              HasSubstr("holds 4294967296 at 2, outside the vocabulary of 10 tokens"));
}

TEST_F(GoldenTest, EmbeddingsArePooledAsTheCheckpointSaysNotAsTheOperatorDoes) {
  info_.own_pooling = Pooling::kMax;
  info_.own_normalize = true;
  spec_.pooling = info_.pooling = Pooling::kCls;
  spec_.normalize = info_.normalize = false;
  const GoldenFile golden = MustRead();
  EXPECT_EQ(golden.tensors[0].output.pooling, Pooling::kMax);
  EXPECT_TRUE(golden.tensors[0].output.normalize);
}

// Of a model that makes 5 tokens of an image of 2 x 1 pixels.
class GoldenImageTest : public GoldenTest {
 protected:
  GoldenImageTest() {
    info_.image.emplace().size = {2, 1};
    info_.max_tokens = 5;
    tensors_.erase("input_ids");
    tensors_.erase("cu_lengths");
    tensors_["pixels"] = Pixels({2, 2, 1, 3});
  }

  // 0, 1, 2, ...
  static TestTensor Pixels(std::vector<int64_t> shape) {
    int64_t size = 1;
    for (int64_t side : shape) size *= side;
    std::string bytes;
    for (int64_t i = 0; i < size; ++i) bytes.push_back(static_cast<char>(i));
    return {"U8", std::move(shape), std::move(bytes)};
  }
};

TEST_F(GoldenImageTest, HoldsImagesAndWhatIsExpectedOfThem) {
  const GoldenFile golden = MustRead();
  ASSERT_EQ(golden.sequences(), 2);
  EXPECT_THAT(golden.cu_lengths, ElementsAre(0, 5, 10));
  EXPECT_THAT(golden.Input(0).pixels, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(golden.Input(1).pixels, ElementsAre(6, 7, 8, 9, 10, 11));
  EXPECT_TRUE(golden.Input(1).token_ids.empty());
  EXPECT_EQ(golden.tensors.size(), 2u);
}

TEST_F(GoldenImageTest, PixelsThatTheModelDoesNotReadAreNamed) {
  EXPECT_THAT(ErrorWithout("pixels"), HasSubstr("\"pixels\" is missing"));
  EXPECT_THAT(ErrorWith("pixels", Pixels({2, 1, 2, 3})), HasSubstr("U8 [images, 2, 1, 3]"));
  EXPECT_THAT(ErrorWith("pixels", Pixels({12})), HasSubstr("found U8 [12]"));
  TestTensor signed_pixels = Pixels({2, 2, 1, 3});
  signed_pixels.dtype = "I8";
  EXPECT_THAT(ErrorWith("pixels", signed_pixels), HasSubstr("found I8"));
  EXPECT_THAT(ErrorWith("pixels", Pixels({1025, 2, 1, 3})), HasSubstr("from 1 to 1024 images"));
  EXPECT_THAT(ErrorWith("pixels", Pixels({0, 2, 1, 3})), HasSubstr("from 1 to 1024 images"));
  EXPECT_THAT(ErrorWith("input_ids", I32({1})), HasSubstr("\"input_ids\" is unknown"));
}

TEST_F(GoldenImageTest, LargeImagesAreFew) {
  info_.image->size = {4096, 4096};
  TestTensor large = Pixels({0, 4096, 4096, 3});
  large.shape[0] = 2;
  large.bytes.resize(size_t{2} * 4096 * 4096 * 3);
  EXPECT_THAT(ErrorWith("pixels", std::move(large)), HasSubstr("67108864 bytes"));
}

TEST_F(GoldenTest, PixelsAreUnknownToAModelOfTexts) {
  EXPECT_THAT(ErrorWith("pixels", F32Tensor({1}, {1})), HasSubstr("\"pixels\" is unknown"));
}

TEST_F(GoldenTest, OneOfEmbeddingAndLogitsIsEnough) {
  EXPECT_EQ(ErrorWithout("embedding"), "");
  EXPECT_EQ(ErrorWithout("logits"), "");
  tensors_.erase("embedding");
  EXPECT_THAT(ErrorWithout("logits"), HasSubstr("has neither \"embedding\" nor \"logits\""));
}

TEST_F(GoldenTest, MissingAndUnknownTensorsAreNamed) {
  EXPECT_THAT(ErrorWithout("input_ids"),
              HasSubstr("golden.safetensors: the tensor \"input_ids\" is missing"));
  EXPECT_THAT(ErrorWithout("cu_lengths"), HasSubstr("the tensor \"cu_lengths\" is missing"));
  EXPECT_THAT(ErrorWith("pixels", I32({1})),
              HasSubstr("golden.safetensors: the tensor \"pixels\" is unknown; known are "
                        "input_ids, cu_lengths, embedding, logits"));
}

TEST_F(GoldenTest, WrongDtypesAreNamed) {
  EXPECT_THAT(ErrorWith("input_ids", F32Tensor({5}, {1, 2, 3, 4, 5})),
              HasSubstr("\"input_ids\" must be I32 or I64, found F32"));
  EXPECT_THAT(ErrorWith("cu_lengths", F32Tensor({3}, {0, 1, 5})),
              HasSubstr("\"cu_lengths\" must be I32 or I64, found F32"));
  EXPECT_THAT(ErrorWith("embedding", HalfTensor("F16", {2, 2}, {0, 0, 0, 0})),
              HasSubstr("\"embedding\" must be F32 [2, 2], found F16 [2, 2]"));
}

TEST_F(GoldenTest, WrongShapesAreNamed) {
  TestTensor square = I32({1, 2, 3, 4});
  square.shape = {2, 2};
  EXPECT_THAT(ErrorWith("input_ids", square),
              HasSubstr("\"input_ids\" must have one dimension of at most 65536, found [2, 2]"));
  EXPECT_THAT(ErrorWith("cu_lengths", I32(std::vector<int32_t>(1026))),
              HasSubstr("\"cu_lengths\" must have one dimension of at most 1025, found [1026]"));
  EXPECT_THAT(ErrorWith("embedding", F32Tensor({1, 2}, {1, 2})),
              HasSubstr("\"embedding\" must be F32 [2, 2], found F32 [1, 2]"));
  EXPECT_THAT(ErrorWith("logits", F32Tensor({2, 2}, {1, 2, 3, 4})),
              HasSubstr("\"logits\" must be F32 [2, 3], found F32 [2, 2]"));
}

TEST_F(GoldenTest, LengthsThatDoNotCutTheTokensAreNamed) {
  for (const std::vector<int32_t>& ends :
       {std::vector<int32_t>{}, {0}, {1, 5}, {0, 1, 4}, {0, 1, 6}}) {
    EXPECT_THAT(ErrorWith("cu_lengths", I32(ends)),
                HasSubstr("\"cu_lengths\" must hold two numbers or more, from 0 to the 5 tokens"))
        << ::testing::PrintToString(ends);
  }
  EXPECT_THAT(ErrorWith("cu_lengths", I32({0, 2, 2, 5})),
              HasSubstr("\"cu_lengths\" must rise within the 5 tokens; sequence 1 goes from 2 to "
                        "2"));
  EXPECT_THAT(ErrorWith("cu_lengths", I32({0, 7, 5})), HasSubstr("sequence 0 goes from 0 to 7"));
  EXPECT_THAT(ErrorWith("cu_lengths", I32({0, -1, 5})), HasSubstr("sequence 0 goes from 0 to -1"));
  EXPECT_THAT(ErrorWith("cu_lengths", I32({0, 5})),
              HasSubstr("\"cu_lengths\" gives sequence 0 5 tokens, but the model reads 4"));
}

TEST_F(GoldenTest, IdsOutsideTheVocabularyAreNamed) {
  EXPECT_THAT(ErrorWith("input_ids", I32({1, 2, 10, 4, 5})),
              HasSubstr("\"input_ids\" holds 10 at 2, outside the vocabulary of 10 tokens"));
  EXPECT_THAT(ErrorWith("input_ids", I32({1, 2, 3, 4, -1})), HasSubstr("holds -1 at 4"));
}

TEST_F(GoldenTest, ExpectedValuesMustBeFinite) {
  EXPECT_THAT(ErrorWith("logits", F32Tensor({2, 3}, {1, 2, 3, 4, kNan, 6})),
              HasSubstr("the tensor \"logits\" holds nan at sequence 1, dimension 1"));
  EXPECT_THAT(ErrorWith("embedding", F32Tensor({2, 2}, {1, INFINITY, 3, 4})),
              HasSubstr("\"embedding\" holds inf at sequence 0, dimension 1"));
}

TEST_F(GoldenTest, LogitsOfAModelWithoutAClassifierAreRefused) {
  info_.labels.clear();
  EXPECT_THAT(std::string(Read().status().message()),
              HasSubstr("\"logits\" does not belong to a model without a classifier"));
}

TEST_F(GoldenTest, AFileThatIsNoneIsAnError) {
  directory_.Write("golden.safetensors", absl::string_view("version https://git-lfs"));
  EXPECT_THAT(std::string(ReadGolden(spec_, info_).status().message()),
              HasSubstr("golden.safetensors: "));
  directory_.Remove("golden.safetensors");
  directory_.Write("golden.safetensors/file", absl::string_view(""));
  EXPECT_FALSE(ReadGolden(spec_, info_).ok());
}

TEST_F(GoldenTest, DamagedBytesAreErrorsOrOtherValuesButNeverACrash) {
  const std::string good = SafetensorsBytes(tensors_);
  const auto read = [&](const std::string& bytes) {
    directory_.Write("golden.safetensors", absl::string_view(bytes));
    return ReadGolden(spec_, info_);
  };
  for (size_t i = 0; i < good.size(); ++i) {
    EXPECT_FALSE(read(good.substr(0, i)).ok()) << i << " bytes";
    for (const int bit : {0, 7}) {
      std::string bytes = good;
      bytes[i] = static_cast<char>(bytes[i] ^ (1 << bit));
      const auto golden = read(bytes);
      if (!golden.ok()) continue;
      for (const GoldenTensor& tensor : (*golden)->tensors) {
        EXPECT_TRUE(CheckGolden(**golden, tensor, 0, tensor.values).ok());
      }
    }
  }
}

// The largest error that is accepted is told apart from the smallest that is not.
TEST_F(GoldenTest, Float32IsComparedRelativeToOneOrTheValue) {
  const GoldenFile golden = MustRead();
  const GoldenTensor& embedding = golden.tensors[0];
  EXPECT_TRUE(CheckGolden(golden, embedding, 0, std::vector<float>{0.5, -8, 0.25, 4}).ok());
  EXPECT_TRUE(CheckGolden(golden, embedding, 0, std::vector<float>{0.50009f, -8.0007f}).ok());
  EXPECT_FALSE(CheckGolden(golden, embedding, 0, std::vector<float>{0.50011f, -8}).ok());
  EXPECT_FALSE(CheckGolden(golden, embedding, 0, std::vector<float>{0.5, -8.0009f}).ok());
}

TEST_F(GoldenTest, AMismatchSaysWhereAndWhatToDo) {
  const GoldenFile golden = MustRead();
  // The batch that begins with sequence 1.
  const absl::Status status =
      CheckGolden(golden, golden.tensors[1], 1, std::vector<float>{-4, 5, 7});
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("golden.safetensors: sequence 1, dimension 2 of \"logits\": expected "
                              "6, computed 7: 1 apart where 0.0006 is allowed"),
                    HasSubstr("copy the whole directory again"),
                    HasSubstr("golden_tolerance in serving.textproto")));
}

TEST_F(GoldenTest, NanIsFarFromEverything) {
  spec_.golden_tolerance = 1;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    info_.dtype = dtype;
    const GoldenFile golden = MustRead();
    EXPECT_THAT(std::string(CheckGolden(golden, golden.tensors[0], 0,
                                        std::vector<float>{0.5, -8, 0.25, kNan})
                                .message()),
                HasSubstr("sequence 1, dimension 1 of \"embedding\": expected 4, computed nan"));
  }
}

TEST_F(GoldenTest, HalfPrecisionIsComparedWithTheLargestMagnitude) {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    info_.dtype = dtype;
    const GoldenFile golden = MustRead();
    const GoldenTensor& embedding = golden.tensors[0];  // 8 * 2e-2
    EXPECT_TRUE(CheckGolden(golden, embedding, 0, std::vector<float>{0.65f, -8.15f}).ok());
    EXPECT_FALSE(CheckGolden(golden, embedding, 0, std::vector<float>{0.67f, -8}).ok());
  }
}

TEST_F(GoldenTest, Int8IsComparedByCosine) {
  info_.dtype = DType::kI8;
  const GoldenFile golden = MustRead();
  const GoldenTensor& embedding = golden.tensors[0];
  EXPECT_TRUE(CheckGolden(golden, embedding, 0, std::vector<float>{1, -16, 0.5, 8}).ok());
  // Turned by 2.3 and by 3 degrees from (0.25, 4); 2.56 degrees have the cosine 0.999.
  EXPECT_TRUE(CheckGolden(golden, embedding, 1, std::vector<float>{0.41f, 4}).ok());
  EXPECT_THAT(
      std::string(CheckGolden(golden, embedding, 1, std::vector<float>{0.46f, 4}).message()),
      AllOf(HasSubstr("sequence 1, dimension 0 of \"embedding\": expected 0.25, computed "
                      "0.46; the cosine"),
            HasSubstr("where 0.999 is needed")));
}

TEST_F(GoldenTest, TheOperatorsToleranceReplacesTheDtypes) {
  spec_.golden_tolerance = 0.5;
  const GoldenFile wide = MustRead();
  EXPECT_TRUE(CheckGolden(wide, wide.tensors[0], 0, std::vector<float>{0.9f, -11}).ok());
  EXPECT_FALSE(CheckGolden(wide, wide.tensors[0], 0, std::vector<float>{1.1f, -8}).ok());
  spec_.golden_tolerance = 1e-6;
  const GoldenFile narrow = MustRead();
  EXPECT_FALSE(CheckGolden(narrow, narrow.tensors[0], 0, std::vector<float>{0.50001f, -8}).ok());
}

}  // namespace
}  // namespace contextpool::engine
