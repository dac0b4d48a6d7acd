#include "server/observe/metrics_page.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "prometheus/text_serializer.h"
#include "server/observe/metric_family.h"
#include "server/observe/version.h"

namespace contextpool::server {
namespace {

using ::prometheus::MetricFamily;
using ::prometheus::MetricType;

constexpr char kProtocol[] = "grpc";
constexpr std::array<const char*, engine::kPriorities> kClassNames = {"interactive", "bulk"};

std::string CodeName(size_t index) { return absl::StatusCodeToString(kCountedCodes[index]); }

double Load(const std::atomic<uint64_t>& counter) {
  return static_cast<double>(counter.load(std::memory_order_relaxed));
}

// The engine's figures of all versions of one name, those included that are gone.
struct NameStats {
  // Whether any version is there now.
  bool listed = false;
  std::array<engine::HistogramSnapshot, engine::kStages.size()> stage_seconds;
  engine::HistogramSnapshot batch_inputs;
  engine::HistogramSnapshot batch_tokens;
  engine::HistogramSnapshot input_tokens;
  engine::HistogramSnapshot image_bytes;
  engine::HistogramSnapshot image_pixels;
  std::array<double, engine::kImageFaults.size()> image_faults{};
  bool reads_images = false;
  double truncated = 0;
  double load_seconds = 0;
  std::array<double, engine::kRejectReasons.size()> rejected{};
  std::array<double, engine::kDropReasons.size()> dropped{};
  std::array<double, engine::kPriorities> queue_inputs{};
  std::array<double, engine::kPriorities> queue_tokens{};
  double queue_bytes = 0;
  double expected_wait_seconds = 0;
  double coalesced = 0;
  double cache_hits = 0;
  double cache_misses = 0;
  double cache_bytes = 0;
  // By layer; what ContextPool's layers of all versions did.
  std::map<int32_t, engine::HistogramSnapshot> support_size;
  double computed_tiles = 0;
  double skipped_tiles = 0;
  // Of the last version that has ContextPool.
  double skipped_tiles_ratio = 0;
};

template <typename Array, typename Part>
void AddAll(Array& total, const Part& part) {
  for (size_t i = 0; i < total.size(); ++i) total[i] += static_cast<double>(part[i]);
}

void AddContextPool(const engine::ModelStats& model, NameStats& total) {
  const engine::ContextPoolStats& figures = model.context_pool;
  for (size_t i = 0; i < figures.support_size.size(); ++i) {
    Accumulate(total.support_size[model.info->context_pool_layers[i]], figures.support_size[i]);
  }
  total.computed_tiles += static_cast<double>(figures.computed_tiles);
  total.skipped_tiles += static_cast<double>(figures.skipped_tiles);
  if (!figures.support_size.empty()) total.skipped_tiles_ratio = figures.skipped_tiles_ratio;
}

void AddVersion(const engine::ModelStats& model, NameStats& total) {
  for (size_t i = 0; i < total.stage_seconds.size(); ++i) {
    Accumulate(total.stage_seconds[i], model.stage_seconds[i]);
  }
  Accumulate(total.batch_inputs, model.batch_inputs);
  Accumulate(total.batch_tokens, model.batch_tokens);
  Accumulate(total.input_tokens, model.input_tokens);
  Accumulate(total.image_bytes, model.image_bytes);
  Accumulate(total.image_pixels, model.image_pixels);
  AddAll(total.image_faults, model.image_faults);
  total.reads_images = total.reads_images || model.info->image.has_value();
  total.truncated += static_cast<double>(model.truncated_inputs);
  total.load_seconds = model.load_seconds;
  AddAll(total.rejected, model.rejected);
  AddAll(total.dropped, model.dropped);
  AddAll(total.queue_inputs, model.queue_inputs);
  AddAll(total.queue_tokens, model.queue_tokens);
  total.queue_bytes += static_cast<double>(model.queue_bytes);
  total.expected_wait_seconds =
      std::max(total.expected_wait_seconds, engine::Seconds(model.expected_wait));
  total.coalesced += static_cast<double>(model.coalesced_inputs);
  total.cache_hits += static_cast<double>(model.cache_hits);
  total.cache_misses += static_cast<double>(model.cache_misses);
  total.cache_bytes += static_cast<double>(model.cache_bytes);
  AddContextPool(model, total);
}

std::map<std::string, NameStats> ByName(const engine::Stats& stats) {
  NameStats none;
  none.batch_inputs.bounds = engine::Histogram::CountBounds();
  none.batch_inputs.counts.assign(none.batch_inputs.bounds.size() + 1, 0);
  none.batch_tokens = none.input_tokens = none.batch_inputs;
  std::map<std::string, NameStats> result;
  for (const engine::ModelStats& model : stats.unloaded) {
    AddVersion(model, result.try_emplace(model.info->name, none).first->second);
  }
  for (const engine::ModelStats& model : stats.models) {
    NameStats& total = result.try_emplace(model.info->name, none).first->second;
    AddVersion(model, total);
    total.listed = true;
  }
  return result;
}

void AppendReceived(const ServerMetrics& metrics, std::vector<MetricFamily>& families) {
  FamilyBuilder received("contextpool_requests_received_total",
                         "Calls that arrived, counted once their model is known.",
                         MetricType::Counter);
  for (const auto& [name, figures] : metrics.by_name()) {
    for (size_t endpoint = 0; endpoint < kEndpointNames.size(); ++endpoint) {
      received.Add({{"model", name}, {"endpoint", kEndpointNames[endpoint]}},
                   Load(figures->received[endpoint]));
    }
  }
  families.push_back(received.Take());
}

void AppendCalls(const ServerMetrics& metrics, std::vector<MetricFamily>& families) {
  FamilyBuilder requests("contextpool_requests_total", "Calls answered.", MetricType::Counter);
  for (const auto& [key, figures] : metrics.by_version()) {
    const std::string version = key.second == 0 ? "" : absl::StrCat(key.second);
    for (size_t endpoint = 0; endpoint < kEndpointNames.size(); ++endpoint) {
      for (size_t code = 0; code < kCountedCodes.size(); ++code) {
        requests.Add({{"model", key.first},
                      {"version", version},
                      {"endpoint", kEndpointNames[endpoint]},
                      {"protocol", kProtocol},
                      {"code", CodeName(code)}},
                     Load(figures->calls[endpoint][code]));
      }
    }
  }
  families.push_back(requests.Take());

  FamilyBuilder durations("contextpool_request_duration_seconds",
                          "From a call's arrival to its reply handed to the transport.",
                          MetricType::Histogram);
  FamilyBuilder refusals("contextpool_refusal_duration_seconds",
                         "The same of the calls that were refused with RESOURCE_EXHAUSTED.",
                         MetricType::Histogram);
  FamilyBuilder errors("contextpool_input_errors_total",
                       "Inputs that failed inside a call that was answered.", MetricType::Counter);
  for (const auto& [name, figures] : metrics.by_name()) {
    for (size_t endpoint = 0; endpoint < kEndpointNames.size(); ++endpoint) {
      durations.Add(
          {{"model", name}, {"endpoint", kEndpointNames[endpoint]}, {"protocol", kProtocol}},
          figures->call_seconds[endpoint]->Snapshot());
    }
    refusals.Add({{"model", name}}, figures->refusal_seconds.Snapshot());
    // No error is counted as OK.
    for (size_t code = 1; code < kCountedCodes.size() && !name.empty(); ++code) {
      errors.Add({{"model", name}, {"code", CodeName(code)}}, Load(figures->input_errors[code]));
    }
  }
  families.push_back(durations.Take());
  families.push_back(refusals.Take());
  families.push_back(errors.Take());
}

void AppendStages(const ServerMetrics& metrics, const std::map<std::string, NameStats>& models,
                  std::vector<MetricFamily>& families) {
  FamilyBuilder stages(
      "contextpool_stage_duration_seconds",
      "Time in one stage of answering: per call, or per batch from its packing"
      " (host_to_device) over the device's work and copies (compute) to its answers"
      " (device_to_host).",
      MetricType::Histogram);
  for (const auto& [name, figures] : metrics.by_name()) {
    if (name.empty()) continue;
    for (size_t i = 0; i < kServerStageNames.size(); ++i) {
      stages.Add({{"model", name}, {"stage", kServerStageNames[i]}},
                 figures->stage_seconds[i]->Snapshot());
    }
  }
  for (const auto& [name, figures] : models) {
    for (size_t i = 0; i < engine::kStages.size(); ++i) {
      stages.Add({{"model", name}, {"stage", engine::kStages[i].second}}, figures.stage_seconds[i]);
    }
  }
  families.push_back(stages.Take());
}

void AppendBatches(const std::map<std::string, NameStats>& models,
                   std::vector<MetricFamily>& families) {
  FamilyBuilder batch_inputs("contextpool_batch_inputs", "Inputs per batch.",
                             MetricType::Histogram);
  FamilyBuilder batch_tokens("contextpool_batch_tokens", "Tokens per batch.",
                             MetricType::Histogram);
  FamilyBuilder input_tokens("contextpool_input_tokens", "Tokens per input, as the model read it.",
                             MetricType::Histogram);
  FamilyBuilder truncated("contextpool_truncated_inputs_total", "Inputs that were cut.",
                          MetricType::Counter);
  for (const auto& [name, figures] : models) {
    batch_inputs.Add({{"model", name}}, figures.batch_inputs);
    batch_tokens.Add({{"model", name}}, figures.batch_tokens);
    input_tokens.Add({{"model", name}}, figures.input_tokens);
    truncated.Add({{"model", name}}, figures.truncated);
  }
  families.push_back(batch_inputs.Take());
  families.push_back(batch_tokens.Take());
  families.push_back(input_tokens.Take());
  families.push_back(truncated.Take());
}

// Only of models that read images.
void AppendImages(const std::map<std::string, NameStats>& models,
                  std::vector<MetricFamily>& families) {
  FamilyBuilder bytes("contextpool_image_bytes", "Bytes of the image files.",
                      MetricType::Histogram);
  FamilyBuilder pixels("contextpool_image_pixels",
                       "Pixels of the images before they are resized, by their headers.",
                       MetricType::Histogram);
  FamilyBuilder faults(
      "contextpool_image_faults_total",
      "Images that were refused: larger than the limits, no image, of another size "
      "than the model takes, or damaged.",
      MetricType::Counter);
  for (const auto& [name, figures] : models) {
    if (!figures.reads_images) continue;
    for (size_t i = 0; i < engine::kImageFaults.size(); ++i) {
      faults.Add({{"model", name}, {"reason", engine::kImageFaults[i].second}},
                 figures.image_faults[i]);
    }
    bytes.Add({{"model", name}}, figures.image_bytes);
    pixels.Add({{"model", name}}, figures.image_pixels);
  }
  for (FamilyBuilder* family : {&bytes, &pixels, &faults}) families.push_back(family->Take());
}

void AppendQueues(const engine::Stats& stats, const std::map<std::string, NameStats>& models,
                  const Admission& admission, std::vector<MetricFamily>& families) {
  FamilyBuilder depth("contextpool_queue_depth", "Inputs that wait.", MetricType::Gauge);
  FamilyBuilder tokens("contextpool_queue_tokens", "Tokens that wait.", MetricType::Gauge);
  FamilyBuilder bytes("contextpool_queue_bytes", "Bytes of inputs that wait.", MetricType::Gauge);
  FamilyBuilder wait("contextpool_expected_wait_seconds",
                     "What an interactive call without a deadline would wait for its batch now.",
                     MetricType::Gauge);
  FamilyBuilder rejected("contextpool_rejected_total",
                         "Calls that were refused. Those refused before they were read, by the "
                         "limit that the flag of the reason's name sets, have no model.",
                         MetricType::Counter);
  for (const auto& [refusal, reason] : kRefusals) {
    rejected.Add({{"model", ""}, {"reason", reason}},
                 static_cast<double>(admission.refused(refusal)));
  }
  FamilyBuilder dropped("contextpool_dropped_total", "Accepted inputs that were not computed.",
                        MetricType::Counter);
  for (const auto& [name, figures] : models) {
    if (figures.listed) bytes.Add({{"model", name}}, figures.queue_bytes);
    if (figures.listed) wait.Add({{"model", name}}, figures.expected_wait_seconds);
    for (int i = 0; i < engine::kPriorities && figures.listed; ++i) {
      depth.Add({{"model", name}, {"class", kClassNames[i]}}, figures.queue_inputs[i]);
      tokens.Add({{"model", name}, {"class", kClassNames[i]}}, figures.queue_tokens[i]);
    }
    for (size_t i = 0; i < engine::kRejectReasons.size(); ++i) {
      rejected.Add({{"model", name}, {"reason", engine::kRejectReasons[i].second}},
                   figures.rejected[i]);
    }
    for (size_t i = 0; i < engine::kDropReasons.size(); ++i) {
      dropped.Add({{"model", name}, {"reason", engine::kDropReasons[i].second}},
                  figures.dropped[i]);
    }
  }
  FamilyBuilder in_flight("contextpool_in_flight_requests",
                          "Requests that the engine accepted and has not answered.",
                          MetricType::Gauge);
  in_flight.Add({}, static_cast<double>(stats.requests_in_flight));
  for (FamilyBuilder* family : {&depth, &tokens, &bytes, &wait, &rejected, &dropped, &in_flight}) {
    families.push_back(family->Take());
  }
}

// Inputs that were answered without computing them again.
void AppendReuse(const std::map<std::string, NameStats>& models,
                 std::vector<MetricFamily>& families) {
  FamilyBuilder coalesced("contextpool_coalesced_inputs_total",
                          "Inputs answered with the result of the same one that was in flight.",
                          MetricType::Counter);
  FamilyBuilder hits("contextpool_result_cache_hits_total",
                     "Inputs answered with a result that was kept.", MetricType::Counter);
  FamilyBuilder misses("contextpool_result_cache_misses_total",
                       "Inputs whose result was not kept, where results are.", MetricType::Counter);
  FamilyBuilder bytes("contextpool_result_cache_bytes", "Memory of the results that are kept.",
                      MetricType::Gauge);
  for (const auto& [name, figures] : models) {
    coalesced.Add({{"model", name}}, figures.coalesced);
    hits.Add({{"model", name}}, figures.cache_hits);
    misses.Add({{"model", name}}, figures.cache_misses);
    if (figures.listed) bytes.Add({{"model", name}}, figures.cache_bytes);
  }
  for (FamilyBuilder* family : {&coalesced, &hits, &misses, &bytes}) {
    families.push_back(family->Take());
  }
}

// Only of models with ContextPool.
void AppendContextPool(const std::map<std::string, NameStats>& models,
                       std::vector<MetricFamily>& families) {
  FamilyBuilder sizes("contextpool_context_pool_support_size_tokens",
                      "Support sizes that ContextPool chose for the tokens it pooled, in 1 of 64 "
                      "batches.",
                      MetricType::Histogram);
  FamilyBuilder tiles("contextpool_context_pool_tiles_total",
                      "Blocks of pooling weights in 1 of 64 batches, by whether they were computed "
                      "or skipped for being too small to matter.",
                      MetricType::Counter);
  FamilyBuilder ratio("contextpool_context_pool_skipped_tiles_ratio",
                      "Share of the blocks that were skipped in the last batch sampled.",
                      MetricType::Gauge);
  for (const auto& [name, figures] : models) {
    if (figures.support_size.empty()) continue;
    for (const auto& [layer, size] : figures.support_size) {
      sizes.Add({{"model", name}, {"layer", absl::StrCat(layer)}}, size);
    }
    tiles.Add({{"model", name}, {"result", "computed"}}, figures.computed_tiles);
    tiles.Add({{"model", name}, {"result", "skipped"}}, figures.skipped_tiles);
    ratio.Add({{"model", name}}, figures.skipped_tiles_ratio);
  }
  for (FamilyBuilder* family : {&sizes, &tiles, &ratio}) families.push_back(family->Take());
}

void AppendModels(const engine::Stats& stats, const std::map<std::string, NameStats>& models,
                  std::vector<MetricFamily>& families) {
  FamilyBuilder info("contextpool_model_info", "Always 1: what serves.", MetricType::Gauge);
  for (const engine::ModelStats& model : stats.models) {
    if (model.state != engine::ModelState::kReady) continue;
    info.Add({{"model", model.info->name},
              {"version", absl::StrCat(model.info->version)},
              {"architecture", model.info->architecture},
              {"dtype", kernels::Name(model.info->dtype)},
              {"device", model.info->device},
              {"context_pool", absl::StrJoin(model.info->context_pool_layers, ",")}},
             1);
  }
  FamilyBuilder load("contextpool_model_load_duration_seconds",
                     "Time that loading took, warm-up included.", MetricType::Gauge);
  for (const auto& [name, figures] : models) {
    if (figures.listed) load.Add({{"model", name}}, figures.load_seconds);
  }
  FamilyBuilder build("contextpool_build_info", "Always 1: the program.", MetricType::Gauge);
  build.Add({{"version", kVersion}}, 1);
  for (FamilyBuilder* family : {&info, &load, &build}) families.push_back(family->Take());
}

}  // namespace

std::vector<MetricFamily> ContextPoolCollectable::Collect() const {
  const engine::Stats stats = engine_.Snapshot();
  const std::map<std::string, NameStats> models = ByName(stats);
  std::vector<MetricFamily> families;
  AppendReceived(metrics_, families);
  AppendCalls(metrics_, families);
  AppendStages(metrics_, models, families);
  AppendBatches(models, families);
  AppendImages(models, families);
  AppendQueues(stats, models, admission_, families);
  AppendReuse(models, families);
  AppendContextPool(models, families);
  AppendModels(stats, models, families);
  return families;
}

std::string RenderMetrics(const std::vector<const prometheus::Collectable*>& collectables) {
  std::vector<MetricFamily> families;
  for (const prometheus::Collectable* collectable : collectables) {
    for (MetricFamily& family : collectable->Collect()) families.push_back(std::move(family));
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace contextpool::server
