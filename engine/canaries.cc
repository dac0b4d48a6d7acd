#include "engine/canaries.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"

namespace contextpool::engine {
namespace {

// Like the ids that warm a model up: valid in every vocabulary.
constexpr std::array<int32_t, 4> kTokenIds = {0, 0, 0, 0};

// A black pixel as PNG: signature, header (1 x 1, 8 bits of grey), data, end.
constexpr unsigned char kImage[] = {0x89, 'P', 'N', 'G',  '\r', '\n', 0x1a, '\n', 0,    0, 0, 13,
                                    'I',  'H', 'D', 'R',  0,    0,    0,    1,    0,    0, 0, 1,
                                    8,    0,   0,   0,    0,    0x3a, 0x7e, 0x9b, 0x55, 0, 0, 0,
                                    10,   'I', 'D', 'A',  'T',  0x78, 0x9c, 0x63, 0x60, 0, 0, 0,
                                    2,    0,   1,   0x48, 0xaf, 0xa4, 0x71, 0,    0,    0, 0, 'I',
                                    'E',  'N', 'D', 0xae, 0x42, 0x60, 0x82};

Input CanaryInput(const ModelInfo& model) {
  if (model.image) return ImageInput{{reinterpret_cast<const char*>(kImage), sizeof(kImage)}};
  const size_t tokens = std::min<size_t>(kTokenIds.size(), model.max_tokens);
  return TokenIdsInput{std::span(kTokenIds).first(tokens)};
}

Request CanaryRequest(const ModelInfo& model, TimePoint now) {
  Request request;
  request.model = model.name;
  request.version = model.version;
  request.inputs.push_back(CanaryInput(model));
  request.deadline = now + Canaries::kAnswerLimit;
  request.canary = true;
  return request;
}

absl::Status Outcome(const absl::StatusOr<Response>& response) {
  return response.ok() ? response->results.front().status : response.status();
}

}  // namespace

Canaries::Canaries(Duration interval, Clock& clock, Parts parts)
    : interval_(interval), clock_(clock), parts_(std::move(parts)) {}

TimePoint Canaries::SendDue() {
  // First: a model that becomes ready while the others are listed is then due no later.
  const TimePoint now = clock_.Now();
  const std::vector<CanaryModel> models = parts_.ready_models();
  TimePoint next = now + interval_;
  for (const CanaryModel& model : TakeDue(models, now, next)) Send(model, now);
  return next;
}

std::vector<CanaryModel> Canaries::TakeDue(const std::vector<CanaryModel>& models, TimePoint now,
                                           TimePoint& next) {
  std::vector<CanaryModel> taken;
  std::map<Key, State> states;  // without those of models that are gone
  MutexLock lock(mutex_);
  for (const CanaryModel& model : models) {
    const Key key = KeyOf(model);
    const TimePoint last_computed = model.counters->last_computed;
    State& state = states[key] = std::move(states_[key]);
    if (last_computed > state.last_failure) state.failures = 0;
    if (state.waiting) continue;
    const TimePoint due = std::max(last_computed, state.sent) + interval_;
    if (due > now) {
      next = std::min(next, due);
      continue;
    }
    state.waiting = true;
    state.sent = now;
    state.device = model.info->device;
    state.steps = model.steps;
    state.done_before = WorkDone(*model.steps);
    taken.push_back(model);
  }
  states_ = std::move(states);
  return taken;
}

void Canaries::Send(const CanaryModel& model, TimePoint now) {
  parts_.infer(CanaryRequest(*model.info, now),
               [this, model, now](absl::StatusOr<Response> response) {
                 Answered(model, now, Outcome(response));
               });
}

CanaryResult Canaries::Judge(const State& state, const absl::Status& status, TimePoint now) const {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return CanaryResult::kOk;
    // Full, draining, unloading: says nothing about whether the device computes.
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kNotFound:
      return CanaryResult::kSkipped;
    case absl::StatusCode::kDeadlineExceeded:
      return BusySinceSent(state, now) ? CanaryResult::kSkipped : CanaryResult::kFailed;
    default:
      return CanaryResult::kFailed;
  }
}

void Canaries::Answered(const CanaryModel& model, TimePoint sent, const absl::Status& status) {
  const TimePoint now = clock_.Now();
  MutexLock lock(mutex_);
  const auto found = states_.find(KeyOf(model));
  // The model was unloaded meanwhile, and perhaps loaded again.
  if (found == states_.end() || found->second.sent != sent) return;
  State& state = found->second;
  state.waiting = false;
  const CanaryResult result = Judge(state, status, now);
  model.counters->Count(result);
  if (result == CanaryResult::kOk) state.failures = 0;
  if (result != CanaryResult::kFailed) return;
  if (state.failures++ == 0) state.first_failure = now;
  state.last_failure = now;
  state.reason = std::string(status.message());
}

EngineHealth Canaries::HealthOf(const CanaryModel& model, const State& state, TimePoint now) const {
  const std::string canary = absl::StrCat("the canary of model \"", model.info->name, "\" version ",
                                          model.info->version, " on ", state.device);
  if (state.failures > 0 && state.last_failure > model.counters->last_computed.load()) {
    return {false, state.failures < kMostFailures,
            absl::StrCat(canary, " failed ", state.failures, " times in a row: ", state.reason),
            state.first_failure};
  }
  if (state.waiting && now >= state.sent + kAnswerLimit && !BusySinceSent(state, now)) {
    return {false, true,
            absl::StrCat(canary, " has no answer after ", Seconds(kAnswerLimit),
                         " s although nothing is being computed"),
            state.sent + kAnswerLimit};
  }
  return {};
}

EngineHealth Canaries::Health() const {
  const std::vector<CanaryModel> models = parts_.ready_models();
  const TimePoint now = clock_.Now();
  EngineHealth worst;
  MutexLock lock(mutex_);
  for (const CanaryModel& model : models) {
    const auto found = states_.find(KeyOf(model));
    if (found == states_.end()) continue;
    worst = Worse(std::move(worst), HealthOf(model, found->second, now));
  }
  return worst;
}

}  // namespace contextpool::engine
