#include "engine/batching/twin_index.h"

#include <deque>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

class TwinIndexTest : public ::testing::Test {
 protected:
  Task& NewTask(std::vector<int32_t> ids, OutputSpec output = {}) {
    Task& task = tasks_.emplace_back();
    task.token_ids = ids_.emplace_back(std::move(ids));
    task.output = output;
    task.queued.hash = TwinIndex::Hash(task);
    return task;
  }
  static std::vector<Task*> Twins(const Task& lead) {
    std::vector<Task*> twins;
    for (Task* task = lead.twin; task != nullptr; task = task->twin) twins.push_back(task);
    return twins;
  }

  std::deque<std::vector<int32_t>> ids_;
  std::deque<Task> tasks_;
  TwinIndex index_;
};

TEST_F(TwinIndexTest, TheFirstLeadsAndTheOthersAreItsTwins) {
  Task& lead = NewTask({1, 2});
  Task& a = NewTask({1, 2});
  Task& b = NewTask({1, 2});
  EXPECT_EQ(index_.Add(lead), nullptr);
  EXPECT_EQ(index_.Add(a), &lead);
  EXPECT_EQ(index_.Add(b), &lead);
  EXPECT_THAT(Twins(lead), UnorderedElementsAre(&a, &b));
}

TEST_F(TwinIndexTest, OtherIdsAndOtherOutputsLeadThemselves) {
  std::vector<OutputSpec> outputs(5);
  outputs[1].task = TaskKind::kClassify;
  outputs[2].pooling = Pooling::kCls;
  outputs[3].normalize = true;
  outputs[4].explain = true;
  for (const OutputSpec& output : outputs) {
    for (const auto& ids : {std::vector<int32_t>{1, 2}, {2, 1}, {1}, {1, 2, 0}}) {
      EXPECT_EQ(index_.Add(NewTask(ids, output)), nullptr);
    }
  }
}

TEST_F(TwinIndexTest, EqualHashesAloneMakeNoTwins) {
  Task& one = NewTask({1});
  Task& other = NewTask({2});
  Task& output = NewTask({1}, {.normalize = true});
  other.queued.hash = output.queued.hash = one.queued.hash;
  EXPECT_EQ(index_.Add(one), nullptr);
  EXPECT_EQ(index_.Add(other), nullptr);
  EXPECT_EQ(index_.Add(output), nullptr);
}

TEST_F(TwinIndexTest, AfterALeadIsRemovedATwinLeadsTheRest) {
  Task& lead = NewTask({1});
  Task& a = NewTask({1});
  Task& b = NewTask({1});
  for (Task* task : {&lead, &a, &b}) index_.Add(*task);
  Task* const heir = index_.Remove(lead);
  ASSERT_TRUE(heir == &a || heir == &b);
  Task& rest = heir == &a ? b : a;
  EXPECT_THAT(Twins(*heir), ElementsAre(&rest));
  EXPECT_THAT(Twins(lead), ElementsAre());
  Task& c = NewTask({1});
  EXPECT_EQ(index_.Add(c), heir);
  EXPECT_THAT(Twins(*heir), UnorderedElementsAre(&rest, &c));
}

TEST_F(TwinIndexTest, RemovingTheOnlyTaskLeavesNothing) {
  Task& lead = NewTask({1});
  index_.Add(lead);
  EXPECT_EQ(index_.Remove(lead), nullptr);
  EXPECT_EQ(index_.Add(NewTask({1})), nullptr);
}

TEST_F(TwinIndexTest, ATwinIsRemovedFromAnyPlace) {
  for (int removed = 0; removed < 3; ++removed) {
    TwinIndex index;
    Task& lead = NewTask({1});
    std::vector<Task*> twins = {&NewTask({1}), &NewTask({1}), &NewTask({1})};
    index.Add(lead);
    for (Task* twin : twins) index.Add(*twin);
    EXPECT_EQ(index.Remove(*twins[removed]), nullptr);
    EXPECT_EQ(twins[removed]->twin, nullptr);
    twins.erase(twins.begin() + removed);
    EXPECT_THAT(Twins(lead), UnorderedElementsAre(twins[0], twins[1]));
  }
}

TEST_F(TwinIndexTest, ATwinMayTakeTheLead) {
  for (int leader = 0; leader < 3; ++leader) {
    TwinIndex index;
    Task& lead = NewTask({1});
    std::vector<Task*> twins = {&NewTask({1}), &NewTask({1}), &NewTask({1})};
    index.Add(lead);
    for (Task* twin : twins) index.Add(*twin);
    Task& chosen = *twins[leader];
    EXPECT_EQ(index.Lead(chosen), &lead);
    EXPECT_EQ(index.Lead(chosen), nullptr) << "it leads already";
    twins[leader] = &lead;
    EXPECT_THAT(Twins(chosen), UnorderedElementsAre(twins[0], twins[1], twins[2]));
    EXPECT_EQ(index.Add(NewTask({1})), &chosen);
    EXPECT_EQ(index.Remove(lead), nullptr) << "it is a twin now";
  }
}

TEST_F(TwinIndexTest, NothingJoinsARetiredLead) {
  Task& lead = NewTask({1});
  Task& twin = NewTask({1});
  index_.Add(lead);
  index_.Add(twin);
  index_.Retire(lead);
  Task& next = NewTask({1});
  EXPECT_EQ(index_.Add(next), nullptr);
  EXPECT_THAT(Twins(lead), ElementsAre(&twin));
  EXPECT_THAT(Twins(next), ElementsAre());
}

TEST_F(TwinIndexTest, ATaskMayBeAddedAgain) {
  Task& task = NewTask({1});
  Task& twin = NewTask({1});
  index_.Add(task);
  index_.Add(twin);
  index_.Retire(task);
  Task& other = NewTask({2});
  index_.Add(other);
  EXPECT_EQ(index_.Add(twin), nullptr);
  EXPECT_EQ(twin.twin, nullptr);
}

}  // namespace
}  // namespace contextpool::engine
