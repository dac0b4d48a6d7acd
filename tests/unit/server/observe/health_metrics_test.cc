#include "server/observe/health_metrics.h"

#include "gtest/gtest.h"
#include "server/observe/metrics_page.h"
#include "tests/support/fake_engine.h"
#include "tests/unit/server/observe/prometheus_text.h"

namespace contextpool::server {
namespace {

class HealthMetricsTest : public testing::Test {
 protected:
  Samples Scrape() { return ParsePrometheusText(RenderMetrics({&page_})); }

  engine::FakeEngine engine_;
  HealthCollectable page_{engine_};
};

TEST_F(HealthMetricsTest, TellWhetherTheEngineIsHealthy) {
  EXPECT_EQ(Scrape().at("contextpool_engine_healthy"), 1);
  engine_.SetHealth({false, true, "the device hangs", {}});
  EXPECT_EQ(Scrape().at("contextpool_engine_healthy"), 0);
}

TEST_F(HealthMetricsTest, TellTheAgeOfEachDevicesRunningStep) {
  EXPECT_EQ(Scrape().at(R"(contextpool_executor_step_seconds{device="cpu"})"), 1.5);
  EXPECT_EQ(Scrape().at(R"(contextpool_executor_step_seconds{device="cuda:0"})"), 0);
}

TEST_F(HealthMetricsTest, CountTheCanariesOfEachModelByTheirResult) {
  const Samples samples = Scrape();
  EXPECT_EQ(samples.at(R"(contextpool_canary_total{model="encoder",result="ok"})"), 5);
  EXPECT_EQ(samples.at(R"(contextpool_canary_total{model="encoder",result="failed"})"), 6);
  EXPECT_EQ(samples.at(R"(contextpool_canary_total{model="classifier",result="skipped"})"), 7);
}

}  // namespace
}  // namespace contextpool::server
