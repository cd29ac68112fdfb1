#include "cli/chat.h"

#include <fmt/format.h>

#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/error.h"
#include "cli/chat_input.h"
#include "cli/run_interrupt.h"
#include "cli/run_output.h"
#include "session/chat_template.h"
#include "session/conversation.h"

namespace miser::cli {
namespace {

ChatTemplate template_of(const Engine& engine) {
  const auto text = engine.model.file().find_string("tokenizer.chat_template");
  if (!text)
    fail("{}: no tokenizer.chat_template: this model is not made for a chat", engine.model.file().name());
  const auto eos = engine.tokenizer.eos();
  return eos ? ChatTemplate::detect(*text, engine.tokenizer.piece(*eos, true)) : ChatTemplate::detect(*text);
}

// What ends a chat, and the options that move it.
struct Limit {
  std::string name;
  const char* options;
};

Limit limit_of(const Session& session) {
  if (session.capacity() == session.context())
    return {fmt::format("context of {} tokens", session.context()),
            "-c sets it, --context-shift goes on without the older half"};
  return {fmt::format("KV memory of {} tokens", session.capacity()),
          "--kv-memory sets it, --kv-overflow drop-oldest goes on without the oldest"};
}

class Chat {
 public:
  Chat(Engine& engine, const RunOptions& options, GenerateOptions generation, Printer& printer,
       Totals& totals)
      : Chat(engine, options, std::move(generation), printer, totals, template_of(engine)) {}

  // Whether the chat can go on.
  bool turn(const std::string& message) {
    const std::vector<Token> prompt = encode(message);
    const std::size_t room = engine_.session.capacity() - engine_.session.size();
    if (conversation_.started() && prompt.size() > room && !engine_.session.shifts()) {
      const Limit limit = limit_of(engine_.session);
      note(fmt::format("the message needs {} tokens, and {} of the {} are left ({})\n", prompt.size(), room,
                       limit.name, limit.options));
      return true;
    }
    printer_.begin(engine_.session.size() + prompt.size());
    const std::size_t before = engine_.session.n_read();
    Generation answer = generate(engine_.session, engine_.tokenizer, engine_.sampler, prompt, generation_,
                                 [this](std::string_view text) { printer_.add(text); });
    printer_.end("\n");
    Interrupt::take();
    keep_unread(prompt, answer, engine_.session.n_read() - before);
    conversation_.add(message, answer.text);
    totals_.add(answer);
    answer_ = std::move(answer.text);
    if (answer.stop_reason == StopReason::kContextFull || answer.stop_reason == StopReason::kMemoryFull) {
      const Limit limit = limit_of(engine_.session);
      note(fmt::format("the {} is full: the chat ends ({})\n", limit.name, limit.options));
      return false;
    }
    return true;
  }

  const std::string& answer() const { return answer_; }

 private:
  Chat(Engine& engine, const RunOptions& options, GenerateOptions generation, Printer& printer,
       Totals& totals, const ChatTemplate& chat_template)
      : engine_(engine),
        generation_(std::move(generation)),
        printer_(printer),
        totals_(totals),
        conversation_(chat_template, options.system) {
    for (std::string& stop : chat_template.stop_strings()) generation_.stop.push_back(std::move(stop));
  }

  std::vector<Token> encode(const std::string& message) const {
    std::vector<Token> tokens = unread_;
    const EncodeOptions options{.add_special = !conversation_.started(), .parse_special = true};
    const std::vector<Token> next = engine_.tokenizer.encode(conversation_.next(message), options);
    tokens.insert(tokens.end(), next.begin(), next.end());
    return tokens;
  }

  // The model has read `n_read` of the prompt and the answer: not the answer's last token, unless a stop
  // string followed it, and less after Ctrl-C.
  void keep_unread(const std::vector<Token>& prompt, const Generation& answer, std::size_t n_read) {
    unread_ = prompt;
    unread_.insert(unread_.end(), answer.tokens.begin(),
                   answer.tokens.begin() + static_cast<std::ptrdiff_t>(answer.n_kept));
    unread_.erase(unread_.begin(), unread_.begin() + static_cast<std::ptrdiff_t>(n_read));
    const EncodeOptions plain{.add_special = false, .parse_special = false};
    const std::vector<Token> rest = engine_.tokenizer.encode(answer.rest, plain);
    unread_.insert(unread_.end(), rest.begin(), rest.end());
  }

  Engine& engine_;
  GenerateOptions generation_;
  Printer& printer_;
  Totals& totals_;
  Conversation conversation_;
  std::vector<Token> unread_;  // belongs to the turns so far, but is not in the cache
  std::string answer_;
};

}  // namespace

std::string chat(Engine& engine, const RunOptions& options, const GenerateOptions& generation,
                 Printer& printer, Totals& totals) {
  Chat chat(engine, options, generation, printer, totals);
  bool open = !options.prompt || chat.turn(*options.prompt);
  if (options.json) return chat.answer();
  ChatInput input;
  while (open) {
    const std::optional<std::string> message = input.read();
    if (!message) break;
    if (!message->empty()) open = chat.turn(*message);
  }
  return chat.answer();
}

}  // namespace miser::cli
