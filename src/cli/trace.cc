#include "cli/trace.h"

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"

namespace miser::cli {
namespace {

std::string line(const Session& session, const Tokenizer& tokenizer, std::size_t position) {
  const policy::TokenSignals& paper = session.signals()[position];
  const policy::TokenRecord ours = session.record()->at(position);
  const nlohmann::ordered_json object = {{"position", position},
                                         {"id", paper.id},
                                         {"piece", replace_invalid_utf8(tokenizer.piece(paper.id, true))},
                                         {"entropy", paper.entropy},
                                         {"rarity", paper.rarity},
                                         {"attention_variance", paper.attention_variance},
                                         {"confidence", paper.confidence},
                                         {"received", ours.received},
                                         {"received_sq", ours.received_sq},
                                         {"received_max", ours.received_max},
                                         {"k_norm2", ours.k_norm2},
                                         {"v_norm2", ours.v_norm2},
                                         {"bits", ours.bits},
                                         {"left", ours.left}};
  return object.dump() + "\n";
}

}  // namespace

Trace::Trace(std::string path) : path_(std::move(path)), file_(std::fopen(path_.c_str(), "we")) {
  if (file_ == nullptr) fail_to_write();
}

void Trace::write(const Session& session, const Tokenizer& tokenizer) {
  for (std::size_t position = 0; position < session.size(); ++position) {
    if (std::fputs(line(session, tokenizer, position).c_str(), file_.get()) < 0) fail_to_write();
  }
  // What is still in the buffer may not fit on the disk either.
  if (std::fclose(file_.release()) != 0) fail_to_write();
}

void Trace::fail_to_write() const {
  fail("{}: the trace cannot be written: {}", path_, std::strerror(errno));
}

}  // namespace miser::cli
