#pragma once
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "eval/kl_run.h"
#include "tiny_model.h"

namespace miser::eval {

inline test::TinyModel tiny(const std::string& name) {
  for (test::TinyModel& model : test::tiny_models()) {
    if (model.name == name) return std::move(model);
  }
  throw std::runtime_error("no tiny model " + name);
}

/// A tiny model with what runs it.
struct Bench {
  explicit Bench(const std::string& name) : fixture(tiny(name)), model(Model::load(fixture.path)) {}

  KlRun run(const std::vector<std::string>& kv, std::size_t skip, const LogitsFile* reference = nullptr) {
    return {model, pool, {kl_arms(kv, {}), skip, reference}};
  }
  std::span<const std::int32_t> context(std::size_t i, std::size_t length) const {
    return std::span(fixture.tokens).subspan(i * length, length);
  }

  test::TinyModel fixture;
  Model model;
  nn::ThreadPool pool{2};
};

inline bool go_on() {
  return true;
}

}  // namespace miser::eval
