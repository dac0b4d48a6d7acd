#include "engine/model/checkpoint.h"

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

absl::StatusOr<Checkpoint> OpenWith(const TempDirectory& directory,
                                    const std::map<std::string, TestTensor>& tensors) {
  directory.Write("model.safetensors", absl::string_view(SafetensorsBytes(tensors)));
  return Checkpoint::Open(directory.path());
}

TEST(CheckpointTest, FindsTensorsOfABareModel) {
  TempDirectory directory;
  auto checkpoint =
      OpenWith(directory, {{"embeddings.word_embeddings.weight", F32Tensor({1, 2}, {1, 2})},
                           {"pooler.dense.bias", F32Tensor({2}, {3, 4})}});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  auto bias = checkpoint->Read("pooler.dense.bias", {2});
  ASSERT_TRUE(bias.ok()) << bias.status();
  EXPECT_THAT(*bias, ElementsAre(3, 4));
  EXPECT_FALSE(checkpoint->Has("classifier.weight"));
}

TEST(CheckpointTest, FindsTensorsBehindThePrefixAndTheHeadWithoutIt) {
  TempDirectory directory;
  auto checkpoint =
      OpenWith(directory, {{"bert.embeddings.word_embeddings.weight", F32Tensor({1, 1}, {1})},
                           {"bert.pooler.dense.bias", F32Tensor({1}, {3})},
                           {"pooler.dense.weight", F32Tensor({1, 1}, {7})},
                           {"classifier.weight", F32Tensor({1, 1}, {5})}});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_TRUE(checkpoint->Has("pooler.dense.bias"));
  EXPECT_TRUE(checkpoint->Has("classifier.weight"));
  EXPECT_FALSE(checkpoint->Has("pooler.dense.weight"));
  EXPECT_THAT(checkpoint->Check("pooler.dense.weight", {1, 1}).message(),
              AllOf(HasSubstr("model.safetensors"), HasSubstr("\"bert.pooler.dense.weight\""),
                    HasSubstr("missing")));
  EXPECT_THAT(checkpoint->Check("classifier.bias", {1}).message(),
              HasSubstr("\"classifier.bias\" is missing"));
}

TEST(CheckpointTest, AnswersToTheOldNamesOfLayerNorm) {
  TempDirectory directory;
  auto checkpoint =
      OpenWith(directory, {{"bert.embeddings.word_embeddings.weight", F32Tensor({1, 1}, {1})},
                           {"bert.embeddings.LayerNorm.gamma", F32Tensor({1}, {2})},
                           {"bert.embeddings.LayerNorm.beta", F32Tensor({1}, {3})}});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_THAT(*checkpoint->Read("embeddings.LayerNorm.weight", {1}), ElementsAre(2));
  EXPECT_THAT(*checkpoint->Read("embeddings.LayerNorm.bias", {1}), ElementsAre(3));
}

TEST(CheckpointTest, NamesTensorExpectedAndFoundShape) {
  TempDirectory directory;
  auto checkpoint = OpenWith(
      directory, {{"embeddings.word_embeddings.weight", F32Tensor({2, 3}, {1, 2, 3, 4, 5, 6})}});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  for (const TensorShape& wrong : {TensorShape{3, 2}, TensorShape{6}, TensorShape{2, 3, 1}}) {
    EXPECT_FALSE(checkpoint->Check("embeddings.word_embeddings.weight", wrong).ok());
  }
  EXPECT_THAT(checkpoint->Read("embeddings.word_embeddings.weight", {3, 2}).status().message(),
              AllOf(HasSubstr("embeddings.word_embeddings.weight"), HasSubstr("[3, 2]"),
                    HasSubstr("[2, 3]")));
}

TEST(CheckpointTest, NamesADtypeThatItCannotConvert) {
  TempDirectory directory;
  auto checkpoint = OpenWith(
      directory, {{"embeddings.word_embeddings.weight", {"I64", {1, 1}, std::string(8, '\0')}}});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_THAT(checkpoint->Check("embeddings.word_embeddings.weight", {1, 1}).message(),
              AllOf(HasSubstr("I64"), HasSubstr("F32, F16 and BF16")));
}

TEST(CheckpointTest, ReadIntoWantsRoomOfTheTensorsSize) {
  TempDirectory directory;
  auto checkpoint =
      OpenWith(directory, {{"embeddings.word_embeddings.weight", F32Tensor({1, 2}, {1, 2})}});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  std::vector<float> out(3);
  EXPECT_FALSE(checkpoint->ReadInto("embeddings.word_embeddings.weight", {1, 2}, out).ok());
  EXPECT_TRUE(
      checkpoint->ReadInto("embeddings.word_embeddings.weight", {1, 2}, std::span(out).subspan(1))
          .ok());
  EXPECT_THAT(out, ElementsAre(0, 1, 2));
}

TEST(CheckpointTest, SaysWhatToDoAboutOtherFormats) {
  TempDirectory directory;
  EXPECT_TRUE(absl::IsNotFound(Checkpoint::Open(directory.path()).status()));
  directory.Write("pytorch_model.bin", absl::string_view("x"));
  EXPECT_THAT(Checkpoint::Open(directory.path()).status().message(),
              AllOf(HasSubstr("pytorch_model.bin"), HasSubstr("save_pretrained")));
  directory.Write("model.safetensors.index.json", absl::string_view("{}"));
  EXPECT_THAT(Checkpoint::Open(directory.path()).status().message(),
              AllOf(HasSubstr("model.safetensors.index.json"), HasSubstr("max_shard_size")));
}

}  // namespace
}  // namespace contextpool::engine
