#include "clients/cli/bench/recorder.h"

#include <algorithm>
#include <utility>

#include "clients/cli/bench/offered.h"

namespace contextpool::cli::bench {
namespace {

bool IsGood(const EndedCall& call, const CallKind& kind) {
  return call.status.ok() && call.reply.failed_inputs == 0 &&
         (!kind.deadline || call.ended - call.due <= *kind.deadline);
}

}  // namespace

Recorder::Recorder(const LoadPoint& point, std::span<const CallKind> kinds, Time begin)
    : kinds_(kinds),
      lag_tolerance_(point.rate_per_s ? LagTolerance(*point.rate_per_s) : Nanoseconds::max()),
      begin_(begin + point.warmup),
      end_(begin_ + point.duration) {
  result_.point = point;
  result_.measured = point.duration;
  result_.kinds.resize(kinds.size());
}

void Recorder::Record(const EndedCall& call) {
  ++result_.all_codes[call.status.error_code()];
  if (Measures(call.due)) RecordMeasured(call);
  if (call.status.ok() && Measures(call.ended)) {
    auto& window = result_.kinds[call.kind].in_window;
    ++window.ok_calls;
    window.good_calls += IsGood(call, kinds_[call.kind]);
    window.inputs += call.reply.inputs;
    window.tokens += call.reply.tokens;
  }
}

void Recorder::RecordMeasured(const EndedCall& call) {
  ++result_.sent;
  result_.lag.Add(call.sent - call.due);
  result_.late += call.sent - call.due > lag_tolerance_;
  result_.most_on_connection = std::max(result_.most_on_connection, call.on_connection);
  result_.most_in_flight = std::max(result_.most_in_flight, call.in_flight);
  Tally& tally = result_.kinds[call.kind];
  ++tally.calls;
  ++tally.codes[call.status.error_code()];
  tally.good_calls += IsGood(call, kinds_[call.kind]);
  (call.status.ok() ? tally.ok : tally.not_ok).Add(call.ended - call.due);
  tally.inputs += call.reply.inputs;
  tally.partial_calls += call.reply.failed_inputs > 0;
  tally.failed_inputs += call.reply.failed_inputs;
  tally.tokens += call.reply.tokens;
  tally.server_queue += call.reply.queue;
  tally.server_compute += call.reply.compute;
  tally.server_total += call.reply.total;
}

void Recorder::Interrupt(Time now, uint64_t in_flight) {
  EndAt(now, in_flight);
  result_.interrupted = true;
}

void Recorder::GiveUp(Time now, uint64_t in_flight, std::string why) {
  EndAt(now, in_flight);
  result_.lost = std::move(why);
}

void Recorder::EndAt(Time now, uint64_t in_flight) {
  end_ = std::clamp(now, begin_, end_);
  result_.measured = end_ - begin_;
  result_.abandoned = in_flight;
}

PointResult Recorder::Finish(std::optional<uint64_t> scheduled, double collector_busy) {
  result_.scheduled = scheduled.value_or(result_.sent);
  result_.collector_busy = collector_busy;
  result_.not_offered = WhyNotOffered({.rate_per_s = result_.point.rate_per_s,
                                       .scheduled = result_.scheduled,
                                       .sent = result_.sent + result_.abandoned,
                                       .late = result_.late,
                                       .worst_lag = result_.lag.max(),
                                       .most_on_connection = result_.most_on_connection,
                                       .collector_busy = collector_busy});
  return std::move(result_);
}

}  // namespace contextpool::cli::bench
