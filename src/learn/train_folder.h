#pragma once
#include <cstddef>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "learn/fit_samples.h"
#include "learn/trace.h"

namespace miser::learn {

/// The traces of a training run in a folder, one file a context, so that a run that was stopped goes on where
/// it was and another fit needs no new traces.
class TraceFolder {
 public:
  /// `sources` say for each context what was traced and how. Makes the folder if it is missing. Throws Error
  /// when it cannot be made, or when a trace in it is of something else: the message names the file and the
  /// first field that differs. `name` tells sets of contexts in one folder apart.
  TraceFolder(std::string path, std::string name, std::vector<nlohmann::json> sources);

  std::size_t size() const { return sources_.size(); }
  /// Contexts without a trace, in order.
  std::vector<std::size_t> missing() const;
  void write(std::size_t index, const Trace& trace) const;
  TraceSource traces() const;

 private:
  std::string file(std::size_t index) const;

  std::string path_;
  std::string name_;
  std::vector<nlohmann::json> sources_;
};

}  // namespace miser::learn
