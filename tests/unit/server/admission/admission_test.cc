#include "server/admission/admission.h"

#include "engine/base/retry.h"
#include "gtest/gtest.h"

namespace contextpool::server {
namespace {

TEST(AdmissionTest, TicketsGiveBackWhatTheyTook) {
  Admission admission({.max_message_bytes = 10, .max_in_flight_requests = 2});
  {
    const auto first = admission.Admit(10);
    ASSERT_TRUE(first.ok());
    auto second = admission.Admit(3);
    ASSERT_TRUE(second.ok());
    const Admission::Ticket moved = *std::move(second);
    EXPECT_EQ(admission.requests(), 2);
    EXPECT_EQ(admission.bytes(), 13);
    EXPECT_EQ(admission.Admit(0).status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(admission.requests(), 2);
    EXPECT_EQ(admission.refused(Refusal::kInFlightRequests), 1);
  }
  EXPECT_EQ(admission.requests(), 0);
  EXPECT_EQ(admission.bytes(), 0);
}

TEST(AdmissionTest, BytesAreBoundedWithARetryDelay) {
  Admission admission({.max_message_bytes = 10, .max_in_flight_bytes = 15});
  const auto first = admission.Admit(10);
  const absl::Status status = admission.Admit(6).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(engine::RetryDelay(status).has_value());
  EXPECT_TRUE(admission.Admit(5).ok());
}

TEST(AdmissionTest, RepliesCountBesideTheirRequestsAndThenInTheirPlace) {
  Admission admission({.max_message_bytes = 10, .max_in_flight_bytes = 30});
  auto first = admission.Admit(10);
  auto second = admission.Admit(1);
  ASSERT_TRUE(first->Add(12).ok());
  EXPECT_EQ(admission.bytes(), 23);
  const absl::Status status = second->Add(8);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(engine::RetryDelay(status).has_value());
  EXPECT_EQ(admission.bytes(), 23);
  EXPECT_EQ(admission.refused(Refusal::kInFlightBytes), 1);
  first->Answered(11);
  EXPECT_EQ(admission.bytes(), 12);
  EXPECT_EQ(admission.requests(), 1);
  EXPECT_TRUE(second->Add(8).ok());
  first->Release();
  second->Release();
  EXPECT_EQ(admission.bytes(), 0);
  EXPECT_EQ(admission.requests(), 0);
}

TEST(AdmissionTest, AReplyThatNeverFitsIsNeverWorthARetry) {
  Admission admission({.max_message_bytes = 10, .max_in_flight_bytes = 30});
  auto ticket = admission.Admit(10);
  const absl::Status status = ticket->Add(21);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(engine::RetryDelay(status).has_value());
  EXPECT_EQ(admission.bytes(), 10);
}

TEST(AdmissionTest, AMessageThatIsTooLargeIsNeverWorthARetry) {
  Admission admission({.max_message_bytes = 10});
  const absl::Status status = admission.Admit(11).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(engine::RetryDelay(status).has_value());
}

}  // namespace
}  // namespace contextpool::server
