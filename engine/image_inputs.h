// Images on their way to the queue.
#pragma once

#include "absl/functional/any_invocable.h"
#include "engine/base/clock.h"
#include "engine/base/image_config.h"
#include "engine/call.h"
#include "engine/decode_pool.h"
#include "engine/served_model.h"

namespace contextpool::engine {

// What decodes images. The parts outlive what is decoded.
struct ImageDecoding {
  DecodePool& pool;
  ImageLimits limits;
  Clock& clock;
};

// Turns every input into a task, or into the error of that input, in the threads of the pool, and
// then calls `ready`. Where the caller gives up or the deadline passes meanwhile, what is left is
// not decoded and the call is answered instead; so it is with RESOURCE_EXHAUSTED if there is no
// room for the pixels now.
//
// REQUIRES: the model reads images.
void DecodeImages(const ImageDecoding& decoding, ServedModel& served, Call& call,
                  TimePoint deadline, absl::AnyInvocable<void()> ready);

}  // namespace contextpool::engine
