#include "clients/cli/bench/caller.h"

#include <algorithm>
#include <utility>

namespace contextpool::cli::bench {
namespace {

std::chrono::system_clock::time_point OnWallClock(Time time) {
  using std::chrono::system_clock;
  return system_clock::now() +
         std::chrono::duration_cast<system_clock::duration>(time - Clock::now());
}

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& server) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  // Channels to one address share a connection otherwise.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // What the server refuses is a result.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

Caller::Caller(const Options& options, const Workload& workload, std::span<const CallKind> kinds)
    : workload_(workload), kinds_(kinds), reader_(options.task) {
  for (uint32_t i = 0; i < options.connections; ++i) {
    Connection& connection = connections_.emplace_back();
    connection.channel = OpenChannel(options.server);
    connection.stub = std::make_unique<grpc::GenericStub>(connection.channel);
  }
}

Caller::~Caller() {
  CancelAll();
  while (in_flight() > 0) Next(Clock::now() + std::chrono::seconds(1));
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

bool Caller::Connect(Nanoseconds timeout) {
  const auto until = OnWallClock(Clock::now() + timeout);
  // All at once: each waits only for what the ones before left of the time.
  for (const Connection& connection : connections_) connection.channel->GetState(true);
  for (const Connection& connection : connections_) {
    if (!connection.channel->WaitForConnected(until)) return false;
  }
  return true;
}

void Caller::Launch(std::list<Call> call) {
  Call& launched = call.front();
  const std::lock_guard lock(mutex_);
  launched.self = call.begin();
  calls_.splice(calls_.end(), call);
  launched.facts.on_connection = ++launched.connection->in_flight;
  launched.facts.in_flight = calls_.size();
}

void Caller::Start(const CallStart& start) {
  const CallKind& kind = kinds_[start.kind];
  std::list<Call> own(1);
  Call& call = own.front();
  call.facts.kind = start.kind;
  call.facts.due = start.due;
  if (kind.deadline) call.context.set_deadline(OnWallClock(start.due + *kind.deadline));
  call.connection = &connections_[start.request % connections_.size()];
  call.reader = call.connection->stub->PrepareUnaryCall(
      &call.context, workload_.method(), workload_.Request(start.request, kind.bulk), &queue_);
  call.facts.sent = Clock::now();
  Launch(std::move(own));
  call.reader->StartCall();
  call.reader->Finish(&call.reply, &call.facts.status, &call);
}

std::optional<EndedCall> Caller::Next(Time until) {
  void* tag = nullptr;
  bool ok = false;
  if (queue_.AsyncNext(&tag, &ok, OnWallClock(until)) != grpc::CompletionQueue::GOT_EVENT) {
    return std::nullopt;
  }
  const Time ended = Clock::now();
  std::list<Call> own;
  {
    const std::lock_guard lock(mutex_);
    own.splice(own.begin(), calls_, static_cast<Call*>(tag)->self);
    --own.front().connection->in_flight;
  }
  Call& call = own.front();
  call.facts.ended = ended;
  if (call.facts.status.ok() && !reader_.Read(call.reply, call.facts.reply)) {
    call.facts.status = {grpc::StatusCode::INTERNAL, "the server's reply cannot be read"};
  }
  return std::move(call.facts);
}

void Caller::CancelAll() {
  const std::lock_guard lock(mutex_);
  for (Call& call : calls_) call.context.TryCancel();
}

size_t Caller::in_flight() const {
  const std::lock_guard lock(mutex_);
  return calls_.size();
}

size_t Caller::CountInFlight(const std::function<bool(const SentCall&)>& which) const {
  const std::lock_guard lock(mutex_);
  return std::count_if(calls_.begin(), calls_.end(),
                       [&](const Call& call) { return which(call.facts); });
}

}  // namespace contextpool::cli::bench
