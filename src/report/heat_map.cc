#include "report/heat_map.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"
#include "report/width_map.h"

namespace miser::report {
namespace {

/// The piece, or its bytes in hexadecimal when they are a part of a character.
std::string readable(const std::string& piece) {
  if (replace_invalid_utf8(piece) == piece) return piece;
  std::string text = "‹";
  for (const char c : piece) {
    if (text.size() > 3) text += ' ';
    fmt::format_to(std::back_inserter(text), "{:02X}", static_cast<unsigned char>(c));
  }
  return text + "›";
}

TokenState state_of(const kv::LayerCache& layer, std::size_t position) {
  if (position < layer.sinks) return TokenState::kSink;
  return position < layer.staged_begin ? TokenState::kPacked : TokenState::kStaged;
}

std::string digits(std::span<const kv::Width> widths) {
  std::string text;
  for (const kv::Width width : widths) text += static_cast<char>('0' + static_cast<int>(width));
  return text;
}

double mean_bits(std::span<const kv::Width> widths) {
  double sum = 0;
  for (const kv::Width width : widths) sum += kv::bits(width);
  return sum / static_cast<double>(widths.size());
}

}  // namespace

HeatMap heat_map(const Model& model, nn::ThreadPool& pool, const Tokenizer& tokenizer, SessionOptions options,
                 std::string_view text) {
  const auto tokens = tokenizer.encode(text, {.add_special = true, .parse_special = false});
  if (tokens.empty() || tokens.size() > kMaxHeatTokens)
    fail("the text of the report: found {} tokens, expected 1 to {}", tokens.size(), kMaxHeatTokens);
  HeatMap map{options.kv, model.config().n_layers, model.config().n_kv_heads, {}};
  options.context = tokens.size();
  options.record = true;
  Session session(model, pool, std::move(options));
  session.feed(tokens);

  const WidthMap widths = width_map(session.cache());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto of_token = std::span(widths.widths).subspan(i * widths.per_token(), widths.per_token());
    map.tokens.push_back({readable(tokenizer.piece(tokens[i], true)), state_of(session.cache().layer(0), i),
                          mean_bits(of_token), session.signals()[i], session.record()->at(i),
                          digits(of_token)});
  }
  return map;
}

}  // namespace miser::report
