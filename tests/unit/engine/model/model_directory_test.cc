#include "engine/model/model_directory.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

json Module(const char* type, const char* path) {
  return {{"idx", 0}, {"name", "0"}, {"path", path}, {"type", type}};
}

json StandardModules() {
  return {Module("sentence_transformers.models.Transformer", ""),
          Module("sentence_transformers.models.Pooling", "1_Pooling"),
          Module("sentence_transformers.models.Normalize", "2_Normalize")};
}

class ModelDirectoryTest : public ::testing::Test {
 protected:
  ModelDirectoryTest() { directory_.Write("config.json", SmallConfig()); }

  absl::StatusOr<ModelDirectory> Read() { return ReadModelDirectory(directory_.path(), 1); }

  absl::StatusOr<ModelDirectory> ReadWithPooling(const json& pooling) {
    directory_.Write("modules.json", StandardModules());
    directory_.Write("1_Pooling/config.json", pooling);
    return Read();
  }

  absl::Status RefusalOfModules(const json& modules) {
    directory_.Write("1_Pooling/config.json", json{{"pooling_mode_mean_tokens", true}});
    directory_.Write("modules.json", modules);
    return Read().status();
  }

  TempDirectory directory_;
};

TEST_F(ModelDirectoryTest, APlainDirectoryPoolsTheMeanAndDoesNotNormalize) {
  auto model = Read();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->encoder.hidden_size, 8);
  EXPECT_EQ(model->pooling, Pooling::kMean);
  EXPECT_FALSE(model->normalize);
  EXPECT_EQ(model->max_tokens, 16);
}

TEST_F(ModelDirectoryTest, ErrorsNameTheFile) {
  directory_.Write("config.json", json{{"model_type", "bert"}});
  EXPECT_THAT(Read().status().message(), HasSubstr("config.json: \"hidden_size\" is missing"));
  directory_.Remove("config.json");
  EXPECT_THAT(Read().status().message(), HasSubstr("config.json: "));
  EXPECT_TRUE(absl::IsNotFound(Read().status()));
}

TEST_F(ModelDirectoryTest, TheLongestInputIsMaxSeqLengthElseTheSmallerLimit) {
  directory_.Write("tokenizer_config.json", json{{"model_max_length", 12}});
  EXPECT_EQ(Read()->max_tokens, 12);
  directory_.Write("sentence_bert_config.json", json{{"max_seq_length", nullptr}});
  EXPECT_EQ(Read()->max_tokens, 12);
  directory_.Write("sentence_bert_config.json", json{{"max_seq_length", 14}});
  EXPECT_EQ(Read()->max_tokens, 14);
}

TEST_F(ModelDirectoryTest, AHugeTokenizerLimitMeansNone) {
  directory_.Write("tokenizer_config.json",
                   absl::string_view("{\"model_max_length\": 1000000000000000019884624838656}"));
  EXPECT_EQ(Read()->max_tokens, 16);
  directory_.Write("tokenizer_config.json", json{{"model_max_length", 1e30}});
  EXPECT_EQ(Read()->max_tokens, 16);
}

TEST_F(ModelDirectoryTest, RefusesImpossibleLengths) {
  for (const json& value : {json(0), json(-5), json(17), json("x"), json(1e30)}) {
    directory_.Write("sentence_bert_config.json", json{{"max_seq_length", value}});
    EXPECT_THAT(Read().status().message(),
                AllOf(HasSubstr("sentence_bert_config.json"), HasSubstr("max_seq_length")));
  }
  directory_.Remove("sentence_bert_config.json");
  for (const json& value : {json(0), json(-1e30), json("x"), json::array()}) {
    directory_.Write("tokenizer_config.json", json{{"model_max_length", value}});
    EXPECT_THAT(Read().status().message(),
                AllOf(HasSubstr("tokenizer_config.json"), HasSubstr("model_max_length")));
  }
}

TEST_F(ModelDirectoryTest, ReadsThePoolingOfOldAndNewVersions) {
  const struct {
    json config;
    Pooling wanted;
  } cases[] = {
      {{{"pooling_mode_mean_tokens", true}, {"pooling_mode_cls_token", false}}, Pooling::kMean},
      {{{"pooling_mode_cls_token", true}, {"word_embedding_dimension", 8}}, Pooling::kCls},
      {{{"pooling_mode_max_tokens", true}}, Pooling::kMax},
      {{{"pooling_mode_lasttoken", true}}, Pooling::kLastToken},
      {{{"pooling_mode", "cls"}, {"embedding_dimension", 8}}, Pooling::kCls},
      {{{"pooling_mode", {"lasttoken"}}}, Pooling::kLastToken},
      {json::object(), Pooling::kMean},
  };
  for (const auto& [config, wanted] : cases) {
    auto model = ReadWithPooling(config);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(model->pooling, wanted) << config;
    EXPECT_TRUE(model->normalize);
  }
}

TEST_F(ModelDirectoryTest, RefusesPoolingThatItDoesNotCompute) {
  const struct {
    json config;
    const char* named;
  } cases[] = {
      {{{"pooling_mode_mean_tokens", true}, {"pooling_mode_max_tokens", true}}, "max, mean"},
      {{{"pooling_mode", {"cls", "mean"}}}, "cls, mean"},
      {{{"pooling_mode", json::array()}}, "several"},
      {{{"pooling_mode_mean_sqrt_len_tokens", true}}, "mean_sqrt_len_tokens"},
      {{{"pooling_mode", "weightedmean"}}, "weightedmean"},
      {{{"pooling_mode", 5}}, "pooling_mode"},
      {{{"pooling_mode_cls_token", "yes"}}, "pooling_mode_cls_token"},
      {{{"word_embedding_dimension", 9}}, "word_embedding_dimension"},
  };
  for (const auto& [config, named] : cases) {
    EXPECT_THAT(ReadWithPooling(config).status().message(),
                AllOf(HasSubstr("1_Pooling/config.json"), HasSubstr(named)))
        << config;
  }
}

TEST_F(ModelDirectoryTest, WithoutANormalizeModuleItDoesNotNormalize) {
  json modules = StandardModules();
  modules.erase(2);
  directory_.Write("modules.json", modules);
  directory_.Write("1_Pooling/config.json", json::object());
  auto model = Read();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_FALSE(model->normalize);
}

TEST_F(ModelDirectoryTest, RefusesModulesByName) {
  json dense = StandardModules();
  dense.insert(dense.begin() + 2, Module("sentence_transformers.models.Dense", "2_Dense"));
  EXPECT_THAT(RefusalOfModules(dense).message(),
              AllOf(HasSubstr("modules.json"), HasSubstr("\"Dense\"")));
  json own = StandardModules();
  own[0]["type"] = "custom_st.MyThing";
  EXPECT_THAT(RefusalOfModules(own).message(), HasSubstr("\"MyThing\""));
}

TEST_F(ModelDirectoryTest, RefusesModulesOutOfOrderOrPlace) {
  const json standard = StandardModules();
  for (const json& modules :
       {json::array(), json{standard[0]}, json{standard[1], standard[0]},
        json{standard[0], standard[2], standard[1]}, json{standard[0], standard[1], standard[1]},
        json{standard[0], standard[1], standard[2], standard[2]}, json::array({5, nullptr}),
        json(standard[0])}) {
    EXPECT_THAT(RefusalOfModules(modules).message(), HasSubstr("modules.json")) << modules;
  }
  json elsewhere = standard;
  elsewhere[0]["path"] = "0_Transformer";
  EXPECT_THAT(RefusalOfModules(elsewhere).message(), HasSubstr("0_Transformer"));
  for (const std::string& path : {std::string(".."), std::string("../x"), std::string("/etc"),
                                  std::string("."), std::string(), std::string(256, 'x')}) {
    json outside = standard;
    outside[1]["path"] = path;
    EXPECT_THAT(RefusalOfModules(outside).message(), HasSubstr("\"path\"")) << path;
  }
}

TEST_F(ModelDirectoryTest, RefusesPromptsThatItWouldForget) {
  directory_.Write("config_sentence_transformers.json",
                   json{{"prompts", {{"query", "query: "}}}, {"default_prompt_name", nullptr}});
  EXPECT_TRUE(ReadWithPooling(json::object()).ok());
  directory_.Write("config_sentence_transformers.json", json{{"default_prompt_name", "query"}});
  EXPECT_THAT(Read().status().message(), HasSubstr("default_prompt_name"));
}

TEST_F(ModelDirectoryTest, RefusesToLowerCaseByItself) {
  directory_.Write("sentence_bert_config.json", json{{"do_lower_case", true}});
  EXPECT_THAT(Read().status().message(), HasSubstr("do_lower_case"));
}

}  // namespace
}  // namespace contextpool::engine
