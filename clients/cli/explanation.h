// What ContextPool chose for an input, as a picture for people.
#pragma once

#include <cstddef>
#include <string>

#include "clients/cli/printer.h"
#include "contextpool/v1/types.pb.h"

namespace contextpool::cli {

// Draws every layer over the input's tokens, in lines of at most `terminal.columns` (but 40 at
// least) that begin with `indent` spaces:
//
//   layer 0   weights 0.01 to 0.8, support sizes 0.0 to 1.5 tokens
//           ███████
//         ▂ ███████ ████ ▁▁▄▄▄▄ ▁▁▁▁▁
//   [CLS] a perfect film unseen [SEP]
//         a        ╺film╸  seen
//         ╺━perfect━━━         ╺[SEP]
//                  ╺━━━━━un━━━━╸
//
// Above a token stands its weight as a share of the layer's largest; below, a line as long as its
// support size on either side shows how far it looks, with a row more where lines would overlap, 12
// at most. Tokens that are passed through have neither. Where the tokens are bytes, those of one
// character are drawn as one. What is left out, tokens of long inputs and lines, is counted below.
std::string DrawExplanation(const v1::Explanation& explanation, const Terminal& terminal,
                            size_t indent);

}  // namespace contextpool::cli
