#include "engine/execution/fair_mutex.h"

#include <cstdint>
#include <string>
#include <thread>

#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

void WaitForUsers(const FairMutex& mutex, uint64_t users) {
  while (mutex.users() != users) std::this_thread::yield();
}

TEST(FairMutexTest, WhoAsksAgainComesAfterThoseThatWait) {
  FairMutex mutex;
  std::string order;
  mutex.Lock();
  std::thread first([&] {
    mutex.Lock();
    order += "first ";
    mutex.Unlock();
  });
  WaitForUsers(mutex, 2);
  std::thread second([&] {
    mutex.Lock();
    order += "second ";
    mutex.Unlock();
  });
  WaitForUsers(mutex, 3);
  mutex.Unlock();
  mutex.Lock();
  EXPECT_EQ(order, "first second ");
  mutex.Unlock();
  first.join();
  second.join();
  EXPECT_EQ(mutex.users(), 0u);
}

}  // namespace
}  // namespace contextpool::engine
