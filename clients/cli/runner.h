// One command on one server.
#pragma once

#include <memory>
#include <optional>
#include <ostream>

#include "clients/cli/inputs.h"
#include "clients/cli/options.h"
#include "clients/cli/picture_files.h"
#include "clients/cli/pipeline.h"
#include "clients/cli/printer.h"
#include "clients/cli/progress.h"
#include "grpcpp/grpcpp.h"

namespace contextpool::cli {

class Runner {
 public:
  // Where results and messages go.
  struct Output {
    Printer& printer;
    std::ostream& out;
    std::ostream& err;
    // Whether a person would see nothing on `out` for long but sees `err`.
    bool show_progress = false;
  };

  // All references must outlive the object.
  Runner(const Options& options, std::shared_ptr<grpc::Channel> channel, InputList& inputs,
         const Output& output);

  // False if an input or a request failed, or a file was not written.
  bool Run();

 private:
  bool Embed();
  bool Classify();
  bool Tokenize();
  bool Models();

  // Sends all inputs through `method` and calls accept(answer, index, position) for each good
  // result: that of input `index`, in the answer's place `position`.
  template <typename Request, typename Response, typename Accept>
  bool SendAll(Method<Request, Response> method, Accept accept);
  template <typename Request, typename Response, typename Accept>
  bool Deliver(const Answer<Request, Response>& answer, Accept accept);

  // Reports every input of a chunk: those that were not sent for their own reasons, the others for
  // one.
  void FailAll(const Chunk& chunk, const std::vector<Refusal>& refused, const Failure& failure);

  bool Save(const EmbeddingMatrix& vectors);
  // Where --explain names a file.
  void Draw(size_t index, const v1::Input& input, const v1::Explanation& explanation);
  Failure ExplainHere(const grpc::Status& status) const;

  const Options& options_;
  const std::shared_ptr<grpc::Channel> channel_;
  InputList& inputs_;
  const Output output_;
  std::optional<PictureFiles> pictures_;
  bool all_drawn_ = true;
};

}  // namespace contextpool::cli
