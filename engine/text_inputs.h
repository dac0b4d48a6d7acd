// Texts and token ids on their way to the queue.
#pragma once

#include "engine/call.h"
#include "engine/served_model.h"

namespace contextpool::engine {

// Turns every input into a task, or into the error of that input. REQUIRES: the model reads texts.
void TokenizeInputs(const ServedModel& served, Call& call);

}  // namespace contextpool::engine
