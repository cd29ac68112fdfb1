// Writes the logits of a text through the KV cache, for the scripts in tests/reference.
//
//   dump_logits MODEL TEXT FIRST COUNT POLICY WINDOW BLOCK SCALES OUT
//
// Tokens [FIRST, FIRST + COUNT) of the file TEXT go through POLICY with WINDOW and BLOCK; SCALES is ls or
// unbiased. OUT gets float32 logits [COUNT, n_vocab], stdout the token ids on one line.
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "base/error.h"
#include "model/model.h"
#include "nn/thread_pool.h"
#include "session/session.h"
#include "tokenizer/tokenizer.h"

namespace miser {
namespace {

std::vector<Token> read_tokens(const Model& model, const std::string& path, std::size_t first,
                               std::size_t count) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("{}: cannot be read", path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto all = Tokenizer(model.file()).encode(text, {.add_special = false, .parse_special = false});
  if (first + count > all.size()) fail("{}: found {} tokens, expected {}", path, all.size(), first + count);
  const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
  return {begin, begin + static_cast<std::ptrdiff_t>(count)};
}

void dump(char** arguments) {
  const Model model = Model::load(arguments[1]);
  const auto tokens = read_tokens(model, arguments[2], std::stoul(arguments[3]), std::stoul(arguments[4]));
  SessionOptions options;
  options.kv = arguments[5];
  options.kv_window = std::stoul(arguments[6]);
  options.kv_block = std::stoul(arguments[7]);
  options.kv_scales =
      std::string(arguments[8]) == "ls" ? kv::ScaleRule::kLeastSquares : kv::ScaleRule::kUnbiased;
  options.batch = 256;
  nn::ThreadPool pool(static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
  Session session(model, pool, options);
  std::ofstream out(arguments[9], std::ios::binary);
  session.feed_all(tokens, [&](std::size_t, std::span<const float> logits) {
    const auto bytes = std::as_bytes(logits);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  });
  if (!out.flush()) fail("{}: cannot be written", arguments[9]);
  for (const Token token : tokens) std::printf("%d ", token);
  std::puts("");
}

}  // namespace
}  // namespace miser

int main(int argc, char** argv) {
  constexpr int kArguments = 10;
  try {
    if (argc != kArguments) {
      miser::fail("usage: dump_logits MODEL TEXT FIRST COUNT POLICY WINDOW BLOCK ls|unbiased OUT");
    }
    miser::dump(argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dump_logits: %s\n", error.what());
    return 1;
  }
}
