// A stream of requests: gRPC's side of them. Replies go out in the order of the requests.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <stop_token>

#include "absl/status/status.h"
#include "engine/base/mutex.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/call.h"

namespace contextpool::server {

using RawStream = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

// A message's request is answered as a unary call would be; what would be that call's status is the
// reply in its place. The stream ends with OK once the client has sent all and got all replies, and
// with UNAVAILABLE when the server drains and what was read has been answered.
//
// No message is read while kMaxMessages are on their way, or while kMaxBytes are held: of each
// request not yet answered its bytes and those that its reply is expected to have, of each reply
// not yet written its bytes. Nor while it is not known yet how large the reply to the last message
// will be. So a client that does not read its replies holds kMaxBytes and one request with its
// reply at most, and nothing of what Admission bounds: a reply that waits to be written has given
// its ticket back.
class Stream final : public RawStream {
 public:
  // Enough for a client's short texts to fill batches of the device.
  static constexpr size_t kMaxMessages = 64;
  static constexpr int64_t kMaxBytes = 16 << 20;

  static RawStream* Start(Backend& backend, Endpoint endpoint, Handler handler,
                          const grpc::CallbackServerContext& context);

 private:
  // One message, from its arrival until its reply is written.
  class Place final : public Responder {
   public:
    Place(Stream& stream, int64_t request_bytes) : stream_(stream), bytes(request_bytes) {}
    void Expect(int64_t reply_bytes) override { stream_.Reserve(*this, reply_bytes); }
    void Respond(const absl::Status& status, grpc::ByteBuffer reply,
                 Admission::Ticket ticket) override {
      ticket.Release();
      stream_.Answer(*this, status, reply);
    }

   private:
    friend class Stream;
    Stream& stream_;
    bool answered = false;
    grpc::ByteBuffer reply;
    int64_t bytes;
  };

  Stream(Backend& backend, Endpoint endpoint, Handler handler,
         const grpc::CallbackServerContext& context);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { delete this; }
  void OnDraining();
  void Reserve(Place& place, int64_t reply_bytes);
  void Answer(Place& place, const absl::Status& status, const grpc::ByteBuffer& reply);

  // Starts what can be started after a change. A status: the stream is over, and the caller has to
  // finish it with that, unlocked and as its last act, since it ends this object.
  std::optional<grpc::Status> Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReadIfRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<grpc::Status> EndStatus() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Backend& backend_;
  const Endpoint endpoint_;
  const Handler handler_;
  const Draining::OpenCall open_;
  Caller caller_;

  engine::Mutex mutex_;
  std::deque<Place> places_ ABSL_GUARDED_BY(mutex_);
  // The last message, until its reply's size is known or it is answered; else null.
  const Place* unsized_ ABSL_GUARDED_BY(mutex_) = nullptr;
  size_t unanswered_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t held_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  grpc::ByteBuffer incoming_ ABSL_GUARDED_BY(mutex_);
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool all_read_ ABSL_GUARDED_BY(mutex_) = false;  // the client has sent its last message
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;  // nobody is there to read replies
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;

  std::optional<std::stop_callback<std::function<void()>>> on_draining_;
};

}  // namespace contextpool::server
