// Where results go: one interface, for people and for programs.
#pragma once

#include <cstddef>
#include <memory>
#include <ostream>
#include <string>

#include "clients/cli/connection.h"
#include "clients/cli/embeddings.h"
#include "clients/cli/inputs.h"
#include "clients/cli/options.h"
#include "contextpool/v1/classification.pb.h"
#include "contextpool/v1/embedding.pb.h"
#include "contextpool/v1/model.pb.h"

namespace contextpool::cli {

// What the output device can show.
struct Terminal {
  // Bars and colours only where a person looks.
  bool is_tty = false;
  bool color = false;
  size_t columns = 80;
};

// Called in the order of the inputs, which are numbered from 0.
class Printer {
 public:
  virtual ~Printer() = default;

  virtual void Embedded(size_t index, const v1::EmbedResult& result) = 0;
  virtual void Classified(size_t index, const v1::ClassifyResult& result) = 0;
  virtual void Tokenized(size_t index, const v1::TokenizeResult& result) = 0;
  // The inputs [first, first + count) have no result, for one reason.
  virtual void Failed(size_t first, size_t count, const Failure& failure) = 0;
  // A request that has no inputs failed.
  virtual void RequestFailed(const Failure& failure) = 0;
  // All vectors of an embed run, for --similarity. REQUIRES: at least one row.
  virtual void Compared(const EmbeddingMatrix& vectors) = 0;
  virtual void Saved(const std::string& path, const EmbeddingMatrix& vectors) = 0;
  // The picture that explains the result printed last.
  virtual void Drawn(const std::string& path) = 0;
  virtual void Listed(const google::protobuf::RepeatedPtrField<v1::Model>& models) = 0;
};

// One JSON object a line on `out`, failures among them; what is no result goes to `err`.
// `inputs` must outlive the printer, here and below.
std::unique_ptr<Printer> MakeJsonPrinter(const InputList& inputs, std::ostream& out,
                                         std::ostream& err);

// Text for people on `out`, failures on `err`.
std::unique_ptr<Printer> MakeTextPrinter(const Options& options, const InputList& inputs,
                                         const Terminal& terminal, std::ostream& out,
                                         std::ostream& err);

}  // namespace contextpool::cli
