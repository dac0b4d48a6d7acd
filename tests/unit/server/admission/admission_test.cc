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

TEST(AdmissionTest, AMessageThatIsTooLargeIsNeverWorthARetry) {
  Admission admission({.max_message_bytes = 10});
  const absl::Status status = admission.Admit(11).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(engine::RetryDelay(status).has_value());
}

}  // namespace
}  // namespace contextpool::server
