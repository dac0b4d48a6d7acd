#include "server/observe/metrics_page.h"

#include "gmock/gmock.h"
#include "gtest/gtest-spi.h"
#include "gtest/gtest.h"
#include "tests/support/fake_engine.h"
#include "tests/unit/server/observe/prometheus_text.h"

namespace contextpool::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class MetricsPageTest : public testing::Test {
 protected:
  std::string Page() { return RenderMetrics({&page_, &process_}); }
  Samples Scrape() { return ParsePrometheusText(Page()); }

  engine::FakeEngine engine_;
  ServerMetrics metrics_{{{"classifier", 1}, {"encoder", 1}}};
  Admission admission_{{.max_message_bytes = 10, .max_in_flight_requests = 0}};
  ContextPoolCollectable page_{metrics_, admission_, engine_};
  ProcessCollectable process_;
};

TEST_F(MetricsPageTest, EverySeriesExistsAtZeroBeforeTheFirstRequest) {
  const Samples samples = Scrape();
  for (
      const char* series :
      {R"(contextpool_requests_total{model="encoder",version="1",endpoint="Embed",protocol="grpc",code="OK"})",
       R"(contextpool_requests_total{model="",version="",endpoint="Embed",protocol="grpc",code="NOT_FOUND"})",
       R"(contextpool_request_duration_seconds_count{model="encoder",endpoint="Embed",protocol="grpc"})",
       R"(contextpool_input_errors_total{model="encoder",code="INVALID_ARGUMENT"})",
       R"(contextpool_batch_inputs_count{model="encoder"})",
       R"(contextpool_batch_tokens_sum{model="encoder"})",
       R"(contextpool_input_tokens_count{model="encoder"})",
       R"(contextpool_queue_depth{model="encoder",class="bulk"})",
       R"(contextpool_rejected_total{model="encoder",reason="queue_full"})",
       R"(contextpool_rejected_total{model="",reason="max_in_flight_bytes"})",
       R"(contextpool_requests_received_total{model="encoder",endpoint="EmbedStream"})",
       R"(contextpool_dropped_total{model="encoder",reason="deadline"})",
       "contextpool_in_flight_requests"}) {
    ASSERT_EQ(samples.count(series), 1) << series;
    EXPECT_EQ(samples.at(series), 0) << series;
  }
  for (const char* stage : {"decode", "tokenize", "admission", "queue", "batch_wait",
                            "host_to_device", "compute", "device_to_host", "encode"}) {
    EXPECT_EQ(
        samples.count(absl::StrCat(
            R"(contextpool_stage_duration_seconds_count{model="encoder",stage=")", stage, "\"}")),
        1)
        << stage;
  }
}

TEST_F(MetricsPageTest, ShowsTheEnginesFiguresAndTheModels) {
  const Samples samples = Scrape();
  EXPECT_EQ(samples.at(R"(contextpool_truncated_inputs_total{model="encoder"})"), 7);
  EXPECT_EQ(samples.at(R"(contextpool_queue_tokens{model="encoder",class="interactive"})"), 11);
  EXPECT_EQ(samples.at(R"(contextpool_queue_tokens{model="encoder",class="bulk"})"), 12);
  EXPECT_EQ(samples.at(R"(contextpool_model_load_duration_seconds{model="encoder"})"), 0.5);
  EXPECT_EQ(
      samples.at(
          R"(contextpool_model_info{model="encoder",version="1",architecture="Fake",dtype="float32",device="cpu",context_pool=""})"),
      1);
}

TEST_F(MetricsPageTest, ShowsWhatContextPoolChoseInEachLayer) {
  engine_.AddModel("encoder", {}, [&](engine::ModelInfo& model) {
    model.context_pool_layers = {0, 3};
  });
  const Samples samples = Scrape();
  for (const char* layer : {"0", "3"}) {
    const std::string labels = absl::StrCat(R"({model="encoder",layer=")", layer, "\"");
    const std::string name = "contextpool_context_pool_support_size_tokens";
    EXPECT_EQ(samples.at(absl::StrCat(name, "_sum", labels, "}")), 2.5);
    EXPECT_EQ(samples.at(absl::StrCat(name, "_count", labels, "}")), 1);
    EXPECT_EQ(samples.at(absl::StrCat(name, "_bucket", labels, ",le=\"0.01\"}")), 0);
    EXPECT_EQ(samples.at(absl::StrCat(name, "_bucket", labels, ",le=\"+Inf\"}")), 1);
  }
  EXPECT_EQ(samples.at(R"(contextpool_context_pool_skipped_tiles_ratio{model="encoder"})"), 0.5);
  const std::string tiles = R"(contextpool_context_pool_tiles_total{model="encoder",result=)";
  EXPECT_EQ(samples.at(tiles + "\"computed\"}"), 3);
  EXPECT_EQ(samples.at(tiles + "\"skipped\"}"), 9);
  EXPECT_EQ(samples.count(R"(contextpool_context_pool_skipped_tiles_ratio{model="classifier"})"), 0)
      << "it has no ContextPool";
}

TEST_F(MetricsPageTest, CountsCallsStagesAndInputErrors) {
  metrics_.CountCall({Endpoint::kEmbed, metrics_.Key("encoder", 0), absl::StatusCode::kOk,
                      std::chrono::milliseconds(3)});
  metrics_.CountInputError("encoder", absl::StatusCode::kInvalidArgument);
  metrics_.ObserveStage("encoder", ServerStage::kDecode, std::chrono::microseconds(50));
  const Samples samples = Scrape();
  EXPECT_EQ(
      samples.at(
          R"(contextpool_requests_total{model="encoder",version="1",endpoint="Embed",protocol="grpc",code="OK"})"),
      1);
  EXPECT_EQ(
      samples.at(R"(contextpool_input_errors_total{model="encoder",code="INVALID_ARGUMENT"})"), 1);
  const std::string labels = R"({model="encoder",endpoint="Embed",protocol="grpc")";
  EXPECT_NEAR(samples.at("contextpool_request_duration_seconds_sum" + labels + "}"), 0.003, 1e-9);
  EXPECT_EQ(samples.at("contextpool_request_duration_seconds_bucket" + labels + ",le=\"+Inf\"}"),
            1);
  EXPECT_EQ(
      samples.at(
          R"(contextpool_stage_duration_seconds_bucket{model="encoder",stage="decode",le="0.0001"})"),
      1);
}

TEST_F(MetricsPageTest, TimesRefusalsApartFromOtherCalls) {
  const auto count = [this](absl::StatusCode code, std::chrono::milliseconds duration) {
    metrics_.CountCall({Endpoint::kEmbed, metrics_.Key("encoder", 0), code, duration});
  };
  count(absl::StatusCode::kOk, std::chrono::milliseconds(900));
  count(absl::StatusCode::kResourceExhausted, std::chrono::milliseconds(2));
  count(absl::StatusCode::kDeadlineExceeded, std::chrono::milliseconds(500));
  const Samples samples = Scrape();
  const std::string name = "contextpool_refusal_duration_seconds";
  EXPECT_EQ(samples.at(name + R"(_count{model="encoder"})"), 1);
  EXPECT_NEAR(samples.at(name + R"(_sum{model="encoder"})"), 0.002, 1e-9);
  EXPECT_EQ(samples.at(name + R"(_count{model="classifier"})"), 0);
}

TEST_F(MetricsPageTest, CountsCallsThatWereReceivedAndThoseThatFoundNoRoom) {
  metrics_.CountReceived(Endpoint::kClassifyStream, "classifier");
  metrics_.CountReceived(Endpoint::kEmbed, "nobody");
  EXPECT_FALSE(admission_.Admit(11).ok());
  EXPECT_FALSE(admission_.Admit(1).ok());
  EXPECT_FALSE(admission_.Admit(1).ok());
  const Samples samples = Scrape();
  EXPECT_EQ(samples.at("contextpool_requests_received_total"
                       R"({model="classifier",endpoint="ClassifyStream"})"),
            1);
  EXPECT_EQ(samples.at(R"(contextpool_requests_received_total{model="",endpoint="Embed"})"), 0);
  EXPECT_EQ(samples.at(R"(contextpool_rejected_total{model="",reason="max_message_bytes"})"), 1);
  EXPECT_EQ(samples.at(R"(contextpool_rejected_total{model="",reason="max_in_flight_requests"})"),
            2);
}

TEST_F(MetricsPageTest, UnknownNamesAndVersionsAreCountedWithoutAName) {
  EXPECT_EQ(metrics_.Key("nobody", 0), ModelKey("", 0));
  EXPECT_EQ(metrics_.Key("encoder", 2), ModelKey("", 0));
  EXPECT_EQ(metrics_.Key("encode", 0), ModelKey("", 0));
  EXPECT_EQ(metrics_.Key("encoder", 0), ModelKey("encoder", 1));
  metrics_.CountCall({Endpoint::kEmbed, metrics_.Key("nobody\"evil", 0),
                      absl::StatusCode::kNotFound, std::chrono::milliseconds(1)});
  EXPECT_THAT(Page(), Not(HasSubstr("nobody")));
}

TEST_F(MetricsPageTest, AModelThatIsAddedIsCountedFromZero) {
  metrics_.Add({"encoder", 2});
  metrics_.Add({"late", 1});
  EXPECT_EQ(metrics_.Key("encoder", 0), ModelKey("encoder", 2));
  EXPECT_EQ(metrics_.Key("late", 0), ModelKey("late", 1));
  const Samples samples = Scrape();
  const std::string rest = R"(",endpoint="Embed",protocol="grpc",code="OK"})";
  for (const char* model : {R"(encoder",version="2)", R"(late",version="1)"}) {
    const std::string series = absl::StrCat("contextpool_requests_total{model=\"", model, rest);
    ASSERT_EQ(samples.count(series), 1) << series;
    EXPECT_EQ(samples.at(series), 0);
  }
}

TEST_F(MetricsPageTest, AVersionThatIsGoneKeepsItsCountsButIsNoLongerTheDefault) {
  metrics_.Add({"encoder", 2});
  metrics_.CountCall({Endpoint::kEmbed, {"encoder", 2}, absl::StatusCode::kOk, {}});
  metrics_.Retire({"encoder", 2});
  EXPECT_EQ(metrics_.Key("encoder", 0), ModelKey("encoder", 1));
  EXPECT_EQ(metrics_.Key("encoder", 2), ModelKey("encoder", 2)) << "its last calls are counted";
  const std::string series =
      R"(contextpool_requests_total{model="encoder",version="2",endpoint="Embed",protocol="grpc",code="OK"})";
  EXPECT_EQ(Scrape().at(series), 1);
  metrics_.Add({"encoder", 2});
  EXPECT_EQ(Scrape().at(series), 1) << "counts never fall";
  EXPECT_EQ(metrics_.Key("encoder", 0), ModelKey("encoder", 2));
}

TEST_F(MetricsPageTest, VersionsThatAreGoneAreShownForSoLongAndNoMore) {
  const auto versions = [this] {
    size_t count = 0;
    for (const auto& [key, figures] : metrics_.by_version()) count += key.first == "m";
    return count;
  };
  for (int64_t version = 1; version <= 100; ++version) {
    metrics_.Add({"m", version});
    metrics_.Retire({"m", version});
  }
  EXPECT_EQ(versions(), ServerMetrics::kGoneVersions);
  EXPECT_EQ(metrics_.Key("m", 100), ModelKey("m", 100));
  EXPECT_EQ(metrics_.Key("m", 1), ModelKey("", 0));
  EXPECT_EQ(metrics_.Key("m", 0), ModelKey("", 0)) << "nothing serves";
  EXPECT_EQ(metrics_.by_name().count("m"), 1) << "a name's histograms stay";
}

TEST_F(MetricsPageTest, CallsStayCountedOnceTheirVersionIsShownNoMore) {
  const auto count = [this](int64_t version) {
    metrics_.CountCall({Endpoint::kEmbed, {"m", version}, absl::StatusCode::kOk, {}});
  };
  for (int64_t version = 1; version <= 100; ++version) {
    metrics_.Add({"m", version});
    count(version);
    metrics_.Retire({"m", version});
  }
  ASSERT_EQ(metrics_.Key("m", 1), ModelKey("", 0));
  count(1);  // a call that began while it was shown
  uint64_t sum = 0;
  for (const auto& [key, figures] : metrics_.by_version()) {
    if (key.first == "m") sum += figures->calls[static_cast<size_t>(Endpoint::kEmbed)][0];
  }
  EXPECT_EQ(sum, 101);
}

TEST_F(MetricsPageTest, ProcessFiguresAreReal) {
  const Samples samples = Scrape();
  EXPECT_GT(samples.at("process_resident_memory_bytes"), 1 << 20);
  EXPECT_GT(samples.at("process_open_fds"), 2);
  EXPECT_GE(samples.at("process_cpu_seconds_total"), 0);
  const double now = static_cast<double>(time(nullptr));
  EXPECT_NEAR(samples.at("process_start_time_seconds"), now, 3600);
  EXPECT_EQ(
      samples.count(absl::StrCat("contextpool_build_info{version=\"", CONTEXTPOOL_VERSION, "\"}")),
      1);
}

TEST(FindTornFamiliesTest, TheReaderOfTheseTestsFindsFaults) {
  EXPECT_NONFATAL_FAILURE(ParsePrometheusText("a 1\n"), "no type");
}

}  // namespace
}  // namespace contextpool::server
