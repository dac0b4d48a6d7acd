#include "server/config/repository.h"

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class RepositoryTest : public testing::Test {
 protected:
  RepositoryTest()
      : root_(fs::path(testing::TempDir()) /
              testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  ~RepositoryTest() override { fs::remove_all(root_); }

  void Write(const std::string& path, const std::string& text = "{}") {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }

  std::vector<std::string> Found(const std::vector<std::string>& paths) {
    const auto repository = FindModels(paths);
    std::vector<std::string> result;
    if (!repository.ok()) return {std::string(repository.status().message())};
    for (const auto& model : repository->models) {
      result.push_back(model.name + ":" + std::to_string(model.version));
    }
    return result;
  }

  std::string root() const { return root_.string(); }

  const fs::path root_;
};

TEST_F(RepositoryTest, FoldersLinksAndVersionsAreModels) {
  Write("plain/config.json");
  Write("versioned/1/config.json");
  Write("versioned/10/config.json");
  Write("versioned/9/config.json");
  Write("elsewhere/.hidden/config.json");
  Write("docs/readme.txt");
  fs::create_directory_symlink(root_ / "plain", root_ / "link");
  EXPECT_THAT(Found({root()}), ElementsAre("link:1", "plain:1", "versioned:10"));
  EXPECT_EQ(FindModels({root()})->notes.size(), 2);
}

TEST_F(RepositoryTest, AModelDirectoryStandsForItself) {
  Write("plain/config.json");
  EXPECT_THAT(Found({root() + "/plain/"}), ElementsAre("plain:1"));
  EXPECT_THAT(Found({root() + "/plain"}), ElementsAre("plain:1"));
}

TEST_F(RepositoryTest, SettingsAndVersionPolicyApply) {
  Write("m/1/config.json");
  Write("m/2/config.json");
  Write("m/3/config.json");
  Write("m/serving.textproto", "max_tokens: 64 version_policy { specific { versions: [1, 2] } }");
  Write("m/2/serving.textproto", "max_tokens: 32");
  const auto repository = FindModels({root()});
  ASSERT_TRUE(repository.ok()) << repository.status();
  ASSERT_EQ(repository->models.size(), 2);
  EXPECT_EQ(repository->models[0].max_tokens, std::optional(64));
  EXPECT_EQ(repository->models[1].max_tokens, std::optional(32));
  EXPECT_EQ(repository->models[1].directory, root() + "/m/2");
  Write("m/serving.textproto", "version_policy { specific { versions: [7] } }");
  EXPECT_THAT(Found({root()}), ElementsAre(HasSubstr("lists version 7, which has no folder")));
  Write("m/serving.textproto", "version_policy { latest: 2 }");
  EXPECT_THAT(Found({root()}), ElementsAre("m:2", "m:3"));
}

TEST_F(RepositoryTest, AWrongSettingsFileIsAnErrorOfTheStart) {
  Write("m/config.json");
  Write("m/serving.textproto", "\nbatching { token_budget: 0 }");
  EXPECT_THAT(Found({root()}), ElementsAre(HasSubstr("m/serving.textproto:2: batching")));
}

TEST_F(RepositoryTest, NoModelsSaysWhatToDo) {
  EXPECT_THAT(Found({}), ElementsAre(HasSubstr("give --model_repository=FOLDER")));
  Write("empty/readme.txt");
  EXPECT_THAT(Found({root()}), ElementsAre(HasSubstr("A model is a folder with config.json")));
  EXPECT_THAT(Found({root() + "/missing"}), ElementsAre(HasSubstr("cannot read")));
}

TEST_F(RepositoryTest, TwoModelsOfOneNameAreRefused) {
  Write("a/m/config.json");
  Write("b/m/config.json");
  EXPECT_THAT(Found({root() + "/a", root() + "/b"}),
              ElementsAre(HasSubstr("two models are called m")));
}

TEST_F(RepositoryTest, NamesThatCannotBeLabelsAreRefused) {
  Write("bad name\n/config.json");
  EXPECT_THAT(Found({root()}), ElementsAre(HasSubstr("rename the folder or link to it")));
}

TEST_F(RepositoryTest, AFaultOfOneModelDoesNotHideTheOthers) {
  Write("bad/config.json");
  Write("bad/serving.textproto", "no_such_field: 1");
  Write("bad name/config.json");
  Write("good/config.json");
  const RepositoryScan scan = ScanRepository({root(), root() + "/missing"});
  ASSERT_EQ(scan.repository.models.size(), 1);
  EXPECT_EQ(scan.repository.models[0].name, "good");
  ASSERT_EQ(scan.faults.size(), 3);
  EXPECT_EQ(scan.faults[0].model, "bad");
  EXPECT_THAT(std::string(scan.faults[0].status.message()), HasSubstr("no_such_field"));
  EXPECT_EQ(scan.faults[1].model, "bad name");
  EXPECT_EQ(scan.faults[2].model, "") << "a whole folder";
}

TEST_F(RepositoryTest, AVersionWithAFaultHidesAllVersionsOfItsModel) {
  Write("m/1/config.json");
  Write("m/2/config.json");
  Write("m/serving.textproto", "version_policy { latest: 2 }");
  Write("m/2/serving.textproto", "no_such_field: 1");
  const RepositoryScan scan = ScanRepository({root()});
  EXPECT_TRUE(scan.repository.models.empty());
  ASSERT_EQ(scan.faults.size(), 1);
  EXPECT_EQ(scan.faults[0].model, "m");
}

TEST_F(RepositoryTest, VersionsThatThePolicyDoesNotChooseAreKnown) {
  for (const char* version : {"1", "2", "3"}) Write(std::string("m/") + version + "/config.json");
  Write("m/1/serving.textproto", "no_such_field: 1");
  const auto repository = FindModels({root()});
  ASSERT_TRUE(repository.ok()) << "what is not served need not be right: " << repository.status();
  ASSERT_EQ(repository->unchosen.size(), 1);
  EXPECT_EQ(repository->unchosen[0].version, 2);
  EXPECT_THAT(repository->notes, ElementsAre(HasSubstr("m/1/serving.textproto")));
}

TEST_F(RepositoryTest, NamesakesHideEachOtherAndNobodyElse) {
  Write("a/m/config.json");
  Write("b/m/config.json");
  Write("b/other/config.json");
  const RepositoryScan scan = ScanRepository({root() + "/a", root() + "/b"});
  ASSERT_EQ(scan.repository.models.size(), 1);
  EXPECT_EQ(scan.repository.models[0].name, "other");
  ASSERT_EQ(scan.faults.size(), 1);
  EXPECT_EQ(scan.faults[0].model, "m");
}

}  // namespace
}  // namespace contextpool::server
