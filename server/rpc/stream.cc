#include "server/rpc/stream.h"

#include <utility>

#include "contextpool/v1/classification.pb.h"
#include "contextpool/v1/embedding.pb.h"
#include "server/rpc/message.h"
#include "server/rpc/status.h"

namespace contextpool::server {
namespace {

constexpr int kResponseField = v1::EmbedStreamResponse::kResponseFieldNumber;
constexpr int kErrorField = v1::EmbedStreamResponse::kErrorFieldNumber;
static_assert(kResponseField == v1::ClassifyStreamResponse::kResponseFieldNumber);
static_assert(kErrorField == v1::ClassifyStreamResponse::kErrorFieldNumber);

grpc::ByteBuffer Bytes(const google::rpc::Status& error) {
  grpc::ByteBuffer bytes;
  SerializeMessage(error, bytes).IgnoreError();  // far smaller than a message may be
  return bytes;
}

}  // namespace

RawStream* Stream::Start(Backend& backend, Endpoint endpoint, Handler handler,
                         const grpc::CallbackServerContext& context) {
  auto* stream = new Stream(backend, endpoint, handler, context);
  stream->on_draining_.emplace(backend.draining.token(), [stream] { stream->OnDraining(); });
  std::optional<grpc::Status> end;
  {
    engine::MutexLock lock(stream->mutex_);
    end = stream->Advance();
  }
  if (end) stream->Finish(*end);
  return stream;
}

Stream::Stream(Backend& backend, Endpoint endpoint, Handler handler,
               const grpc::CallbackServerContext& context)
    : backend_(backend),
      endpoint_(endpoint),
      handler_(handler),
      open_(backend.draining),
      caller_(context, backend.max_inputs, backend.clock) {}

void Stream::OnReadDone(bool ok) {
  Place* place = nullptr;
  grpc::ByteBuffer message;
  std::optional<grpc::Status> end;
  {
    engine::MutexLock lock(mutex_);
    reading_ = false;
    if (!ok) {
      all_read_ = true;
    } else if (!finished_) {
      message.Swap(&incoming_);
      place = &places_.emplace_back(*this, static_cast<int64_t>(message.Length()));
      held_bytes_ += place->bytes;
      unsized_ = place;
      ++unanswered_;
    }
    end = Advance();
  }
  if (end) return Finish(*end);
  // While it works the next message may be read, by another thread.
  if (place != nullptr) handler_(backend_, endpoint_, caller_, message, *place);
}

void Stream::Reserve(Place& place, int64_t reply_bytes) {
  engine::MutexLock lock(mutex_);
  place.bytes += reply_bytes;
  held_bytes_ += reply_bytes;
  unsized_ = nullptr;
  ReadIfRoom();
}

void Stream::Answer(Place& place, const absl::Status& status, const grpc::ByteBuffer& reply) {
  grpc::ByteBuffer wrapped =
      status.ok()
          ? WrapMessage(kResponseField, reply)
          : WrapMessage(kErrorField,
                        Bytes(ToRpcStatus(status, kEndpointNames[static_cast<size_t>(endpoint_)],
                                          backend_.logger)));
  std::optional<grpc::Status> end;
  {
    engine::MutexLock lock(mutex_);
    held_bytes_ += static_cast<int64_t>(wrapped.Length()) - place.bytes;
    place.bytes = static_cast<int64_t>(wrapped.Length());
    place.reply.Swap(&wrapped);
    place.answered = true;
    if (unsized_ == &place) unsized_ = nullptr;
    --unanswered_;
    end = Advance();
  }
  if (end) Finish(*end);
}

void Stream::OnWriteDone(bool ok) {
  std::optional<grpc::Status> end;
  {
    engine::MutexLock lock(mutex_);
    writing_ = false;
    broken_ |= !ok;
    held_bytes_ -= places_.front().bytes;
    places_.pop_front();
    end = Advance();
  }
  if (end) Finish(*end);
}

void Stream::OnCancel() {
  {
    engine::MutexLock lock(mutex_);
    broken_ = true;
  }
  caller_.GiveUp();  // answers what waits, from inside
  std::optional<grpc::Status> end;
  {
    engine::MutexLock lock(mutex_);
    end = Advance();
  }
  if (end) Finish(*end);
}

void Stream::OnDraining() {
  std::optional<grpc::Status> end;
  {
    engine::MutexLock lock(mutex_);
    draining_ = true;
    end = Advance();
  }
  if (end) Finish(*end);
}

std::optional<grpc::Status> Stream::Advance() {
  if (finished_) return std::nullopt;
  if (std::optional<grpc::Status> end = EndStatus()) {
    finished_ = true;
    return end;
  }
  if (!broken_ && !writing_ && !places_.empty() && places_.front().answered) {
    writing_ = true;
    StartWrite(&places_.front().reply);
  }
  ReadIfRoom();
  return std::nullopt;
}

void Stream::ReadIfRoom() {
  if (broken_ || draining_ || all_read_ || reading_ || unsized_ != nullptr) return;
  if (places_.size() >= kMaxMessages || held_bytes_ >= kMaxBytes) return;
  reading_ = true;
  StartRead(&incoming_);
}

std::optional<grpc::Status> Stream::EndStatus() const {
  if (broken_) {
    // What the engine works on is waited for: it may still look at the requests.
    if (unanswered_ > 0 || writing_) return std::nullopt;
    return grpc::Status(grpc::StatusCode::CANCELLED, "the caller gave up");
  }
  if (!places_.empty()) return std::nullopt;
  if (all_read_) return grpc::Status::OK;
  if (!draining_) return std::nullopt;
  return grpc::Status(grpc::StatusCode::UNAVAILABLE,
                      "the server is draining: every message that it read has been answered; send"
                      " the others to another replica");
}

}  // namespace contextpool::server
