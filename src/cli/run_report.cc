#include "cli/run_report.h"

#include <fmt/format.h>

#include <numeric>

#include "base/utf8.h"
#include "kv/width.h"

namespace miser::cli {
namespace {

double per_second(std::size_t n, double ms) {
  return ms > 0 ? 1000 * static_cast<double>(n) / ms : 0;
}

double mebibytes(std::size_t bytes) {
  return static_cast<double>(bytes) / (1024.0 * 1024.0);
}

std::string cache_line(const Session& session) {
  const kv::Cache& cache = session.cache();
  const auto vectors = cache.vectors_at();
  const auto all = std::accumulate(vectors.begin(), vectors.end(), std::uint64_t{0});
  const double exact = all == 0 ? 0 : 100.0 * static_cast<double>(vectors.back()) / static_cast<double>(all);
  const double ratio =
      cache.bytes() == 0 ? 1 : static_cast<double>(cache.bytes_f16()) / static_cast<double>(cache.bytes());
  return fmt::format(
      "kv {}: {:.2f} bits per element, {:.2f} MiB where f16 takes {:.2f} MiB ({:.1f}x {}), "
      "{:.0f} % of the vectors exact\n",
      session.policy().name(), cache.bits_per_element(), mebibytes(cache.bytes()),
      mebibytes(cache.bytes_f16()), ratio >= 1 ? ratio : 1 / ratio, ratio >= 1 ? "less" : "more", exact);
}

}  // namespace

void Totals::add(const Generation& generation) {
  n_prompt += generation.n_prompt;
  n_generated += generation.tokens.size();
  n_decoded += generation.n_decoded;
  prefill_ms += generation.prefill_ms;
  decode_ms += generation.decode_ms;
  stop_reason = generation.stop_reason;
}

std::string describe(const Engine& engine, const RunOptions& options) {
  const ModelConfig& model = engine.model.config();
  std::string text =
      fmt::format("model {}: {} layers, width {}, {} query and {} KV heads of {}, vocabulary {}\n",
                  engine.model.file().name(), model.n_layers, model.n_embd, model.n_heads, model.n_kv_heads,
                  model.head_dim, model.n_vocab);
  text += fmt::format("context {}, batch {}, {} threads, kv {}, window {}, blocks of {}\n",
                      engine.session.context(), options.session.batch, options.threads,
                      engine.session.policy().name(), options.session.kv_window, options.session.kv_block);
  const SamplingOptions& s = options.sampling;
  text += fmt::format("seed {}, temp {}, top-k {}, top-p {}, min-p {}, repeat penalty {} over {}\n", s.seed,
                      s.temperature, s.top_k, s.top_p, s.min_p, s.repeat_penalty, s.repeat_last_n);
  return text;
}

std::string summary(const Engine& engine, const Totals& totals) {
  std::string text = cache_line(engine.session);
  text += fmt::format("prefill {} tokens at {:.0f} tok/s", totals.n_prompt,
                      per_second(totals.n_prompt, totals.prefill_ms));
  if (totals.n_reused > 0) text += fmt::format(" and {} from the prompt cache", totals.n_reused);
  text += fmt::format(", decode {} tokens", totals.n_generated);
  // The first token comes out of the prefill, so a single one says nothing of decoding.
  if (totals.n_decoded > 0)
    text += fmt::format(" at {:.0f} tok/s", per_second(totals.n_decoded, totals.decode_ms));
  text += fmt::format(", load {:.1f} s; stopped: {}\n", engine.load_ms / 1000, to_string(totals.stop_reason));
  if (totals.stop_reason == StopReason::kMemoryFull) {
    text +=
        "the KV memory is full: every packed vector has 1 bit; --kv-memory sets the limit, --kv-overflow "
        "drop-oldest goes on without the oldest tokens\n";
  }
  return text;
}

nlohmann::ordered_json to_json(const Engine& engine, const Totals& totals, const std::string& text) {
  const kv::Cache& cache = engine.session.cache();
  nlohmann::ordered_json vectors;
  for (const kv::Width width : kv::kAllWidths) {
    vectors[fmt::format("{}", kv::bits(width))] = cache.vectors_at()[static_cast<std::size_t>(width)];
  }
  return {{"text", replace_invalid_utf8(text)},
          {"prompt_tokens", totals.n_prompt + totals.n_reused},
          {"reused_tokens", totals.n_reused},
          {"generated_tokens", totals.n_generated},
          {"stop_reason", to_string(totals.stop_reason)},
          {"kv",
           {{"policy", engine.session.policy().name()},
            {"bits_per_element", cache.bits_per_element()},
            {"bytes", cache.bytes()},
            {"bytes_peak", cache.bytes_peak()},
            {"bytes_f16", cache.bytes_f16()},
            {"dropped_tokens", cache.n_dropped()},
            {"vectors_at", vectors}}},
          {"timing",
           {{"load_ms", engine.load_ms},
            {"prefill_ms", totals.prefill_ms},
            {"decode_ms", totals.decode_ms},
            {"prefill_tok_per_s", per_second(totals.n_prompt, totals.prefill_ms)},
            {"decode_tok_per_s", per_second(totals.n_decoded, totals.decode_ms)}}}};
}

}  // namespace miser::cli
